"""Hosts as facts: three prepared Debian hosts unless a case says otherwise."""

from __future__ import annotations

from dataclasses import replace

from pgha import inventory
from pgha.errors import Unreachable
from pgha.host_facts import Facts, Listener, PathFact
from pgha.inventory import Inventory
from pgha.ops.fleet import Marker
from pgha.ops.host_nodes import node_of
from pgha.ops.host_preflight import Seen

TEXT = "cluster: shop\npostgres: 15\nnodes: {n1: 192.0.2.11, n2: 192.0.2.12, n3: 192.0.2.13}\nssh: {user: admin}\n"
PREPARED = Facts(
    release={"ID": "debian", "VERSION_ID": "12"},
    machine="0" * 31 + "1",
    hostname="n1",
    arch="x86_64",
    clock_s=1000.0,
    glibc="2.36",
    python="3.11.2",
    accounts=("postgres",),
    systemd=True,
    apt=True,
    postgres={"/usr/lib/postgresql/15/bin": 15},
    etcd="/usr/bin/etcd",
    etcd_version="3.4.23",
    units={"cron.service": "active"},
    listeners=(Listener("", 22),),
    owners={22: "sshd (pid 7)"},
    locales=("C", "C.utf8"),
    room_kb={"/": 50 << 20},
)
BARE = replace(PREPARED, python="", postgres={}, etcd="", etcd_version="", accounts=(), units={})
MARKER = Marker("shop", "ab12")
DOWN = Unreachable("192.0.2.13:22 can't be reached by SSH", "no answer within 5 s", "make this work: ssh n3 true")


def wanted(text: str = TEXT) -> Inventory:
    """The inventory."""
    return inventory.parse(text, "inventory.yaml")


def hosts(text: str = TEXT, facts: Facts = PREPARED, **changed: Seen) -> dict[str, Seen]:
    """All hosts of the inventory, each a machine of its own, with `facts`."""
    nodes = [node_of(wanted(text), spec) for spec in wanted(text).nodes]
    found = {n.name: Seen(n, replace(facts, machine=f"{i:032x}")) for i, n in enumerate(nodes, 1)}
    return found | changed


def with_facts(name: str, text: str = TEXT, **changes: object) -> dict[str, Seen]:
    """All prepared, one of them different."""
    found = hosts(text)
    return found | {name: replace(found[name], facts=replace(found[name].facts, **changes))}  # type: ignore[arg-type]


def holds(path: str, entries: str) -> dict[str, PathFact]:
    """A directory with something in it."""
    return {path: PathFact("directory", "root", "755", entries)}
