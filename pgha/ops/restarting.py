"""`pgha restart`: which nodes, in which order, and what is waited for between them.

Standbys one after another, the primary last: moved by a switchover first (`--rolling`), or restarted in place, which is
a release to itself and a claim. Between two nodes all that voted before votes again. May import core, records and its
neighbours in ops.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from pgha.core import limits
from pgha.core.model import Order, Tenure
from pgha.core.planned import HAND, Planned
from pgha.errors import Exit, PghaError, Refused, RolledBack, StoreUnreachable, UsageError
from pgha.ops import node_orders, restart_journal, switchover
from pgha.ops.node_orders import Desk
from pgha.ops.restart_journal import Journal
from pgha.ops.status import Seen, is_fresh, primary_of, voters_of
from pgha.ops.target import Target

GATE_S = 60.0
BUDGET_S = 30.0
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Wish:
    """What the operator names. nodes: none for all. role: "", "standby" or "primary"."""

    nodes: tuple[str, ...] = ()
    role: str = ""
    pending: bool = False
    rolling: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """standbys: in their order. primary: "" when it is not restarted. moves_to: the switchover's target before.

    first: the primary is, in place: it is given less of what a standby must not have less of. record: how far it has
    come, of several nodes: begun here, or left behind by whoever began it.
    """

    standbys: tuple[str, ...] = ()
    primary: str = ""
    moves_to: str = ""
    first: bool = False
    record: Planned | None = field(default=None, compare=False)

    @property
    def is_empty(self) -> bool:
        """Nothing is to be done."""
        return not self.steps and not (self.record and self.record.ident)

    @property
    def steps(self) -> tuple[str, ...]:
        """All nodes in their order."""
        last = (self.primary,) if self.primary else ()
        return (*last, *self.standbys) if self.first else (*self.standbys, *last)

    def lines(self, cluster: str) -> list[str]:
        """What the operator reads before the question."""
        names = self.steps
        page = [f"plan: restart {', '.join(names) or 'nobody'}  (cluster {cluster})"]
        if self.record is not None and self.record.ident:
            done = ", ".join(self.record.done) or "nobody yet"
            page.append(f"  goes on with what {self.record.asked_by or 'somebody'} has begun; restarted: {done}")
        page += [f"  {name}: a standby, no write stops" for name in self.standbys]
        if self.moves_to:
            page.append(f"  {self.primary}: the primary moves to {self.moves_to} first, writes pause for a moment")
        elif self.primary:
            page.append(f"  {self.primary}: the primary, in place; writes stop until its server is back")
        if len(names) > 1:
            page.append("  one after another; the next one when all voters of before are back")
        return page


def check_names(target: Target, seen: Seen, names: tuple[str, ...]) -> set[str]:
    """The names there are. Raises UsageError for another one."""
    known = {ref.name for ref in target.nodes} | set(seen.records.members)
    unknown = sorted(set(names) - known)
    if unknown:
        raise UsageError(f"there is no node {unknown[0]!r} in {target.cluster}", f"nodes: {', '.join(sorted(known))}")
    return known


def plan(target: Target, seen: Seen, wish: Wish) -> Plan:
    """What would be done. Raises StoreUnreachable, Busy, Refused, UsageError."""
    if seen.down:
        raise StoreUnreachable("the store gave no answer", seen.down, target.command("list"))
    order = seen.records.order
    again = len(wish.nodes) == 1 and switchover.at_work(seen, "restart", wish.nodes[0]) is not None
    if order is not None and order.phase not in ("done", "refused") and not again:
        raise switchover.busy(order, seen.at)
    switchover.refuse_paused(target, seen)
    members, primary = seen.records.members, primary_of(seen)
    if primary is None or not primary.primary:
        why = "nobody holds the leader key and reports as primary"
        raise Refused("there is no healthy primary", why, target.command("explain"))
    known = check_names(target, seen, wish.nodes)
    silent = [n for n in wish.nodes if not is_fresh(members.get(n), seen.at)]
    if silent:
        raise Refused(f"{', '.join(silent)} can't be asked", "silent", target.command("list"))
    chosen = [n for n in (wish.nodes or sorted(known)) if is_fresh(members.get(n), seen.at)]
    chosen = [n for n in chosen if not wish.pending or members[n].pending]
    if wish.role:
        chosen = [n for n in chosen if (n == primary.node) == (wish.role == "primary")]
    chosen = list(dict.fromkeys(chosen))
    record = restart_journal.left_behind(seen, chosen, pending=wish.pending, rolling=wish.rolling)
    found = _steps(target, seen, wish, [n for n in chosen if record is None or n not in record.done])
    if record is None and len(found.steps) > 1:
        record = Planned("restart", "", seen.at, "", "", found.steps, wish.pending, wish.rolling, phase=HAND)
    return replace(found, record=record)


def _steps(target: Target, seen: Seen, wish: Wish, chosen: list[str]) -> Plan:
    members, primary = seen.records.members, primary_of(seen)
    assert primary is not None
    standbys = tuple(n for n in chosen if n != primary.node)
    if primary.node not in chosen:
        return Plan(standbys)
    if wish.pending and limits.is_lowered(primary.pending):
        return Plan(standbys, primary.node, "", first=True)
    moves_to = switchover.plan(target, seen, None).target if wish.rolling and len(members) > 1 else ""
    return Plan(standbys, primary.node, moves_to)


def run(desk: Desk, chosen: Plan) -> dict[str, float]:
    """All steps; for each node the seconds it took. Raises PghaError (PARTIAL once something is done)."""
    done: dict[str, float] = {}
    journal = Journal(desk)
    if chosen.record is not None:
        journal.begin(desk.seen(), chosen.record)
    try:
        if chosen.record is not None and chosen.record.done:
            await_voters(desk, desk.seen(), also=chosen.record.done)
        for name in chosen.steps:
            before = desk.seen()
            if name == chosen.primary:
                done[name] = _primary(desk, before, chosen, journal)
            else:
                done[name] = _standby(desk, before, name, journal)
            journal.over(name)
            await_voters(desk, before)
        journal.end()
    except PghaError as e:
        if not done or e.code == Exit.INTERRUPTED:
            raise
        step = desk.target.command("list")
        raise PghaError(f"restarted: {', '.join(done)}; then: {e.what}", e.because, step, code=Exit.PARTIAL) from e
    return done


def _standby(desk: Desk, seen: Seen, name: str, journal: Journal) -> float:
    order = node_orders.place(desk, seen, name, "restart")
    journal.turn(name, order.ident)
    return node_orders.watch(desk, order)


def _primary(desk: Desk, seen: Seen, chosen: Plan, journal: Journal) -> float:
    leader = seen.records.leader
    if leader is None or leader.holder.node != chosen.primary:
        return _standby(desk, seen, chosen.primary, journal)  # it has lost the key meanwhile
    if chosen.moves_to:  # its server stops for it, and comes back with what its files say now
        move = switchover.plan(desk.target, seen, chosen.moves_to)
        asked = switchover.ask(desk.store, desk.clock, desk.target, seen, move, asked_by=desk.asked_by)
        journal.turn(chosen.primary, asked.order.ident, epoch=leader.epoch)
        return followed(desk, asked)
    order = Order("restart", "", leader.epoch, chosen.primary, chosen.primary, BUDGET_S, desk.asked_by)
    begun = switchover.at_work(seen, "restart", chosen.primary)
    over = seen.records.rev("request")
    asked = begun or switchover.place(desk.store, desk.clock, desk.target, order, over=over)
    journal.turn(chosen.primary, asked.order.ident, epoch=leader.epoch)
    try:
        return followed(desk, asked)
    except RolledBack as e:
        desk.tell(f"{e.because}: {chosen.primary} was not back soon enough", 0.0)
        return 0.0


def followed(desk: Desk, asked: switchover.Asked) -> float:
    """To its end, with the time for which nobody could write, as this machine has seen it."""
    stopped: list[float] = []

    def tell(text: str, at_s: float) -> None:
        if text == switchover.PHASES["stopping"]:
            stopped.append(at_s)
        desk.tell(text, at_s)

    try:
        seconds = switchover.watch(desk.store, desk.clock, desk.target, asked, tell)
    except KeyboardInterrupt:
        raise switchover.interrupted(desk.store, desk.clock, desk.target, asked) from None
    if stopped:
        desk.tell(f"done: writes stopped for {seconds - stopped[0]:.2f} s", seconds)
    return seconds


def await_voters(desk: Desk, before: Seen, *, also: tuple[str, ...] = ()) -> None:
    """Until all nodes that voted before, but for who holds the key now, vote again. also: who serves again besides.

    Raises PghaError (PARTIAL).
    """
    leader = before.records.leader
    names = {copy.node for copy in voters_of(leader)} | ({leader.holder.node} if leader else set())
    end = desk.clock.now_s() + GATE_S
    while True:
        seen = desk.seen()
        now = seen.records.leader
        if now is not None and now.tenure is Tenure.HELD and len(now.sync) <= 1 and not seen.down:
            voting = {copy.node for copy in voters_of(now)} | {now.holder.node}
            back = all(is_fresh(seen.records.members.get(n), seen.at) and _serves(seen, n) for n in {*names, *also})
            if (names <= voting and back) or (not now.sync and back):
                return
        if desk.clock.now_s() >= end:
            missing = sorted(
                {*names, *also} - ({copy.node for copy in voters_of(now)} | {now.holder.node} if now else set())
            )
            why = f"after {GATE_S:g} s {', '.join(missing) or 'somebody'} does not vote again; the next one waits"
            raise PghaError("not all voters are back", why, desk.target.command("list"), code=Exit.PARTIAL)
        desk.clock.sleep(LOOK_S)


def _serves(seen: Seen, name: str) -> bool:
    member = seen.records.members[name]
    return member.state in ("primary", "streaming")


def reload_plan(target: Target, seen: Seen, nodes: tuple[str, ...]) -> tuple[str, ...]:
    """The nodes that can be asked to read their files again. Raises StoreUnreachable, UsageError, Refused."""
    if seen.down:
        raise StoreUnreachable("the store gave no answer", seen.down, target.command("list"))
    known = check_names(target, seen, nodes)
    there = tuple(n for n in nodes or sorted(known) if is_fresh(seen.records.members.get(n), seen.at))
    silent = sorted(set(nodes) - set(there))
    if silent or not there:
        raise Refused(f"{', '.join(silent) or 'no node'} can't be asked", "silent", target.command("list"))
    return there


@dataclass(frozen=True, slots=True)
class ReinitPlan:
    """A copy that is to be made anew. source: the node to clone, "" for the node's own choice. votes: it does now."""

    node: str
    source: str
    votes: bool
    others: int

    def lines(self, cluster: str) -> list[str]:
        """What the operator reads before the question."""
        page = [f"plan: make the copy of {self.node} anew  (cluster {cluster})"]
        page.append(f"  cloned from {self.source or 'the primary, or a standby tagged clonefrom'}; no write stops")
        if self.votes:
            left = (
                f"{self.others} voter{'' if self.others == 1 else 's'}"
                if self.others
                else "no voter: commits exist once"
            )
            page.append(f"  it votes no more until the clone streams, which leaves {left}")
        return [*page, "  the present copy is kept beside it until then"]


def plan_reinit(target: Target, seen: Seen, node: str, source: str) -> ReinitPlan:
    """Raises StoreUnreachable, UsageError, Refused."""
    reload_plan(target, seen, (node,))
    switchover.refuse_paused(target, seen)
    leader, members = seen.records.leader, seen.records.members
    primary = primary_of(seen)
    if leader is None or primary is None:
        raise Refused("there is no healthy primary", "nobody could be cloned", target.command("explain"))
    if node == leader.holder.node:
        why = "its copy is the one that all the others come from"
        raise Refused(f"{node} is the primary", why, target.command("switchover"))
    if source == node or (source and source not in members):
        raise UsageError(f"{source} is no other node of {target.cluster}", f"nodes: {', '.join(sorted(members))}")
    if source and not (is_fresh(members[source], seen.at) and _serves(seen, source)):
        raise Refused(f"{source} can't be cloned", f"it says {members[source].state}", target.command("list"))
    copy, voting = members[node].copy, voters_of(leader)
    settings = seen.records.settings
    if settings is not None and settings.durability == "strict" and voting == {copy}:
        why = "it is the only voter, and durability is strict: commits would wait, and its copy is needed"
        raise Refused(f"the copy of {node} can't be made anew now", why, target.command("list"))
    return ReinitPlan(node, source, copy in voting, len(voting - {copy}))
