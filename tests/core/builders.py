"""Observations in a line or two: node n1 at one moment, n2 the usual holder, n3 the third.

`standby`, `sealed` and `primary` give a node at its best; `but` changes fields by their path (`store__sent_s=...`).
`observations` draws any mixture of them, for properties.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

from hypothesis import strategies as st

from pgha.core.classify import classify
from pgha.core.model import Cluster, Copy, Event, Leader, Member, Order, Position, Rule, Seal, Settings, Tenure
from pgha.core.observation import Memory, Observation, StoreView, Tenancy
from pgha.core.server import Running, ServerView, Walsender
from pgha.core.situation import Situation
from pgha.core.timing import timing_for

T = TypeVar("T")
N1, N2, N3 = COPIES = tuple(Copy(f"n{i}", f"d{i}") for i in (1, 2, 3))
NOW, REV, EPOCH, END = 1000.0, 50, 5, 1000
TIMING = timing_for(6.0)
CLUSTER = Cluster("c1", "77")
EVENT = Event(EPOCH, "n2", "n1", "failover", "", Position(EPOCH, 1))


def but(value: T, **changes: object) -> T:
    """A copy with these fields changed; `a__b=x` changes field b of field a, which must be there."""
    for path, new in changes.items():
        name, _, rest = path.partition("__")
        inner = but(getattr(value, name), **{rest: new}) if rest else new
        value = replace(value, **{name: inner})  # type: ignore[type-var]
    return value


def situation(obs: Observation, **changes: object) -> Situation:
    """What it is, with these changes."""
    return classify(but(obs, **changes))


def key(holder: Copy = N2, **more: object) -> Leader:
    """The leader key of a healthy holder with the two others as voters."""
    rule = Rule(holder, frozenset(COPIES) - {holder}, 1)
    end = Position(EPOCH, END)
    plain = Leader(holder, f"life-{holder.node}", EPOCH, 9, Tenure.HELD, (rule,), end, checkpointed=True)
    return but(plain, **more)


def seal(copy: Copy, lsn: int = END, *, revision: int = REV, timeline: int = EPOCH) -> Seal:
    """At the key's present revision unless said otherwise."""
    return Seal(revision, copy, Position(timeline, lsn))


def member(copy: Copy, sealed: Seal | None = None, **more: object) -> Member:
    """What a node has published."""
    return but(Member(copy.node, f"life-{copy.node}", 1, "127.0.0.1", 5432, data=copy.data, seal=sealed), **more)


def store(leader: Leader | None, *members: Member, **more: object) -> StoreView:
    """A read of this moment; nodes not given are members without a seal."""
    there = {c.node: member(c) for c in COPIES} | {m.node: m for m in members}
    return but(StoreView(NOW, 60, CLUSTER, Settings(), leader, REV, there, history={EPOCH: EVENT}), **more)


def standby(leader: Leader | None = None, *members: Member, **more: object) -> Observation:
    """n1 follows n2."""
    server = ServerView(
        Running.STANDBY, Position(EPOCH, END), upstream_epoch=EPOCH, receiving=True, answered_s=NOW, since_s=NOW - 100
    )
    plain = Observation(
        "n1", "life-n1", NOW, TIMING, store(leader or key(), *members), server,
        Memory("c1", EPOCH, 1, 40), copy=N1, system="77", key_seen_s=NOW,
    )  # fmt: skip
    return but(plain, **more)


def sealed(lsn: int, leader: Leader, *members: Member, timeline: int = EPOCH, **more: object) -> Observation:
    """n1 is cut off, its position measured and, as a seal at the present revision, published since a minute."""
    own = seal(N1, lsn, timeline=timeline)
    plain = standby(leader, member(N1, own), *members, server__upstream_epoch=0, server__receiving=False)
    return but(but(plain, sealed=own.position, memory__seal=own, bid_s=NOW - 60), **more)


def measured(lsn: int, leader: Leader, *, timeline: int = EPOCH, **more: object) -> Observation:
    """n1 is cut off and its position measured, without a seal."""
    return but(sealed(lsn, leader, timeline=timeline, memory__seal=None), **more)


def walsender(copy: Copy, *, behind: int = 0, epoch: int = EPOCH, state: str = "streaming") -> Walsender:
    """A follower of n1 under its name of this epoch."""
    return Walsender(copy.standby_name(epoch), state, END - behind, 1)


def primary(**more: object) -> Observation:
    """n1 holds the key, is writable and healthy, n2 and n3 follow: nothing is to be done."""
    server = ServerView(
        Running.PRIMARY, Position(EPOCH, END), names='ANY 1 ("n2.d2.5", "n3.d3.5")',
        walsenders=(walsender(N2), walsender(N3)), answered_s=NOW, since_s=NOW - 100,
    )  # fmt: skip
    plain = standby(key(N1), server=server, tenancy=Tenancy(EPOCH, NOW, NOW - 90), health_s=NOW)
    return but(plain, **more)


def order(**more: object) -> Order:
    """A switchover from n1 to n2, just seen."""
    return but(Order("switchover", "o1", EPOCH, "n1", "n2", 30.0), **more)


# -- the same observation for somebody else ----------------------------------------------------------------------

_CLOCKED = (
    *("now_s", "store__sent_s", "tenancy__sent_s", "tenancy__claimed_s", "key_seen_s", "bid_s", "health_s"),
    *(
        "start_after_s",
        "order_seen_s",
        "answers_s",
        "follow_good_s",
        "follow_left_s",
        "server__answered_s",
        "server__since_s",
        "server__stop_asked_s",
    ),
)


def shifted(obs: Observation, by_s: float) -> Observation:
    """The same on a clock that shows `by_s` more."""
    for path in _CLOCKED:
        name, _, inner = path.partition("__")
        owner = getattr(obs, name) if inner else obs
        if owner is not None:
            obs = but(obs, **{path: getattr(owner, inner or name) + by_s})
    return obs


def renamed(value: T, names: Mapping[str, str]) -> T:
    """The same in a cluster whose nodes have other names, wherever a name occurs."""
    return _renamed(value, names)  # type: ignore[return-value]


def _renamed(value: object, names: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return re.sub(r"\bn\d\b", lambda match: names[match[0]], value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _renamed(getattr(value, f.name), names) for f in fields(value)})
    if isinstance(value, Mapping):
        return {_renamed(k, names): _renamed(v, names) for k, v in value.items()}
    if isinstance(value, tuple | frozenset):
        return type(value)(_renamed(item, names) for item in value)
    return value


# -- any observation ---------------------------------------------------------------------------------------------

# Sixteenths of a second: sums and differences of such numbers are exact, so a shifted clock changes no comparison.
_MOMENT = st.integers(0, 20 * 16).map(lambda n: NOW - n / 16)
_LSN = st.sampled_from([900, END, 1100])
_POSITION = st.builds(Position, st.sampled_from([4, EPOCH]), _LSN)


def _own_seal(copy: Copy) -> st.SearchStrategy[Seal]:
    copies = st.sampled_from([copy, copy, Copy(copy.node, "old")])
    return st.builds(Seal, st.sampled_from([REV, REV, REV, REV - 1]), copies, _POSITION)


@st.composite
def sync_rules(draw: st.DrawFn) -> Rule:
    """An entry of `sync`."""
    holder = draw(st.sampled_from(COPIES))
    voters = draw(st.frozensets(st.sampled_from([c for c in COPIES if c != holder])))
    return Rule(holder, voters, draw(st.integers(1, len(voters))) if voters else 0)


@st.composite
def leaders(draw: st.DrawFn) -> Leader:
    """Any leader key, held, claimed or released; the last entry of `sync` is its holder's, if there is one."""
    holder = draw(st.sampled_from(COPIES))
    rules = (*draw(st.lists(sync_rules(), max_size=1)), but(key(holder)).sync[0]) if draw(st.booleans()) else ()
    return key(
        holder,
        incarnation=f"life-{holder.node}" if draw(st.booleans()) else "another",
        tenure=draw(st.sampled_from(Tenure)),
        sync=rules,
        position=draw(_POSITION),
        clean=draw(st.booleans()),
        checkpointed=draw(st.booleans()),
        forks=draw(st.sampled_from([(), ((4, 950),), ((3, 100), (4, END))])),
        target=draw(st.sampled_from(["", "n1", "n2"])),
    )


@st.composite
def _stores(draw: st.DrawFn) -> StoreView:
    members = [
        member(c, draw(st.none() | _own_seal(c)), priority=draw(st.integers(0, 1)), nofailover=draw(st.booleans()))
        for c in COPIES
    ]
    phases = st.sampled_from(["asked", "accepted", "stopping", "handed", "refused"])
    orders = st.builds(
        order,
        kind=st.sampled_from(["switchover", "failover"]),
        phase=phases,
        target=st.sampled_from(["n1", "n2", "n3", "n9"]),
        revision=st.sampled_from([REV, REV - 1]),
        gives_up=st.sampled_from([(), key().sync]),
    )
    return store(
        draw(st.none() | leaders() | leaders() | leaders()),
        *members,
        sent_s=draw(_MOMENT),
        cluster=draw(st.sampled_from([CLUSTER, CLUSTER, CLUSTER, None, Cluster("c2", "77")])),
        revision=draw(st.sampled_from([60, 30])),
        order=draw(st.none() | orders),
        history=draw(st.sampled_from([{EPOCH: EVENT}, {}])),
    )


@st.composite
def _servers(draw: st.DrawFn) -> ServerView:
    return ServerView(
        draw(st.sampled_from([*Running, Running.STANDBY, Running.PRIMARY])),
        draw(_POSITION),
        upstream_epoch=draw(st.sampled_from([0, 0, EPOCH, 4, -1])),
        receiving=draw(st.booleans()),
        names=draw(st.sampled_from(['ANY 1 ("n2.d2.5", "n3.d3.5")', "", "ANY 1 (x)"])),
        walsenders=draw(st.sampled_from([(), (walsender(N2),), (walsender(N2), walsender(N3), walsender(N3))])),
        answered_s=draw(_MOMENT),
        since_s=draw(_MOMENT),
        stop_asked_s=draw(_MOMENT),
        job=draw(st.sampled_from(["", "", "", "cloning"])),
        job_failed=draw(st.sampled_from(["", "no space"])),
    )


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    """Any observation of n1: every part by itself, so that most never occur; all of them must be classified."""
    own = draw(st.none() | _own_seal(N1))
    obs = Observation(
        "n1", "life-n1", NOW, TIMING, draw(st.none() | _stores() | _stores() | _stores()), draw(_servers()),
        Memory("c1", EPOCH, draw(st.integers(8, 10)), 40, own, EPOCH, draw(st.sampled_from([0, 0, 4, EPOCH]))),
        tenancy=Tenancy(draw(st.sampled_from([0, EPOCH, EPOCH])), draw(_MOMENT), draw(_MOMENT)),
        copy=draw(st.sampled_from([N1, N1, Copy("n1", "old"), None])),
        system=draw(st.sampled_from(["77", "77", "77", "78", ""])),
        sealed=own.position if own and draw(st.booleans()) else draw(st.none() | _POSITION),
        key_seen_s=draw(_MOMENT), bid_s=draw(_MOMENT), health_s=draw(_MOMENT), start_after_s=draw(_MOMENT) + 10,
        failed_starts=draw(st.integers(2, 5)), rewound=draw(st.integers(0, 1)), nofailover=draw(st.booleans()),
        missing_s={N3: draw(st.sampled_from([0.0, 2.0, 4.0]))}, mark=draw(st.none() | st.just(("", END))),
        order_seen_s=draw(_MOMENT), prepared=draw(st.sampled_from(["", "o1"])),
    )  # fmt: skip
    view = obs.store
    if view is not None and own is not None and draw(st.booleans()):
        obs = but(obs, store__members={**view.members, "n1": but(view.members["n1"], seal=own)})
    return obs
