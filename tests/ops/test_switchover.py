"""The operator's half of a switchover: who may, one create-only order, and every end it can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pgha import records
from pgha.adapters.memory import Fault, MemoryStore
from pgha.core.model import Leader, Member, Order, Tenure
from pgha.errors import Busy, Exit, OutcomeUnknown, PghaError, Refused, RolledBack, StoreUnreachable, UsageError
from pgha.ops import switchover
from pgha.ops.status import SILENT_S, Seen
from pgha.ports import Write
from tests.ops.cases import LSN, NOW, TARGET, copy, leader, member, order, seen, without

ROOT = "/pgha/shop/"


def test_without_a_name_the_best_voter_is_chosen() -> None:
    assert switchover.plan(TARGET, seen(), None).target == "n2"
    assert switchover.plan(TARGET, seen(member("n3", priority=5)), None).target == "n3"


def test_of_equals_the_one_that_lags_least_is_chosen() -> None:
    standbys = {copy("n2").standby_name(3): ("streaming", LSN - 99), copy("n3").standby_name(3): ("streaming", LSN)}
    assert switchover.plan(TARGET, seen(member("n1", standbys=standbys)), None).target == "n3"


LAGGING = {
    copy("n2").standby_name(3): ("streaming", LSN - (17 << 20)),
    copy("n3").standby_name(3): ("streaming", LSN),
}
REFUSALS: dict[str, tuple[Seen, str | None, type[PghaError], str]] = {
    "to itself": (seen(), "n1", Refused, "n1 is the primary already"),
    "to an unknown node": (seen(), "n9", UsageError, "there is no node 'n9'"),
    "to one that never reported": (without(seen(), "n3"), "n3", Refused, "never reported"),
    "to a lagging one": (seen(member("n1", standbys=LAGGING)), "n2", Refused, "17 MB behind"),
    "to one that does not vote": (seen(key=leader("n3")), "n2", Refused, "no voter"),
    "to a fresh clone": (seen(member("n2", data="new")), "n2", Refused, "no voter"),
    "to one that clones": (seen(member("n2", state="cloning")), "n2", Refused, "does not stream"),
    "to one the primary misses": (seen(member("n1", standbys={})), "n2", Refused, "not connected"),
    "to a silent one": (seen(member("n2", written_at=NOW - SILENT_S - 1)), "n2", Refused, "has not reported for 11 s"),
    "to a nofailover one": (seen(member("n2", nofailover=True)), "n2", Refused, "nofailover"),
    "no primary": (seen(key=leader(tenure=Tenure.RELEASED)), "n2", Refused, "no healthy primary"),
    "a silent primary": (seen(member("n1", written_at=NOW - 60)), None, Refused, "no healthy primary"),
    "a primary that is not writable": (seen(member("n1", primary=False)), None, Refused, "no healthy primary"),
    "another order": (seen(asked=order()), "n3", Busy, "in progress"),
    "nobody fit": (seen(member("n2", nofailover=True), member("n3", state="cloning")), None, Refused, "no node can"),
    "no store": (replace(seen(), down="silent"), "n2", StoreUnreachable, "no answer"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_is_refused(case: str) -> None:
    look, to, kind, words = REFUSALS[case]
    with pytest.raises(kind) as refused:
        switchover.plan(TARGET, look, to)
    assert words in "\n".join(refused.value.lines())


def test_the_refusal_of_a_second_operator_names_the_first() -> None:
    with pytest.raises(Busy) as refused:
        switchover.plan(TARGET, seen(asked=order(phase="stopping")), "n3")
    assert refused.value.code == Exit.BUSY
    assert "anna@desk 4 s ago, phase stopping" in refused.value.because


def test_the_very_same_order_is_gone_on_with_and_not_asked_again() -> None:
    world = World()
    first = switchover.ask(
        world.store, world.clock, TARGET, world.look(), switchover.plan(TARGET, seen(), "n2"), asked_by="anna@desk"
    )
    for to in ("n2", None):
        again = switchover.plan(TARGET, world.look(), to)
        assert (again.source, again.target) == ("n1", "n2") and "go on with n1 -> n2" in again.lines("shop")[0]
        asked = switchover.ask(world.store, world.clock, TARGET, world.look(), again, asked_by="bert@desk")
        assert asked == first
    with pytest.raises(Busy):
        switchover.plan(TARGET, seen(asked=order(kind="restart")), "n2")


def test_sixteen_megabytes_of_lag_are_allowed_and_one_more_byte_is_not() -> None:
    def lagging(size: int) -> Seen:
        standbys = {copy("n2").standby_name(3): ("streaming", LSN - size)}
        return seen(member("n1", standbys=standbys))

    assert switchover.plan(TARGET, lagging(16 << 20), "n2").lag_bytes == 16 << 20
    with pytest.raises(Refused):
        switchover.plan(TARGET, lagging((16 << 20) + 1), "n2")


def test_the_remains_of_an_ended_order_are_in_nobodys_way() -> None:
    assert switchover.plan(TARGET, seen(asked=order(phase="done")), "n3").target == "n3"


# -- asking and watching -------------------------------------------------------------------------------------


class Clock:
    """Moves when somebody sleeps; `at` runs things at their time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.at: list[tuple[float, Callable[[], None]]] = []

    def now_s(self) -> float:
        self.now += 0.001
        self._run()
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._run()

    def _run(self) -> None:
        due = [entry for entry in self.at if entry[0] <= self.now]
        self.at = [entry for entry in self.at if entry[0] > self.now]
        for _, act in due:
            act()


class World:
    """A store with the healthy cluster in it, and what agents would do to it, at their times."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock, threaded=False)
        look = seen()
        self._write("cluster", records.dump_cluster(look.records.cluster))  # type: ignore[arg-type]
        self.put_leader(leader())
        for found in look.records.members.values():
            self.put_member(found)
        self.told: list[str] = []

    def _write(self, key: str, value: bytes | None) -> None:
        self.store.commit([], [Write(ROOT + key, value)], deadline_s=self.clock.now + 1)

    def put_leader(self, value: Leader) -> None:
        self._write("leader", records.dump_leader(value))

    def put_member(self, value: Member) -> None:
        self._write(f"members/{value.node}", records.dump_member(value))

    def put_order(self, value: Order | None) -> None:
        self._write("request", None if value is None else records.dump_order(value))

    def look(self) -> Seen:
        snapshot = self.store.read(ROOT, deadline_s=self.clock.now + 1)
        entries = {k: (e.value, e.revision) for k, e in snapshot.entries.items()}
        return Seen(records.parse_snapshot("shop", snapshot.revision, entries), seen().health, NOW)

    def revision(self) -> int:
        return self.store.read("/", deadline_s=self.clock.now + 1).revision

    def ask(self) -> switchover.Asked:
        look = self.look()
        chosen = switchover.plan(TARGET, look, "n2")
        return switchover.ask(self.store, self.clock, TARGET, look, chosen, asked_by="bert@desk")

    def watch(self, asked: switchover.Asked) -> float:
        return switchover.watch(self.store, self.clock, TARGET, asked, lambda text, _at: self.told.append(text))

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self.clock.at.append((self.clock.now + seconds, act))


NEW = leader(holder=copy("n2"), epoch=4, sync=())


def test_the_phases_are_told_and_it_ends_when_the_target_leads() -> None:
    world = World()
    asked = world.ask()
    for at, phase in ((0.6, "accepted"), (1.2, "stopping"), (1.8, "handed")):
        world.later(at, lambda phase=phase: world.put_order(replace(asked.order, phase=phase)))  # type: ignore[misc]
    world.later(2.4, lambda: world.put_leader(replace(NEW, tenure=Tenure.CLAIMED)))
    world.later(3.0, lambda: world.put_leader(NEW))
    world.later(3.6, lambda: world.put_order(None))
    took = world.watch(asked)
    assert world.told == [switchover.PHASES[p] for p in ("asked", "accepted", "stopping", "handed")]
    assert 3.5 < took < 4.3


def test_it_is_not_over_while_the_target_has_only_claimed() -> None:
    world = World()
    asked = world.ask()
    world.later(0.1, lambda: world.put_leader(replace(NEW, tenure=Tenure.CLAIMED)))
    world.later(0.1, lambda: world.put_order(None))
    world.later(3.0, lambda: world.put_leader(NEW))
    assert world.watch(asked) > 2.9


def test_an_agents_no_is_a_refusal_with_its_reason_and_leaves_no_order() -> None:
    world = World()
    asked = world.ask()
    world.later(0.2, lambda: world.put_order(replace(asked.order, phase="refused", answer="n2 is 20 MB behind")))
    with pytest.raises(Refused) as refused:
        world.watch(asked)
    assert refused.value.because == "n2 is 20 MB behind"
    assert world.look().records.order is None


def test_an_order_that_nobody_takes_up_is_withdrawn_after_five_seconds() -> None:
    world = World()
    began = world.clock.now
    with pytest.raises(Refused) as refused:
        world.watch(world.ask())
    assert "no agent took it up within 5 s" in refused.value.because
    assert world.look().records.order is None and 5.0 < world.clock.now - began < 6.5


def test_another_winner_is_told_as_what_it_is() -> None:
    world = World()
    asked = world.ask()
    world.later(0.2, lambda: world.put_order(None))
    world.later(0.2, lambda: world.put_leader(replace(NEW, holder=copy("n3"))))
    with pytest.raises(RolledBack) as failed:
        world.watch(asked)
    assert failed.value.because == "n3 leads epoch 4"


def test_a_withdrawn_order_changed_nothing() -> None:
    world = World()
    asked = world.ask()
    world.later(0.2, lambda: world.put_order(None))
    with pytest.raises(Refused) as refused:
        world.watch(asked)
    assert "n1 is still primary" in refused.value.because


def test_when_the_budget_is_over_the_outcome_is_unknown() -> None:
    world = World()
    asked = world.ask()
    world.later(0.2, lambda: world.put_order(replace(asked.order, phase="stopping")))
    with pytest.raises(OutcomeUnknown) as unknown:
        world.watch(asked)
    assert unknown.value.code == Exit.UNKNOWN and "pgha list" in unknown.value.next_step


def test_two_operators_at_one_moment_get_one_order_and_one_busy() -> None:
    world = World()
    look = world.look()
    chosen = switchover.plan(TARGET, look, "n2")
    first = switchover.ask(world.store, world.clock, TARGET, look, chosen, asked_by="anna@desk")
    with pytest.raises(Busy) as refused:
        switchover.ask(world.store, world.clock, TARGET, look, chosen, asked_by="bert@desk")
    assert "anna@desk" in refused.value.because
    found = world.look().records.order
    assert found is not None and found.ident == first.order.ident


def test_an_order_whose_answer_got_lost_is_found_again() -> None:
    world = World()
    world.store.fail_next("commit", Fault.APPLIED)
    asked = world.ask()
    assert world.look().records.rev("request") == asked.revision


def test_an_order_that_never_arrived_is_an_unknown_outcome() -> None:
    world = World()
    world.store.fail_next("commit", Fault.DOWN)
    with pytest.raises(OutcomeUnknown):
        world.ask()


def test_interrupted_before_anybody_took_it_up_it_is_withdrawn() -> None:
    world = World()
    asked = world.ask()
    told = switchover.interrupted(world.store, world.clock, TARGET, asked)
    assert told.code == Exit.INTERRUPTED and "withdrawn" in told.what and world.look().records.order is None


def test_interrupted_later_the_order_goes_on_and_the_message_says_so() -> None:
    world = World()
    asked = world.ask()
    world.put_order(replace(asked.order, phase="accepted"))
    told = switchover.interrupted(world.store, world.clock, TARGET, asked)
    assert "goes on" in told.what and world.look().records.order is not None


def test_a_withdrawal_never_removes_somebody_elses_order() -> None:
    world = World()
    asked = world.ask()
    world.put_order(order(ident="another"))
    assert not switchover.withdraw(world.store, world.clock, "shop", asked)
    found = world.look().records.order
    assert found is not None and found.ident == "another"


def test_the_order_is_guarded_by_the_key_as_it_was_seen() -> None:
    world = World()
    world.put_order(order(phase="done"))
    look = world.look()
    world.put_order(order(ident="new", phase="asked"))
    chosen = switchover.Plan("n1", "n2", 3, 0)
    with pytest.raises(Busy):
        switchover.ask(world.store, world.clock, TARGET, look, chosen, asked_by="bert@desk")


def test_refusals_write_nothing() -> None:
    world = World()
    world.put_member(member("n2", nofailover=True))
    before = world.revision()
    for to in ("n1", "n2", "n9"):
        with pytest.raises(PghaError):
            switchover.plan(TARGET, world.look(), to)
    assert world.revision() == before
