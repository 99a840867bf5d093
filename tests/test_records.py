"""The store's values, both ways: what was written comes back, and no junk is understood or raises."""

from __future__ import annotations

import copy as copying
import json
from collections.abc import Callable
from dataclasses import replace
from string import ascii_lowercase, digits
from typing import TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgha import records
from pgha.core.model import (
    Cluster,
    Copy,
    Event,
    Leader,
    Measures,
    Member,
    Order,
    Pause,
    Position,
    Rule,
    Seal,
    Settings,
    Tenure,
)
from pgha.records import Problem, parse_value
from pgha.records_json import SCHEMA, Reader

T = TypeVar("T")
NAMES = st.text(ascii_lowercase + digits + "-", min_size=1, max_size=12)
COPIES = st.builds(Copy, NAMES, NAMES)
COUNTS = st.integers(0, (1 << 63) - 1)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
POSITIONS = st.builds(Position, COUNTS, st.integers(0, (1 << 64) - 1))
TEXT = st.text(max_size=20)


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Any possible rule."""
    holder, *voters = draw(st.lists(COPIES, min_size=1, max_size=4, unique=True))
    return Rule(holder, frozenset(voters), draw(st.integers(1, len(voters))) if voters else 0)


MILLIS = st.integers(0, 1 << 40).map(lambda n: round(n / 1000, 3))
MEASURES = st.builds(Measures, st.dictionaries(TEXT, MILLIS, max_size=3), MILLIS, MILLIS, MILLIS, COUNTS)


@st.composite
def members(draw: st.DrawFn) -> Member:
    """Any member, its seal its own node's."""
    node = draw(NAMES)
    seals = st.builds(Seal, COUNTS, st.builds(Copy, st.just(node), NAMES), POSITIONS)
    plain = st.builds(
    Member,
        node=st.just(node), incarnation=TEXT, beat=COUNTS, host=TEXT, port=COUNTS, data=TEXT, state=TEXT,
        primary=st.booleans(), position=POSITIONS, replay=POSITIONS, seal=st.none() | seals, upstream_epoch=COUNTS,
        priority=st.integers(), nofailover=st.booleans(), version=TEXT, postgres=TEXT, problem=TEXT, rule=TEXT,
        written_at=st.integers(0, 1 << 40).map(lambda n: round(n / 1000, 3)),
        standbys=st.dictionaries(TEXT, st.tuples(TEXT, st.integers(0, (1 << 64) - 1)), max_size=3),
        kept=st.lists(TEXT, max_size=3).map(tuple), measures=MEASURES,
        follow=TEXT, follows=TEXT,
    )  # fmt: skip
    return draw(plain)


PAUSES = st.builds(Pause, TEXT, TEXT, TEXT, FLOATS, st.just(1e6), st.floats(0.0, 1e6))
LEADERS = st.builds(
    Leader,
    holder=COPIES, incarnation=TEXT, epoch=COUNTS, beat=COUNTS, tenure=st.sampled_from(Tenure),
    sync=st.lists(rules(), max_size=3).map(tuple), position=POSITIONS, clean=st.booleans(),
    checkpointed=st.booleans(), forks=st.lists(st.tuples(COUNTS, st.integers(0, 1 << 40)), max_size=3).map(tuple),
    target=TEXT, reason=TEXT, loss_bytes=COUNTS, kept=st.lists(COPIES, max_size=3).map(tuple),
    source=TEXT, asked_by=TEXT, paused=st.none() | PAUSES,
)  # fmt: skip
GIVEN_UP = st.lists(rules(), max_size=3).map(tuple)
ORDERS = st.builds(
    Order, TEXT, TEXT, COUNTS, TEXT, TEXT, FLOATS, TEXT, FLOATS, TEXT, TEXT, COUNTS, GIVEN_UP, TEXT, FLOATS
)
SETTINGS = st.builds(
    Settings, COUNTS, st.floats(5.0, 300.0), st.sampled_from(["quorum", "strict", "async"]), st.integers(0, 100), COUNTS
)
EVENTS = st.builds(
    Event, COUNTS, TEXT, TEXT, TEXT, TEXT, POSITIONS, st.dictionaries(TEXT, FLOATS, max_size=3), TEXT, FLOATS, COUNTS
)
CLUSTERS = st.builds(Cluster, TEXT, TEXT, FLOATS)

LEADER = Leader(
    Copy("n1", "d1"), "life", 5, 9, Tenure.HELD, (Rule(Copy("n1", "d1"), frozenset({Copy("n2", "d2")}), 1),),
    Position(5, 1000), forks=((4, 900),),
)  # fmt: skip
MEMBER = Member(
    "n1", "life", 1, "127.0.0.1", 5432, data="d1", seal=Seal(50, Copy("n1", "d1"), Position(5, 1)),
    standbys={"n2.d2.5": ("streaming", 7)},
)  # fmt: skip
ORDER = Order("switchover", "o1", 5, "n1", "n2", 30.0)
EVENT = Event(5, "n1", "n2", "failover", "", Position(5, 1000), {"claim": 1.5})
KINDS: dict[str, tuple[bytes, Callable[[Reader], object]]] = {
    "leader": (records.dump_leader(LEADER), records.parse_leader),
    "members/n1": (records.dump_member(MEMBER), records.parse_member),
    "request": (records.dump_order(ORDER), records.parse_order),
    "cluster": (records.dump_cluster(Cluster("c", "77", 1.0)), records.parse_cluster),
    "config": (records.dump_settings(Settings()), records.parse_settings),
    "history/5": (records.dump_event(EVENT), records.parse_event),
}
WORDS = dict(zip(KINDS, ("leader", "member", "order", "cluster", "settings", "event"), strict=True))
OPTIONAL = {  # what an older version may not have written
    "leader": {"target", "reason", "loss_bytes", "kept", "source", "asked_by", "paused", "unwell"},
    "members/n1": {
        "seal",
        "priority",
        "nofailover",
        "version",
        "postgres",
        "problem",
        "rule",
        "written_at",
        "standbys",
        "kept",
        "nosync",
        "clonefrom",
        "noloadbalance",
        "follow",
        "follows",
        "settings",
        "refused",
        "pending",
        "limits",
        "measures",
    },
    "request": {"asked_by", "asked_at", "answer", "revision", "gives_up", "reason", "for_s", "begun_s", "data"},
    "cluster": {"created_at"},
    "config": {"revision", "copies", "max_lag", "parameters", "asked_by", "at", "reason"},
    "history/5": {"phases_ms", "asked_by", "at", "loss_bytes"},
}


# -- there and back ---------------------------------------------------------------------------------------------


def back(value: bytes, parse: Callable[[Reader], T]) -> T | Problem:
    assert json.loads(value)["schema"] == SCHEMA
    return parse_value("k", value, parse)


@given(LEADERS, members(), ORDERS, SETTINGS, EVENTS, CLUSTERS)
def test_every_value_is_read_as_it_was_written(
    leader: Leader, member: Member, order: Order, settings: Settings, event: Event, cluster: Cluster
) -> None:
    assert back(records.dump_leader(leader), records.parse_leader) == leader
    assert back(records.dump_member(member), records.parse_member) == member
    assert back(records.dump_order(order), records.parse_order) == order
    assert back(records.dump_settings(settings), records.parse_settings) == settings
    assert back(records.dump_event(event), records.parse_event) == event
    assert back(records.dump_cluster(cluster), records.parse_cluster) == cluster


def test_equal_values_are_equal_bytes_and_the_time_of_showing_is_kept_to_the_millisecond() -> None:
    voters = [Copy(f"n{i}", "d") for i in range(20)]
    forth, reverse = (
        replace(LEADER, sync=(Rule(Copy("h", "d"), frozenset(v), 1),)) for v in (voters, list(reversed(voters)))
    )
    assert records.dump_leader(forth) == records.dump_leader(reverse)
    shown = back(records.dump_member(replace(MEMBER, written_at=1.23456)), records.parse_member)
    assert isinstance(shown, Member) and shown.written_at == 1.235


# -- junk -------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
JUNK: list[bytes] = [
    *(b"", b"\x00", b"null", b"[]", b"7", b'"x"', b"{", b"\xff\xfe", b"\xef\xbb\xbf{}", b"NaN", b'{"schema":1}'),
    *(b"[" * 200_000, b'{"a":' * 200_000, b"1" * 10_000, b'{"schema":1e999}', b'{"schema":' + b"9" * 10_000 + b"}"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("junk", JUNK, ids=lambda b: repr(b[:16]))
def test_junk_is_a_problem_that_names_its_key(kind: str, junk: bytes) -> None:
    found = parse_value(kind, junk, KINDS[kind][1])
    assert isinstance(found, Problem)
    assert found.key == kind and 0 < len(found.why) <= 200


@given(st.sampled_from(sorted(KINDS)), st.binary(max_size=64) | JSON.map(lambda j: json.dumps(j).encode()))
def test_no_bytes_raise(kind: str, junk: bytes) -> None:
    assert isinstance(parse_value(kind, junk, KINDS[kind][1]), Problem)


def _paths(body: object, here: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    inner = body.items() if isinstance(body, dict) else enumerate(body) if isinstance(body, list) else ()
    return [here] * bool(here) + [path for name, value in inner for path in _paths(value, (*here, name))]


def _put(body: object, path: tuple[object, ...], new: object) -> object:
    changed = copying.deepcopy(body)
    at = changed
    for name in path[:-1]:
        at = at[name]  # type: ignore[index]  # the path is one of its own
    at[path[-1]] = new  # type: ignore[index]
    return changed


SPOTS = [(kind, path) for kind, (value, _) in KINDS.items() for path in _paths(json.loads(value))]
STRANGE = st.sampled_from(
    [-1, 1 << 63, 1 << 64, 10**400, 1e308, "\x00", "\ud800", "-1/0", "1_0/0", "n1.", ".", "a.b.c"]
)


@given(st.sampled_from(SPOTS), JSON | STRANGE)
@example(("request", ("budget_s",)), float("nan"))
@example(("request", ("budget_s",)), float("inf"))
@example(("leader", ("forks", 0, 0)), True)
@example(("leader", ("forks", 0, 0)), -1)
@example(("leader", ("position", "lsn")), "-1/0")
@example(("leader", ("reason",)), "\ud800")
@example(("members/n1", ("standbys",)), {"\ud800": ["x", "0/1"]})
def test_anything_anywhere_is_a_problem_or_a_value_that_can_be_written_again(
    spot: tuple[str, tuple[object, ...]], new: object
) -> None:
    kind, path = spot
    text = json.dumps(_put(json.loads(KINDS[kind][0]), path, new)).encode()
    found = parse_value(kind, text, KINDS[kind][1])
    if isinstance(found, Problem):
        return
    dump: Callable[[object], bytes] = getattr(records, f"dump_{WORDS[kind]}")
    assert parse_value(kind, dump(found), KINDS[kind][1]) == found


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "1" + "0" * 400])
@pytest.mark.parametrize(
    ("kind", "name"), [("request", "budget_s"), ("config", "failover_after_s"), ("history/5", "at")]
)
def test_what_is_no_finite_number_is_a_problem(kind: str, name: str, number: str) -> None:
    """An order that is never over, say. JSON knows none of them, Python's reader does."""
    text = json.dumps(_put(json.loads(KINDS[kind][0]), (name,), "@")).replace('"@"', number)
    assert isinstance(parse_value(kind, text.encode(), KINDS[kind][1]), Problem)


@pytest.mark.parametrize(("kind", "path"), SPOTS, ids=str)
@pytest.mark.parametrize("wrong", [None, True, 1.5, -1, "", "no such word", [7], {"x": 1}], ids=str)
def test_a_field_of_a_wrong_type_is_a_problem_that_names_it_or_means_what_it_says(
    kind: str, path: tuple[object, ...], wrong: object
) -> None:
    body = json.loads(KINDS[kind][0])
    before = body
    for name in path:
        before = before[name]
    same_type = type(wrong) is type(before) or (type(before) is float and type(wrong) is int)
    found = parse_value(kind, json.dumps(_put(body, path, wrong)).encode(), KINDS[kind][1])
    if not same_type and not _may_be(path, wrong):
        assert isinstance(found, Problem)


def _may_be(path: tuple[object, ...], wrong: object) -> bool:
    """No seal is none at all; a state and the phases are for showing only, and shown as they are."""
    return (path == ("seal",) and wrong is None) or path[0] in ("standbys", "phases_ms")


@pytest.mark.parametrize(("left_s", "for_s"), [(-1.0, 5.0), (6.0, 5.0), (1e999, 1e999), ("5", 5.0), (True, 5.0)])
def test_an_impossible_pause_is_a_problem(left_s: object, for_s: float) -> None:
    pause = {"ident": "p", "reason": "r", "asked_by": "a", "at": 0.0, "for_s": for_s, "left_s": left_s}
    body = json.loads(records.dump_leader(LEADER)) | {"paused": pause}
    assert isinstance(parse_value("leader", json.dumps(body).encode(), records.parse_leader), Problem)


@pytest.mark.parametrize("kind", KINDS)
def test_each_field_that_decides_anything_must_be_there(kind: str) -> None:
    value, parse = KINDS[kind]
    body = json.loads(value)
    missing = {
        name
        for name in body
        if isinstance(
            parse_value(kind, json.dumps({k: v for k, v in body.items() if k != name}).encode(), parse), Problem
        )
    }
    assert missing == set(body) - OPTIONAL[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_newer_nodes_field_is_ignored_and_its_schema_is_not(kind: str) -> None:
    value, parse = KINDS[kind]
    body = json.loads(value)
    assert parse_value(kind, json.dumps(body | {"newer": [1]}).encode(), parse) == parse_value(kind, value, parse)
    for schema, why in ((2, "schema 2, this version knows 1"), (0, "schema 0"), ("1", "schema: "), (True, "schema: ")):
        found = parse_value(kind, json.dumps(body | {"schema": schema}).encode(), parse)
        assert isinstance(found, Problem) and why in found.why


@pytest.mark.parametrize(
    "rule",
    [
        {"holder": "n1.d1", "voters": [], "k": 1},
        {"holder": "n1.d1", "voters": ["n2.d2"], "k": 0},
        {"holder": "n1.d1", "voters": ["n2.d2", "n2.d2"], "k": 2},
        {"holder": "n1.d1", "voters": ["n1.d1"], "k": 1},
        {"holder": "n1", "voters": [], "k": 0},
        {"holder": "n1.d1.5", "voters": [], "k": 0},
    ],
    ids=str,
)
def test_an_impossible_rule_is_a_problem(rule: object) -> None:
    body = json.loads(KINDS["leader"][0]) | {"sync": [rule]}
    assert isinstance(parse_value("leader", json.dumps(body).encode(), records.parse_leader), Problem)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"failover_after_s": 4.9}, "failover_after_s: 4.9 is not between 5 and 300"),
        ({"failover_after_s": 300.1}, "not between"),
        ({"durability": "most"}, "durability: 'most'"),
        ({"copies": -1}, "copies: out of range"),
    ],
)
def test_settings_out_of_range_are_a_problem(changes: dict[str, object], why: str) -> None:
    body = json.loads(KINDS["config"][0]) | changes
    found = parse_value("config", json.dumps(body).encode(), records.parse_settings)
    assert isinstance(found, Problem) and why in found.why


def test_a_member_speaks_for_its_own_copies_only() -> None:
    """A false seal in another's name would let a node take over without what that other one confirmed."""
    own = replace(MEMBER, seal=Seal(1, Copy("n1", "old"), Position(1, 1)))
    assert back(records.dump_member(own), records.parse_member) == own
    found = back(
        records.dump_member(replace(MEMBER, seal=Seal(1, Copy("n2", "d2"), Position(1, 1)))), records.parse_member
    )
    assert isinstance(found, Problem) and "itself" in found.why


# -- the whole prefix -------------------------------------------------------------------------------------------


def snapshot(**more: bytes) -> records.Records:
    """All keys of a cluster, with more or others."""
    values = {kind: value for kind, (value, _) in KINDS.items()} | more
    entries = {f"/pgha/c/{key}": (value, 10 + n) for n, (key, value) in enumerate(values.items())}
    return records.parse_snapshot("c", 99, entries)


def test_a_snapshot_has_every_value_and_each_keys_revision() -> None:
    found = snapshot()
    assert found == records.Records(
        99, Cluster("c", "77", 1.0), Settings(), LEADER, {"n1": MEMBER}, ORDER, {5: EVENT},
        {kind: 10 + n for n, kind in enumerate(KINDS)},
    )  # fmt: skip
    assert (found.rev("leader"), found.rev("members/n9")) == (10, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_junk_key_is_named_and_the_others_are_kept(kind: str) -> None:
    good, found = snapshot(), snapshot(**{kind: b"junk"})
    assert [p.key for p in found.problems] == [kind]
    assert found.revisions == good.revisions, "it is there, and its revision guards it"
    kept = {"leader", "members", "order", "cluster", "settings", "history"}
    names = {"members/n1": "members", "request": "order", "config": "settings", "history/5": "history"}
    for name in kept - {names.get(kind, kind)}:
        assert getattr(found, name) == getattr(good, name)
    assert not getattr(found, names.get(kind, kind))


def test_keys_that_are_not_pghas_are_named() -> None:
    found = snapshot(**{"leader/x": b"{}", "other": b"", "members": records.dump_member(MEMBER), "": b"{}"})
    assert {p.key: p.why for p in found.problems} == {
        "leader/x": "not a key of pgha",
        "other": "not a key of pgha",
        "members": "says it is 'n1'",
        "": "not a key of pgha",
    }
    assert found.members == {"n1": MEMBER}


def test_a_member_or_an_event_under_anothers_key_is_a_problem() -> None:
    found = snapshot(**{"members/n2": records.dump_member(MEMBER), "history/6": records.dump_event(EVENT)})
    assert {p.key: p.why for p in found.problems} == {
        "members/n2": "says it is 'n1'",
        "history/6": "says it is of epoch 5",
    }
    assert (list(found.members), list(found.history)) == (["n1"], [5])


def test_an_empty_prefix_is_a_cluster_of_nothing() -> None:
    assert records.parse_snapshot("c", 7, {}) == records.Records(7)


def test_a_rule_can_be_read_by_people() -> None:
    assert records.rule_text(LEADER.sync[0]) == "n1.d1: 1 of n2.d2"
    assert records.rule_text(Rule(Copy("n1", "d1"), frozenset(), 0)) == "n1.d1: 0 of none"
