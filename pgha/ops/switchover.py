"""The planned change of the primary, the operator's half: check, ask by one create-only commit, watch.

The agents do it (design, 7). Phases of the order: asked, accepted, stopping, handed, done; refused with an answer. The
new leader deletes the key at the end: no key and the target holding the leader key is done as well.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pgha import records
from pgha.core.model import Leader, Member, Order, Tenure
from pgha.errors import Busy, Exit, OutcomeUnknown, PghaError, Refused, RolledBack, StoreUnreachable, UsageError
from pgha.ops.status import SILENT_S, Seen, is_fresh, pause_of, primary_of, standbys_of, voters_of
from pgha.ops.target import Target
from pgha.ports import Clock, Conflict, Guard, Store, StoreDown, Unknown, Write

LAG_LIMIT_BYTES = 16 << 20
BUDGET_S = 30.0
TAKE_UP_S = 5.0  # an order nobody accepted by then is withdrawn
READ_S = 2.0
LOOK_S = 0.05
EXPECTED_OUTAGE = "0.2 to 0.5 s"
PHASES = {
    "asked": "asked; waiting for the primary's agent",
    "accepted": "accepted; checkpoint while clients still write",
    "stopping": "writes stopped, the server shuts down",
    "handed": "handed over, the target promotes",
    "done": "the target accepts writes",
}


PHASES_OF_FAILOVER = {"asked": "asked; waiting for the target's agent", "handed": "claimed, the target promotes"}


@dataclass(frozen=True, slots=True)
class Asked:
    """An order that lies in the store, and the key's revision."""

    order: Order
    revision: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A switchover that may be asked for. lag_bytes: of the target, by the primary's own view. begun: it was asked for
    before, perhaps by a command that was cut off, and is gone on with."""

    source: str
    target: str
    epoch: int
    lag_bytes: int
    begun: Asked | None = None

    def lines(self, cluster: str) -> list[str]:
        """What the operator reads before the question."""
        if self.begun is not None:
            who, phase = self.begun.order.asked_by or "somebody", self.begun.order.phase
            move = f"{self.source} -> {self.target}  (cluster {cluster}, asked by {who}, phase {phase})"
            return [f"plan: go on with {move}"]
        return [
            f"plan: {self.source} -> {self.target}  (cluster {cluster}, epoch {self.epoch} -> {self.epoch + 1})",
            f"  {self.target} is a voter and streams, {self.lag_bytes} bytes behind (limit {LAG_LIMIT_BYTES >> 20} MB)",
            f"  expected write outage {EXPECTED_OUTAGE}; no acknowledged commit is lost",
        ]


@dataclass(frozen=True, slots=True)
class _Candidate:
    member: Member
    lag_bytes: int
    refusal: str
    fix: str


def plan(target: Target, seen: Seen, to: str | None) -> Plan:
    """The switchover that would be asked for. Raises Refused, Busy, UsageError or StoreUnreachable when it may not."""
    if seen.down:
        raise StoreUnreachable("the store gave no answer", seen.down, target.command("list"))
    leader, order = seen.records.leader, seen.records.order
    begun = at_work(seen, "switchover", to)
    if begun is not None:
        return Plan(begun.order.source, begun.order.target, begun.order.epoch, 0, begun)
    if order is not None and order.phase not in ("done", "refused"):
        raise busy(order, seen.at)
    refuse_paused(target, seen)
    primary = primary_of(seen)
    if leader is None or primary is None or not primary.primary:
        why = "nobody holds the leader key and reports as primary"
        raise Refused("there is no healthy primary to switch from", why, target.command("explain"))
    if "request" in seen.records.revisions and order is None:
        raise Refused("the key request can't be understood", "it is left alone", target.command("list"))
    if to is not None:
        _check_name(target, seen, to, primary.node)
    found = {c.member.node: c for c in _candidates(target, seen, leader, primary)}
    if to is not None:
        chosen = found[to]
        if chosen.refusal:
            raise Refused(f"{to} can't take over", chosen.refusal, chosen.fix)
    else:
        fit = [c for c in found.values() if not c.refusal]
        if not fit:
            why = "; ".join(f"{c.member.node}: {c.refusal}" for c in found.values()) or "there is no other node"
            steps = dict.fromkeys(c.fix for c in found.values())
            raise Refused("no node can take over", why, next(iter(steps), "add a node to the inventory"))
        chosen = min(fit, key=lambda c: (-c.member.priority, c.lag_bytes, c.member.node))
    return Plan(primary.node, chosen.member.node, leader.epoch, chosen.lag_bytes)


def at_work(seen: Seen, kind: str, to: str | None) -> Asked | None:
    """The very same order, when it is at work already: whoever asks again goes on with it."""
    order = seen.records.order
    if seen.down or order is None or order.kind != kind or order.phase in ("done", "refused"):
        return None
    return Asked(order, seen.records.rev("request")) if to in (None, order.target) else None


def refuse_paused(target: Target, seen: Seen) -> None:
    """Raises Refused while the cluster is paused: nobody may take over."""
    pause = pause_of(seen)
    if pause is not None:
        raise Refused("the cluster is paused", pause.text, pause.resume(target))


def busy(order: Order, at: float) -> Busy:
    """Another operator's order is at work."""
    who = order.asked_by or "somebody"
    return Busy(
        f"a {order.kind} is in progress: {order.source}{' to ' if order.target else ''}{order.target}",
        f"asked by {who} {max(0.0, at - order.asked_at):.0f} s ago, phase {order.phase}",
        "wait for its end: pgha list",
    )


def _check_name(target: Target, seen: Seen, to: str, source: str) -> None:
    known = {ref.name for ref in target.nodes} | set(seen.records.members)
    if to not in known:
        raise UsageError(f"there is no node {to!r} in {target.cluster}", f"nodes: {', '.join(sorted(known))}")
    if to == source:
        raise Refused(f"{to} is the primary already", "name another node, or none", target.command("switchover"))
    if to not in seen.records.members:
        raise Refused(f"{to} can't take over", "it has never reported", target.command(f"logs {to}"))


def _candidates(target: Target, seen: Seen, leader: Leader, primary: Member) -> list[_Candidate]:
    followers = standbys_of(primary)
    found = []
    for member in seen.records.members.values():
        if member.node == primary.node:
            continue
        state, flushed = followers.get(member.node, ("not connected", 0))
        lag = max(0, primary.position.lsn - flushed)
        found.append(_Candidate(member, lag, *_unfit(target, seen, leader, member, state, lag)))
    return found


def _unfit(target: Target, seen: Seen, leader: Leader, member: Member, state: str, lag: int) -> tuple[str, str]:
    """Why it may not take over, with its number and limit, and what puts that right; "" when it may.

    state: the primary's word of it. lag: in bytes.
    """
    settings, name = seen.records.settings, member.node
    asynchronous = settings is not None and settings.durability == "async"
    in_file = f"take {{}} off {name} in {target.where or 'the inventory'}, then: {target.command('bootstrap')}"
    if member.nofailover:
        return "it is marked nofailover", in_file.format("nofailover")
    if not is_fresh(member, seen.at):
        why = f"it has not reported for {max(0.0, seen.at - member.written_at):.0f} s, the limit is {SILENT_S:.0f} s"
        return why, target.command(f"logs {name}")
    if member.state != "streaming" or state != "streaming":
        why = f"it does not stream: it says {member.state}, the primary says {state}"
        return why, target.command(f"explain {name}")
    if lag > LAG_LIMIT_BYTES:
        why = f"it is {lag >> 20} MB behind, the limit is {LAG_LIMIT_BYTES >> 20} MB"
        return why, f"watch LAG until it has caught up: {target.command('list -w')}"
    if member.copy not in voters_of(leader) and not asynchronous:
        why = "it is no voter, so it may lack acknowledged commits"
        wait = f"watch SYNC until it votes: {target.command('list -w')}"
        return why, in_file.format("nosync") if member.nosync else wait
    return "", ""


# -- ask and watch -------------------------------------------------------------------------------------------


def _read(store: Store, clock: Clock, cluster: str) -> records.Records:
    """Raises StoreDown."""
    seen = store.read(records.prefix(cluster), deadline_s=clock.now_s() + READ_S)
    entries = {key: (entry.value, entry.revision) for key, entry in seen.entries.items()}
    return records.parse_snapshot(cluster, seen.revision, entries)


def ask(store: Store, clock: Clock, target: Target, seen: Seen, chosen: Plan, *, asked_by: str) -> Asked:
    """Write the order, create-only; it is void in any other epoch than the one it was planned in.

    Raises Busy when another came first, OutcomeUnknown when the store did not say.
    """
    if chosen.begun is not None:
        return chosen.begun
    order = Order(
        kind="switchover",
        ident="",
        epoch=chosen.epoch,
        source=chosen.source,
        target=chosen.target,
        budget_s=BUDGET_S,
        asked_by=asked_by,
    )
    return place(store, clock, target, order, over=seen.records.rev("request"))


def place(store: Store, clock: Clock, target: Target, order: Order, *, over: int) -> Asked:
    """Write the order, create-only, with an ident of its own and the time. over: revision of the remains of one that
    ended, which it may replace.

    Raises Busy when another came first, OutcomeUnknown when the store did not say.
    """
    order = replace(order, ident=secrets.token_hex(8), asked_at=round(time.time(), 3))
    key = records.prefix(target.cluster) + "request"
    guard = Guard(key, over)
    done = store.commit([guard], [Write(key, records.dump_order(order))], deadline_s=clock.now_s() + READ_S)
    if isinstance(done, Conflict | Unknown):
        return _after_doubt(store, clock, target, order, done)
    return Asked(order, done.revision)


def _after_doubt(store: Store, clock: Clock, target: Target, order: Order, done: Conflict | Unknown) -> Asked:
    """Read whether it is ours that lies there."""
    try:
        found = _read(store, clock, target.cluster)
    except StoreDown as e:
        raise OutcomeUnknown("the order may or may not be in the store", e.why, target.command("list")) from e
    if found.order is not None and found.order.ident == order.ident:
        return Asked(found.order, found.rev("request"))
    if found.order is not None:
        raise busy(found.order, time.time())
    if isinstance(done, Unknown):
        raise OutcomeUnknown("the order may still arrive in the store", done.why, target.command("list"))
    raise Busy("another order came first and has ended already", "", target.command("list"))


def withdraw(store: Store, clock: Clock, cluster: str, asked: Asked) -> bool:
    """Delete the order if nothing has touched it since this revision; False when somebody has, or nobody knows."""
    key = records.prefix(cluster) + "request"
    done = store.commit([Guard(key, asked.revision)], [Write(key, None)], deadline_s=clock.now_s() + READ_S)
    return not isinstance(done, Conflict | Unknown)


Tell = Callable[[str, float], None]


def look(store: Store, clock: Clock, target: Target, since: int, *, end: float) -> records.Records | None:
    """The next change under the prefix, or None when the store is silent at the moment."""
    root = records.prefix(target.cluster)
    if since:
        store.wait(root, since, deadline_s=min(end, clock.now_s() + 0.5))
    try:
        return _read(store, clock, target.cluster)
    except StoreDown:
        clock.sleep(LOOK_S)
        return None


def is_done(found: records.Records, order: Order) -> bool:
    """The target holds a newer epoch, and the order is gone or says done."""
    leader = found.leader
    taken = leader is not None and leader.epoch > order.epoch and leader.holder.node == order.target
    mine = found.order if found.order is not None and found.order.ident == order.ident else None
    return taken and leader is not None and leader.tenure is Tenure.HELD and (mine is None or mine.phase == "done")


def watch(store: Store, clock: Clock, target: Target, asked: Asked, tell: Tell) -> float:
    """Tell each phase with the seconds since asking, until it is done; gives those seconds.

    Raises Refused (an agent said no), RolledBack (another node leads), OutcomeUnknown (budget over).
    """
    began = clock.now_s()
    end, since, told = began + asked.order.budget_s + 5.0, 0, ""
    while clock.now_s() < end:
        found = look(store, clock, target, since, end=end)
        if found is None:
            continue
        since = found.revision
        mine = found.order if found.order is not None and found.order.ident == asked.order.ident else None
        phase = mine.phase if mine else ""
        if mine is not None and phase != told and phase in PHASES:
            tell(PHASES_OF_FAILOVER.get(phase, "") if mine.kind == "failover" else PHASES[phase], clock.now_s() - began)
            told = phase
        if is_done(found, asked.order):
            return clock.now_s() - began
        _check_end(store, clock, target, replace(asked, revision=found.rev("request")), found)
        late = phase == "asked" and clock.now_s() > began + TAKE_UP_S
        if late and withdraw(store, clock, target.cluster, replace(asked, revision=found.rev("request"))):
            why = f"no agent took it up within {TAKE_UP_S:g} s; the order is withdrawn"
            raise Refused("nothing was changed", why, target.command(f"explain {asked.order.source}"))
    why = f"its phase was {told or 'unknown'}"
    raise OutcomeUnknown(f"the {asked.order.kind} is not over after {end - began:.0f} s", why, target.command("list"))


def _check_end(store: Store, clock: Clock, target: Target, asked: Asked, found: records.Records) -> None:
    """Raise for an end that is not the wished one."""
    order, mine, now = asked.order, found.order, found.leader
    moved = now is not None and now.tenure is Tenure.HELD and now.epoch > order.epoch
    if moved and now is not None and now.holder.node != order.target:
        withdraw(store, clock, target.cluster, asked)
        why = f"{now.holder.node} leads epoch {now.epoch}"
        raise RolledBack(f"{order.target} did not take over", why, target.command(f"history {now.epoch}"))
    if mine is not None and mine.ident == order.ident:
        if mine.phase == "refused":
            withdraw(store, clock, target.cluster, asked)
            raise Refused(f"the {order.kind} is refused", mine.answer, target.command(f"explain {order.target}"))
        return
    leader = found.leader
    if leader is None or leader.tenure is not Tenure.HELD or leader.holder.node == order.target:
        return  # still on its way: the target claims and promotes
    who = leader.holder.node
    raise Refused("nothing was changed", f"the order was withdrawn; {who} is still primary", target.command("list"))


def interrupted(store: Store, clock: Clock, target: Target, asked: Asked) -> PghaError:
    """What Ctrl-C leaves: the order is withdrawn while nobody has taken it up, else it goes on."""
    if asked.order.phase == "asked" and withdraw(store, clock, target.cluster, asked):
        return PghaError("interrupted; the order is withdrawn, nothing was changed", code=Exit.INTERRUPTED)
    state = f"interrupted; the {asked.order.kind} goes on without this command"
    return PghaError(state, "", target.command("list -w"), code=Exit.INTERRUPTED)
