"""Everything that could be in the way of a cluster on these hosts, from their facts, in one pass. Pure; asks nobody.

What only needs a package is no finding: bootstrap brings it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgha.errors import PghaError, Refused
from pgha.host_facts import Facts
from pgha.ops.fleet import Marker
from pgha.ops.host_nodes import HostNode

if TYPE_CHECKING:
    from pgha.inventory import Inventory

OLDEST_PYTHON = (3, 11)
ROOM_KB = 1 << 20
SKEW_WARN_S, SKEW_MAX_S = 1.0, 300.0
BAD_ETCD = re.compile(r"3\.5\.[0-2]")
FOREIGN = {
    "postgresql": "the distribution's own cluster",
    "patroni": "Patroni, which would fight with pgha",
}
APT_SYSTEMS = ("debian", "ubuntu")
BROUGHT = {"debian 12": 15, "debian 13": 17, "ubuntu 22.04": 14, "ubuntu 24.04": 16}
OTHERWISE = 15


@dataclass(frozen=True, slots=True)
class Seen:
    """One host: its facts, the marker of this cluster there (None: none), and its clock minus ours, in seconds."""

    node: HostNode
    facts: Facts
    marker: Marker | None = None
    skew_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """problems: refused for. warnings: to be said. missing: packages to install, by node. bin_dir, etcd: programs."""

    problems: tuple[PghaError, ...]
    warnings: tuple[str, ...]
    missing: Mapping[str, tuple[str, ...]]
    version: int
    bin_dir: str
    etcd: str


def judge(inventory: Inventory, seen: Mapping[str, Seen], *, adopt: bool = False) -> Verdict:
    """All findings of all hosts. adopt: servers that run in data directories are not in the way."""
    version = wanted_version(inventory, seen)
    problems: list[PghaError] = []
    warnings: list[str] = []
    missing: dict[str, tuple[str, ...]] = {}
    for name, one in seen.items():
        lacks = tuple(_lacks(inventory, one, version))
        missing[name] = lacks
        problems += _system(one, lacks)
        problems += _versions(inventory, one, version)
        problems += _in_the_way(one, adopt=adopt)
        problems += _clock_and_room(one)
        warnings += _warnings(one)
    problems += _same_host(seen)
    problems += _mixed(inventory, seen, version)
    problems += _two_clusters(seen)
    glibc = {one.facts.glibc for one in seen.values() if one.facts.glibc}
    if len(glibc) > 1:
        versions = ", ".join(f"{name} {one.facts.glibc}" for name, one in seen.items())
        warnings.append(f"the hosts have different C libraries ({versions}): indexes on text may sort differently")
    return Verdict(
        tuple(problems), tuple(warnings), missing, version, _bin_dir(inventory, seen, version), _etcd(inventory, seen)
    )


def wanted_version(inventory: Inventory, seen: Mapping[str, Seen]) -> int:
    """The inventory's, else the newest one that a host has, else the newest that every host's distribution brings."""
    if inventory.postgres.version is not None:
        return inventory.postgres.version
    there = [v for one in seen.values() for v in one.facts.postgres.values()]
    systems = {one.facts.system for one in seen.values()}
    return max(there, default=min((BROUGHT[s] for s in systems if s in BROUGHT), default=OTHERWISE))


def _bin_dir(inventory: Inventory, seen: Mapping[str, Seen], version: int) -> str:
    found = [d for one in seen.values() for d, v in one.facts.postgres.items() if v == version]
    return inventory.postgres.bin_dir or (found[0] if found else f"/usr/lib/postgresql/{version}/bin")


def _etcd(inventory: Inventory, seen: Mapping[str, Seen]) -> str:
    found = [one.facts.etcd for one in seen.values() if one.node.has_etcd and one.facts.etcd]
    return (found[0] if found else "/usr/bin/etcd") if inventory.etcd.nodes and not inventory.etcd.endpoints else ""


def _lacks(inventory: Inventory, one: Seen, version: int) -> Iterator[str]:
    facts = one.facts
    if not facts.python:
        yield "python3"
    if version not in facts.postgres.values():
        yield f"postgresql-{version}"
    if one.node.has_etcd and not facts.etcd:
        yield "etcd-server"
    if inventory.supervisor == "cron" and not {"cron.service", "crond.service"} & set(facts.units):
        yield "cron"


def _where(one: Seen) -> str:
    return f"{one.node.name} ({one.node.host})"


def _system(one: Seen, lacks: tuple[str, ...]) -> Iterator[PghaError]:
    facts, where = one.facts, _where(one)
    if not facts.systemd:
        why = "pgha keeps etcd running and stops nodes in order by systemd"
        yield Refused(f"{where} is not run by systemd", why, "take another host")
    if lacks and not (facts.apt and facts.release.get("ID") in APT_SYSTEMS):
        why = f"it is {facts.system}; packages are installed by apt on Debian and Ubuntu only"
        yield Refused(f"{where} lacks {', '.join(lacks)}", why, f"install there: {' '.join(lacks)}")
    if facts.python and _numbers(facts.python) < OLDEST_PYTHON:
        yield Refused(f"{where} has Python {facts.python}", "pgha needs 3.11 or newer", "take a newer system")
    if facts.postgres and "postgres" not in facts.accounts and "postgresql" not in " ".join(lacks):
        yield Refused(f"{where} has no user postgres", "the server runs as it", "useradd --system postgres")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:2])


def _versions(inventory: Inventory, one: Seen, version: int) -> Iterator[PghaError]:
    facts, where = one.facts, _where(one)
    option = inventory.postgres.bin_dir
    if option and facts.postgres.get(option) != version:
        found = facts.postgres.get(option)
        why = f"version {found} is there, wanted {version}" if found else "no PostgreSQL is there"
        yield Refused(f"{where}: {option} does not hold PostgreSQL {version}", why, "correct postgres.bin_dir")
    if one.node.has_etcd and BAD_ETCD.fullmatch(facts.etcd_version):
        why = "3.5.0 to 3.5.2 have bugs that lose data"
        yield Refused(f"{where} has etcd {facts.etcd_version}", why, "install another version of etcd there")


def _in_the_way(one: Seen, *, adopt: bool) -> Iterator[PghaError]:
    """Ports and places that somebody else has. Ours, from an earlier run, are not in the way."""
    node, facts, where = one.node, one.facts, _where(one)
    ours = one.marker is not None
    data = facts.paths.get(node.data_dir)
    taken_over = adopt and data is not None and not data.empty
    ports = {} if ours or taken_over else {"PostgreSQL": node.port}
    if node.has_etcd and not ours:
        ports |= {"etcd's clients": node.etcd_client_port, "etcd's members": node.etcd_peer_port}
    for what, port in ports.items():
        why = facts.taken(node.host, port)
        if why:
            step = f"stop what uses it ({_culprit(facts, port)}), or give {node.name} another port in the inventory"
            yield Refused(f"{where}: port {port} for {what} is not free", why, step)
    if ours:
        return
    places = {node.dir: "pgha's directory", node.etcd_dir: "etcd's data"}
    places |= {} if taken_over else {node.data_dir: "the data directory"}
    for path, what in places.items():
        fact = facts.paths.get(path)
        if fact is not None and not fact.empty and not (path == node.dir and fact.entries.strip() == ""):
            why = f"it holds {fact.entries.strip() or fact.kind}, and no marker of pgha says that it is this cluster's"
            yield Refused(f"{where}: {path} ({what}) is not empty", why, f"look at it, and move it away: {path}")
    for path in (node.node_file_path, node.cron_path):
        fact = facts.paths.get(path)
        if fact is not None and fact.kind != "absent":
            step = f"if no cluster {node.cluster} lives there: rm {path}"
            yield Refused(f"{where}: {path} is there already", "no marker says that it is this cluster's", step)


def _culprit(facts: Facts, port: int) -> str:
    units = [name for name, state in facts.units.items() if state == "active" and not name.startswith(("cron", "pgha"))]
    program = facts.owners.get(port, "").partition(" ")[0]
    near = [name for name in units if program and program[:4] in name] or units
    return f"systemctl disable --now {near[0]}" if near else f"ss -ltnp 'sport = :{port}'"


def _clock_and_room(one: Seen) -> Iterator[PghaError]:
    where = _where(one)
    if abs(one.skew_s) > SKEW_MAX_S:
        why = f"it differs from here by {one.skew_s:+.0f} s, at most {SKEW_MAX_S:.0f} s"
        yield Refused(f"{where}: the clock is wrong", why, "timedatectl set-ntp true")
    for mount, free in one.facts.room_kb.items():
        if free < ROOM_KB:
            why = f"{free >> 10} MB are free, at least {ROOM_KB >> 10} MB"
            yield Refused(f"{where}: no room on {mount}", why, "make room, or set postgres.data_dir elsewhere")
            return


def _warnings(one: Seen) -> Iterator[str]:
    where = _where(one)
    if SKEW_WARN_S < abs(one.skew_s) <= SKEW_MAX_S:
        yield f"{where}: its clock differs from here by {one.skew_s:+.1f} s (no promise rests on it; logs read badly)"
    if one.marker is None:
        for unit, state in one.facts.units.items():
            known = next((about for start, about in FOREIGN.items() if unit.startswith(start)), "")
            if known and state == "active" and unit != "postgresql.service":
                yield f"{where}: {unit} runs: {known}"


def _same_host(seen: Mapping[str, Seen]) -> Iterator[PghaError]:
    """Two names for one host: etcd and the quorum would count it twice."""
    first: dict[str, Seen] = {}
    for one in seen.values():
        machine = one.facts.machine
        other = first.setdefault(machine, one)
        if machine and other is not one:
            what = f"{one.node.name} and {other.node.name} are the same machine"
            why = f"{one.node.host} and {other.node.host} have machine-id {machine}"
            step = "take another host; for a copied image: rm /etc/machine-id && systemd-machine-id-setup"
            yield Refused(what, why, step)


def _mixed(inventory: Inventory, seen: Mapping[str, Seen], version: int) -> Iterator[PghaError]:
    """Without a version in the inventory the hosts have to agree."""
    if inventory.postgres.version is not None:
        return
    others = {n: sorted(one.facts.postgres.values()) for n, one in seen.items() if one.facts.postgres}
    if any(version not in found for found in others.values()):
        why = ", ".join(f"{name}: {' and '.join(map(str, found))}" for name, found in others.items())
        yield Refused("the hosts have different major versions of PostgreSQL", why, f"write postgres: {version}")


def _two_clusters(seen: Mapping[str, Seen]) -> Iterator[PghaError]:
    idents = {one.marker.ident: name for name, one in seen.items() if one.marker}
    if len(idents) > 1:
        why = ", ".join(f"{name} says {ident}" for ident, name in idents.items())
        step = "on the host that is not wanted: move /var/lib/pgha away"
        yield Refused("the hosts belong to different clusters of this name", why, step)
