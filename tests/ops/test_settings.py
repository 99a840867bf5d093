"""The settings of a running cluster: shown, planned, written by CAS, watched until they are in force."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgha import records
from pgha.adapters.memory import Fault
from pgha.core.model import Rule, Settings, Tenure
from pgha.errors import Busy, Exit, Findings, OutcomeUnknown, PghaError, Refused, StoreUnreachable
from pgha.ops import settings
from pgha.ops.settings import size_text
from pgha.ops.status import Seen
from tests.ops.cases import TARGET, copy, leader, seen
from tests.ops.test_switchover import World

QUORUM = Settings(1)


def with_settings(found: Settings | None, look: Seen | None = None) -> Seen:
    base = look or seen()
    revisions = {**base.records.revisions, **({"config": 4} if found else {})}
    return replace(base, records=replace(base.records, settings=found, revisions=revisions))


def plan(*words: str, before: Settings = QUORUM) -> settings.Plan:
    return settings.plan(TARGET, with_settings(before), words)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0B"), (1000, "1000B"), (1024, "1kB"), (16 << 20, "16MB"), (3 << 40, "3TB"), (1 << 50, "1024TB")],
)
def test_a_size_is_shown_exactly_in_the_form_in_which_it_is_written(count: int, text: str) -> None:
    assert size_text(count) == text


def test_every_setting_is_shown_as_set_takes_it() -> None:
    shown = {s.name: s.text(Settings(3, 8.0, "async", 0, 1 << 20)) for s in settings.SETTINGS}
    assert shown == {"durability": "async", "copies": "0", "max_lag": "1MB", "failover_after": "8s"}


def test_every_field_of_the_settings_is_a_row() -> None:
    others = {"revision", "parameters", "asked_by", "at", "reason", "newer"}
    assert len(settings.SETTINGS) == len(set(Settings.__slots__) - others)


# -- the plan ---------------------------------------------------------------------------------------------------


def test_a_change_keeps_what_it_does_not_name_and_raises_the_revision() -> None:
    chosen = plan("durability=async", "max_lag=1MB", before=Settings(7, 8.0))
    assert chosen.after == Settings(8, 8.0, "async", 0, 1 << 20) and chosen.revision == 4
    assert [(c.name, c.before, c.after) for c in chosen.changes] == [
        ("durability", "quorum", "async"),
        ("max_lag", "16MB", "1MB"),
    ]


def test_the_difference_is_shown_and_what_async_gives_up() -> None:
    page = plan("durability=async", "max_lag=1MB").lines("shop")
    assert page[:3] == [
        "plan: change the settings of shop  (revision 1 -> 2)",
        "  - durability=quorum",
        "  + durability=async",
    ]
    assert "  gives up: a commit that returned may be lost at a failover, those acknowledged before included" in page
    assert any("lacks up to 1MB of the WAL known of" in line for line in page)


GIVES_UP = {
    "quorum to strict": (("durability=strict",), QUORUM, "nobody can write until one is back"),
    "strict to quorum": (("durability=quorum",), Settings(1, 6.0, "strict"), "they exist once"),
    "more lag": (("max_lag=1GB",), Settings(1, 6.0, "async"), "up to 1GB of the WAL known of may be lost"),
    "fewer copies": (("copies=1",), Settings(1, 6.0, "quorum", 2), "a commit is on 1 standby, no longer on 2"),
}


@pytest.mark.parametrize("case", GIVES_UP)
def test_what_a_change_gives_up_is_said(case: str) -> None:
    words, before, text = GIVES_UP[case]
    assert any(text in line for line in plan(*words, before=before).gives_up)


@pytest.mark.parametrize(
    ("words", "before"),
    [
        (("durability=quorum",), Settings(1, 6.0, "async")),
        (("copies=2",), QUORUM),
        (("max_lag=1kB",), Settings(1, 6.0, "async")),
        (("max_lag=1GB",), QUORUM),
    ],
    ids=str,
)
def test_a_change_that_gives_up_nothing_says_nothing(words: tuple[str, ...], before: Settings) -> None:
    assert plan(*words, before=before).gives_up == ()


REFUSALS: dict[str, tuple[Seen, tuple[str, ...], type[PghaError], Exit, str]] = {
    "no pair": (with_settings(QUORUM), ("async",), Findings, Exit.USAGE, "'async' is not KEY=VALUE"),
    "no value": (with_settings(QUORUM), ("copies=",), Findings, Exit.USAGE, "'copies=' is not KEY=VALUE"),
    "a wrong word": (with_settings(QUORUM), ("durability=sync",), Findings, Exit.USAGE, "quorum or strict or async"),
    "an unknown key": (with_settings(QUORUM), ("durabillity=async",), Findings, Exit.USAGE, "durability"),
    "no unit": (with_settings(QUORUM), ("max_lag=5",), Findings, Exit.USAGE, "has no unit"),
    "too many copies": (with_settings(QUORUM), ("copies=3",), Findings, Exit.USAGE, "3 is not in 0 to 2"),
    "a key twice": (with_settings(QUORUM), ("copies=1", "copies=2"), Findings, Exit.USAGE, "copies"),
    "a line break": (with_settings(QUORUM), ("copies=1\nmax_lag: 1kB",), Findings, Exit.USAGE, "is not KEY=VALUE"),
    "a map": (with_settings(QUORUM), ("copies={a: 1}",), Findings, Exit.USAGE, "a single value"),
    "copies under async": (
        with_settings(Settings(1, 6.0, "quorum", 1)),
        ("durability=async",),
        Findings,
        Exit.USAGE,
        "async commits wait for no copy",
    ),
    "a time": (with_settings(QUORUM), ("failover_after=8s",), Refused, Exit.REFUSED, "take it when they start"),
    "nothing new": (with_settings(QUORUM), ("durability=quorum",), Refused, Exit.REFUSED, "nothing would change"),
    "no settings": (with_settings(None), ("copies=1",), Refused, Exit.REFUSED, "there is no key config"),
    "no store": (replace(with_settings(QUORUM), down="mute"), ("copies=1",), StoreUnreachable, Exit.STORE, "mute"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_is_refused(case: str) -> None:
    look, words, kind, code, text = REFUSALS[case]
    with pytest.raises(kind) as refused:
        settings.plan(TARGET, look, words)
    assert refused.value.code == code and text in "\n".join(refused.value.lines())


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(Findings) as found:
        plan("durability=sync", "max_lag=5", "nonsense")
    assert len(found.value.problems) == 3


def test_strict_is_refused_for_a_single_node() -> None:
    alone = replace(TARGET, nodes=TARGET.nodes[:1])
    with pytest.raises(Findings) as found:
        settings.plan(alone, with_settings(QUORUM), ("durability=strict",))
    assert "strict with one node" in found.value.lines()[0]


# -- writing and watching ---------------------------------------------------------------------------------------


def world() -> World:
    made = World()
    made._write("config", records.dump_settings(QUORUM))
    return made


def test_it_is_written_over_what_was_shown_and_nothing_else() -> None:
    made = world()
    look = made.look()
    chosen = settings.plan(TARGET, look, ("copies=2",))
    settings.write(made.store, made.clock, TARGET, chosen)
    assert made.look().records.settings == Settings(2, copies=2)
    with pytest.raises(Busy) as refused:
        settings.write(made.store, made.clock, TARGET, settings.plan(TARGET, look, ("max_lag=1MB",)))
    assert refused.value.code == Exit.BUSY and made.look().records.settings == Settings(2, copies=2)


@pytest.mark.parametrize("fault", [Fault.APPLIED, Fault.DOWN])
def test_an_answer_that_got_lost_is_looked_up(fault: Fault) -> None:
    made = world()
    chosen = settings.plan(TARGET, made.look(), ("copies=2",))
    made.store.fail_next("commit", fault)
    if fault is Fault.APPLIED:
        settings.write(made.store, made.clock, TARGET, chosen)
        return
    with pytest.raises(OutcomeUnknown):
        settings.write(made.store, made.clock, TARGET, chosen)


ALONE = Rule(copy("n1"), frozenset(), 0)
VOTED = leader().sync[0]


@pytest.mark.parametrize(
    ("durability", "copies", "sync", "expected"),
    [
        ("async", 0, (), True),
        ("async", 0, (VOTED,), False),
        ("quorum", 0, (), False),
        ("quorum", 0, (ALONE,), False),
        ("quorum", 0, (ALONE, VOTED), False),
        ("quorum", 0, (VOTED,), True),
        ("quorum", 1, (VOTED,), True),
        ("quorum", 2, (VOTED,), False),
        ("strict", 2, (replace(VOTED, k=2),), True),
    ],
)
def test_it_is_in_force_when_the_holders_rules_are_what_is_asked_for(
    durability: str, copies: int, sync: tuple[Rule, ...], expected: bool
) -> None:
    wanted = Settings(2, 6.0, durability, copies)
    found = with_settings(wanted, seen(key=leader(sync=sync))).records
    assert settings.is_in_force(wanted, found) is expected
    assert not settings.is_in_force(replace(wanted, revision=3), found), "somebody changed it again"
    free = with_settings(wanted, seen(key=leader(sync=sync, tenure=Tenure.RELEASED))).records
    assert not settings.is_in_force(wanted, free)


def test_the_command_waits_until_the_holder_has_followed_and_not_for_ever() -> None:
    made = world()
    wanted = Settings(2, 6.0, "async")
    made._write("config", records.dump_settings(wanted))
    began = made.clock.now
    assert not settings.await_force(made.store, made.clock, TARGET, wanted)
    assert made.clock.now - began > settings.FORCE_S
    made.later(3.0, lambda: made.put_leader(leader(sync=())))
    assert settings.await_force(made.store, made.clock, TARGET, wanted)
