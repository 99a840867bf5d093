"""Builders for a cluster as the store shows it: healthy unless a case says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pgha import records
from pgha.core.model import Cluster, Copy, Leader, Measures, Member, Order, Pause, Position, Rule, Settings, Tenure
from pgha.nodefile import StoreAccess
from pgha.ops.status import Seen
from pgha.ops.target import NodeRef, Target
from pgha.ports import MemberHealth, StoreHealth

NOW = 1_700_000_000.0
LSN = 0x5000000
NAMES = ("n1", "n2", "n3")
TARGET = Target(
    "shop",
    StoreAccess(("127.0.0.1:2379", "127.0.0.1:2381", "127.0.0.1:2383")),
    tuple(NodeRef(name, f"192.0.2.1{i + 1}", 5432) for i, name in enumerate(NAMES)),
    "inventory.yaml",
)
MEMBERS = tuple(MemberHealth(e, reachable=True, leader=not i) for i, e in enumerate(TARGET.store.endpoints))
HEALTH = StoreHealth(True, MEMBERS)
MUTE = MemberHealth("127.0.0.1:2383", reachable=False, problem="connection refused")


PAUSE = Pause("p1", "new kernel on n1", "anna@desk", NOW - 120.0, 1800.0, 1680.0)


def copy(name: str) -> Copy:
    """The node's present data."""
    return Copy(name, f"d{name[1:]}")


def leader(*voters: str, **changes: object) -> Leader:
    """n1 holds epoch 3; its voters, by default n2 and n3."""
    names = frozenset(copy(v) for v in (voters or ("n2", "n3")))
    rule = Rule(copy("n1"), names, (len(names) + 1) // 2)
    held = Leader(copy("n1"), "inc", 3, 40, Tenure.HELD, (rule,), Position(3, LSN), checkpointed=True)
    return replace(held, **changes)  # type: ignore[arg-type]  # names are checked by replace


def member(name: str, **changes: object) -> Member:
    """n1 is the primary, the others stream."""
    is_first = name == "n1"
    standbys = {copy(n).standby_name(3): ("streaming", LSN) for n in NAMES[1:]} if is_first else {}
    here = Member(
        node=name,
        incarnation=f"inc-{name}",
        beat=9,
        host=f"192.0.2.1{name[1:]}",
        port=5432,
        data=f"d{name[1:]}",
        state="primary" if is_first else "streaming",
        primary=is_first,
        position=Position(3, LSN),
        upstream_epoch=0 if is_first else 3,
        written_at=NOW - 0.5,
        standbys=standbys,
        measures=Measures(dict.fromkeys(standbys, 0.004), 3.6) if is_first else Measures(),
    )
    return replace(here, **changes)  # type: ignore[arg-type]


def order(**changes: object) -> Order:
    """Somebody's switchover, asked 4 s ago."""
    asked = Order("switchover", "o1", 3, "n1", "n2", 30.0, "anna@desk", NOW - 4.0)
    return replace(asked, **changes)  # type: ignore[arg-type]


def seen(
    *members: Member,
    key: Leader | None = None,
    asked: Order | None = None,
    health: StoreHealth = HEALTH,
    problems: tuple[records.Problem, ...] = (),
    durability: str = "quorum",
    wishes: Mapping[str, Order] | None = None,
) -> Seen:
    """A look at three nodes; `members` replace the healthy ones of the same name."""
    found: Mapping[str, Member] = {n: member(n) for n in NAMES} | {m.node: m for m in members}
    revisions = {"leader": 7, "cluster": 1} | ({"request": 9} if asked else {})
    held = records.Records(
        revision=50,
        cluster=Cluster("ident", "123"),
        settings=Settings(1, 6.0, durability),
        leader=key or leader(),
        members=found,
        order=asked,
        revisions=revisions,
        problems=problems,
        requests=wishes or {},
    )
    return Seen(held, health, NOW)


def without(look: Seen, name: str) -> Seen:
    """The same look, that node never having reported."""
    members = {n: m for n, m in look.records.members.items() if n != name}
    return replace(look, records=replace(look.records, members=members))
