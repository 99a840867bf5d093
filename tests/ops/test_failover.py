"""The operator's half of a failover: when none is needed, what it costs, and the one order that accepts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pgha import records
from pgha.adapters.memory import Fault
from pgha.core.decide import Rule as Decision
from pgha.core.model import Leader, Member, Order, Pause, Position, Rule, Seal, Settings, Tenure
from pgha.errors import Busy, Exit, OutcomeUnknown, PghaError, Refused, RolledBack, StoreUnreachable, UsageError
from pgha.ops import failover, switchover
from pgha.ops.status import Seen
from pgha.records import Problem
from tests.ops.cases import LSN, NOW, TARGET, copy, leader, without
from tests.ops.explain_cases import FREE, HELD_SILENT, REV, SILENT, down, key, look, sealed, told, without_key
from tests.ops.test_switchover import World

GONE_N3 = told("n3", written_at=SILENT)
WAITS = sealed("n2", Decision.R640_WAIT_SEALS, LSN - 4096)
LOSES = look(HELD_SILENT, WAITS, GONE_N3)  # n1 holds the key and is gone, n3 too: n2 alone has no cover
ASYNC = Settings(1, 6.0, "async", 0, 1024)


def asynchronous(seen: Seen) -> Seen:
    """The same look where nothing is promised, and 1 kB may be lost."""
    assert seen.records.leader is not None
    empty = replace(seen.records.leader, sync=())
    return replace(seen, records=replace(seen.records, settings=ASYNC, leader=empty))


BARRED = asynchronous(look(HELD_SILENT, sealed("n2", Decision.R660_BARRED, LSN - 4096), GONE_N3))

ORDER = Order("switchover", "o", 3, "n1", "n2", 30.0, "anna", NOW)

# -- none is needed, or it can't help ---------------------------------------------------------------------------

REFUSALS: dict[str, tuple[Seen, str | None, type[PghaError], str]] = {
    "a healthy primary": (look(), None, Refused, "n1 is a healthy primary"),
    "a primary that reported just now": (look(told("n1", written_at=NOW - 5.0)), "n2", Refused, "6 s after its last"),
    "a claimant at work": (look(leader=key(tenure=Tenure.CLAIMED)), None, Refused, "about to be writable"),
    "a holder whose server is down": (look(told("n1", primary=False)), None, Refused, "n1 holds it"),
    "nobody has heard silence for H": (look(HELD_SILENT), None, Refused, "not silent for long enough"),
    "somebody has cover": (
        look(sealed("n2", Decision.R670_CLAIM), sealed("n3", Decision.R650_YIELD), leader=FREE),
        "n2",
        Refused,
        "n2, n3 has cover and takes over by itself, within 3 s",
    ),
    "one more will seal": (
        look(HELD_SILENT, WAITS, told("n3", Decision.R620_SEAL)),
        None,
        Refused,
        "n3 will seal in a moment",
    ),
    "async and within max_lag": (
        asynchronous(look(HELD_SILENT, sealed("n2", Decision.R650_YIELD, LSN - 1024), GONE_N3)),
        None,
        Refused,
        "n2 has cover and takes over by itself",
    ),
    "nobody has sealed": (
        look(told("n1", written_at=SILENT), down("n2", Decision.R510_START, written_at=NOW), GONE_N3, leader=FREE),
        None,
        Refused,
        "no node can take over",
    ),
    "to one that has not sealed": (
        look(HELD_SILENT, WAITS, down("n3", Decision.R510_START)),
        "n3",
        Refused,
        "has not sealed yet, it says stopped",
    ),
    "to one that is gone": (LOSES, "n3", Refused, "it does not report"),
    "to a nofailover one": (look(HELD_SILENT, replace(WAITS, nofailover=True), GONE_N3), "n2", Refused, "nofailover"),
    "to an unknown one": (LOSES, "n9", UsageError, "there is no node 'n9'"),
    "no leader key": (without_key(look()), None, Refused, "there is no leader key"),
    "a restored store": (
        look(told("n1", written_at=SILENT), told("n2", Decision.R210_RESTORED), GONE_N3, leader=FREE),
        None,
        Refused,
        "the store is not what it was",
    ),
    "another order": (look(HELD_SILENT, WAITS, GONE_N3, asked=ORDER), None, Busy, "anna"),
    "a paused cluster": (
        look(HELD_SILENT, leader=key(paused=Pause("p", "disk swap", "anna", NOW, 600.0, 300.0))),
        None,
        Refused,
        "paused",
    ),
    "no store": (replace(LOSES, down="silent"), None, StoreUnreachable, "no answer"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_it_is_refused(case: str) -> None:
    seen, to, kind, words = REFUSALS[case]
    with pytest.raises(kind) as refused:
        failover.plan(TARGET, seen, to)
    assert words in "\n".join(refused.value.lines())
    assert refused.value.code is not Exit.WOULD_LOSE


def test_the_primary_that_lives_is_moved_by_a_switchover() -> None:
    with pytest.raises(Refused) as refused:
        failover.plan(TARGET, look(), "n2")
    assert refused.value.next_step == "pgha switchover"


def test_an_unreadable_order_is_left_alone() -> None:
    junk = replace(
        LOSES.records, revisions={**LOSES.records.revisions, "request": 9}, problems=(Problem("request", "?"),)
    )
    with pytest.raises(Refused, match="request can't be understood"):
        failover.plan(TARGET, replace(LOSES, records=junk), None)


@pytest.mark.parametrize(
    "changes",
    [{"phase": "done"}, {"phase": "refused"}, {"epoch": 2}, {"asked_at": NOW - failover.STALE_S - 1}],
    ids=str,
)
def test_an_order_that_no_agent_can_carry_out_any_more_is_in_nobodys_way(changes: dict[str, object]) -> None:
    left = replace(ORDER, **changes)  # type: ignore[arg-type]
    assert failover.plan(TARGET, look(HELD_SILENT, WAITS, GONE_N3, asked=left), None).target == "n2"


# -- what it costs ----------------------------------------------------------------------------------------------


def test_the_plan_says_who_is_missing_what_is_known_and_what_is_at_stake() -> None:
    chosen = failover.plan(TARGET, LOSES, None)
    assert (chosen.source, chosen.target, chosen.epoch, chosen.revision) == ("n1", "n2", 3, REV)
    assert chosen.gives_up == key().sync and chosen.lost_bytes == 4096 and chosen.end == Position(3, LSN)
    assert 5.0 < chosen.unseen_s < 5.5, "until F_hard"
    assert chosen.kept == (copy("n1"), copy("n3"))
    page = "\n".join(chosen.lines("shop"))
    for words in (
        "n1 -> n2  (cluster shop, epoch 3 -> 4), with a loss",
        "n2 has sealed at 3:0/4FFF000; the last position known is 3:0/5000000",
        "missing: n1.d1, last known at 3:0/5000000, silent for 15 s",
        "missing: n3.d3, last known at 3:0/5000000, silent for 15 s",
        "gives up: commits of n1, confirmed by 1 of n2, n3",
        "at stake: 4096 bytes of WAL known of, and what n1 acknowledged in up to 5.2 s after its last word",
        "kept: the directory of n1.d1",
        "first try: ssh 192.0.2.1",
    ):
        assert words in page


def test_without_consent_it_is_exit_12_with_the_command_that_consents() -> None:
    refusal = failover.plan(TARGET, LOSES, None).refusal(TARGET)
    assert refusal.code == Exit.WOULD_LOSE and "4096 bytes" in refusal.because and "n1.d1" in refusal.because
    assert refusal.next_step == "pgha failover --to n2 --accept-data-loss"


def test_what_a_released_key_leaves_unseen_is_little_and_nothing_after_a_clean_stop() -> None:
    crashed = failover.plan(TARGET, look(told("n1", written_at=SILENT), WAITS, GONE_N3, leader=FREE), None)
    assert crashed.unseen_s == pytest.approx(1.5)
    stopped = replace(FREE, clean=True)
    clean = look(told("n1", written_at=SILENT), WAITS, GONE_N3, leader=stopped)
    assert failover.plan(TARGET, clean, None).unseen_s == 0.0


def test_the_one_with_most_is_chosen_and_another_one_on_request() -> None:
    rule = Rule(copy("n1"), frozenset(), 0)
    both = look(HELD_SILENT, WAITS, sealed("n3", Decision.R640_WAIT_SEALS, LSN - 1), leader=key(sync=(rule,)))
    assert failover.plan(TARGET, both, None).target == "n3"
    worse = failover.plan(TARGET, both, "n2")
    assert worse.target == "n2" and worse.lost_bytes == 4096 and copy("n3") in worse.kept


def test_a_missing_directory_that_is_gone_for_good_can_not_be_started() -> None:
    emptied = look(HELD_SILENT, WAITS, down("n3", Decision.R610_NO_DATA, data=""))
    page = "\n".join(failover.plan(TARGET, emptied, None).lines("shop"))
    assert "n3.d3, whose directory is gone" in page


def test_a_node_whose_server_does_not_come_up_is_not_waited_for() -> None:
    broken = down("n1", Decision.R510_START, problem="invalid primary checkpoint record")
    assert failover.plan(TARGET, look(broken, WAITS, GONE_N3, leader=FREE), None).target == "n2"


def test_where_nothing_is_promised_a_node_beyond_max_lag_is_a_loss_of_bytes() -> None:
    chosen = failover.plan(TARGET, BARRED, None)
    assert chosen.gives_up == () and chosen.lost_bytes == 4096 and chosen.kept == (copy("n1"), copy("n3"))
    assert "missing: n1.d1" in "\n".join(chosen.lines("shop"))


def test_as_json_it_has_stable_names() -> None:
    assert failover.plan(TARGET, LOSES, None).as_dict() == {
        "from": "n1",
        "to": "n2",
        "epoch": 4,
        "sealed": "3:0/4FFF000",
        "last_known": "3:0/5000000",
        "lost_bytes": 4096,
        "unseen_s": 5.19,
        "gives_up": ["commits of n1, confirmed by 1 of n2, n3"],
        "missing": ["n1.d1", "n3.d3"],
        "kept": ["n1.d1", "n3.d3"],
    }


# -- the order --------------------------------------------------------------------------------------------------


class Lost(World):
    """A store in which n1 and n3 are gone and n2 waits for seals."""

    def __init__(self) -> None:
        super().__init__()
        self.put_leader(key())
        for found in (HELD_SILENT, GONE_N3):
            self.put_member(found)
        position = Position(3, LSN - 4096)
        self.put_member(replace(WAITS, seal=Seal(self.look().records.rev("leader"), copy("n2"), position)))

    def order(self) -> switchover.Asked:
        seen = self.look()
        chosen = failover.plan(TARGET, seen, None)
        return failover.ask(self.store, self.clock, TARGET, seen, chosen, asked_by="bert@desk")


NEW = leader(holder=copy("n2"), epoch=4, sync=())


def test_the_order_names_target_entries_and_the_revision_it_was_decided_on() -> None:
    world = Lost()
    asked, found = world.order(), world.look().records
    assert found.order == asked.order
    assert (asked.order.kind, asked.order.target, asked.order.epoch) == ("failover", "n2", 3)
    assert asked.order.gives_up == key().sync and asked.order.revision == found.rev("leader")


def test_it_is_over_when_the_target_leads() -> None:
    world = Lost()
    asked = world.order()
    world.later(0.6, lambda: world.put_order(replace(asked.order, phase="handed")))
    world.later(1.2, lambda: world.put_leader(replace(NEW, tenure=Tenure.CLAIMED)))
    world.later(1.8, lambda: world.put_leader(NEW))
    world.later(2.4, lambda: world.put_order(None))
    assert 2.3 < world.watch(asked) < 3.0
    assert world.told == list(switchover.PHASES_OF_FAILOVER.values())


def _says_no(world: Lost, asked: switchover.Asked) -> None:
    world.put_order(replace(asked.order, phase="refused", answer="n1 holds the leader key and is healthy"))


def _n1_is_back(world: Lost, _asked: switchover.Asked) -> None:
    world.put_leader(replace(key(), epoch=4))


ENDS: dict[str, tuple[Callable[[Lost, switchover.Asked], None], type[PghaError], str]] = {
    "refused": (_says_no, Refused, "the failover is refused"),
    "another one leads": (_n1_is_back, RolledBack, "n2 did not take over"),
    "nobody takes it up": (lambda _w, _a: None, Refused, "no agent took it up within 5 s"),
}


@pytest.mark.parametrize("end", ENDS)
def test_every_other_end_is_told_and_leaves_no_order(end: str) -> None:
    act, kind, words = ENDS[end]
    world = Lost()
    asked = world.order()
    world.later(0.2, lambda: act(world, asked))
    with pytest.raises(kind) as failed:
        world.watch(asked)
    assert words in "\n".join(failed.value.lines())
    assert world.look().records.order is None


def test_of_two_operators_one_is_busy() -> None:
    world = Lost()
    seen = world.look()
    chosen = failover.plan(TARGET, seen, None)
    failover.ask(world.store, world.clock, TARGET, seen, chosen, asked_by="anna@desk")
    with pytest.raises(Busy) as refused:
        failover.ask(world.store, world.clock, TARGET, seen, chosen, asked_by="bert@desk")
    assert "anna@desk" in refused.value.because and refused.value.code == Exit.BUSY


def test_an_order_that_never_arrived_is_an_unknown_outcome() -> None:
    world = Lost()
    world.store.fail_next("commit", Fault.DOWN)
    with pytest.raises(OutcomeUnknown):
        world.order()


def test_interrupted_before_anybody_took_it_up_it_is_withdrawn() -> None:
    world = Lost()
    told_so = switchover.interrupted(world.store, world.clock, TARGET, world.order())
    assert "withdrawn" in told_so.what and world.look().records.order is None


def test_a_plan_writes_nothing() -> None:
    world = Lost()
    before = world.revision()
    failover.plan(TARGET, world.look(), None)
    assert world.revision() == before


def test_builders_and_model_agree() -> None:
    found: Leader = key()
    here: Member = WAITS
    assert found.holder == copy("n1") and here.seal is not None and here.seal.revision == REV
    assert records.rule_text(found.sync[0]) and without(LOSES, "n3").records.members.keys() == {"n1", "n2"}
