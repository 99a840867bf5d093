"""Pause and resume, the operator's half: check, ask the holder by one create-only order, watch.

The holder's agent says it in the leader key. A holder that is silent can't be asked: then the operator vouches for it
(`--holder-down`), and this command takes the pause out of that very revision of the key, once it has itself seen no
renewal for H. From then on the others count H as ever (decision 10).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from pgha import records
from pgha.core.model import Leader, Order, Tenure
from pgha.core.pause import LEAST_S, MOST_S
from pgha.errors import OutcomeUnknown, Refused, StoreUnreachable, UsageError
from pgha.ops import switchover
from pgha.ops.observed import timing_of
from pgha.ops.paused import span_text
from pgha.ops.status import Seen, is_fresh, pause_of, primary_of
from pgha.ops.switchover import READ_S, TAKE_UP_S, Asked, Tell, busy, look
from pgha.ops.target import Target
from pgha.ports import Clock, Conflict, Guard, Store, Unknown, Write

BUDGET_S = 30.0
PRIMARY_S = 30.0  # beyond H: until somebody is writable again
REASON_MAX = 200
UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,3})?)(s|min|m|h|d)")
WAITING = {"pause": "asked; waiting for the primary's agent", "resume": "asked; waiting for the holder's agent"}


def seconds_of(text: str) -> float:
    """30m, 2h, 90s, 1d. Raises UsageError."""
    found = _SPAN.fullmatch(text.strip())
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not found or not LEAST_S <= seconds <= MOST_S:
        accepted = f"{LEAST_S:g}s to {MOST_S / 86400:g}d, with a unit: s, m, h, d"
        raise UsageError(f"--for {text!r} is no length of a pause", f"accepted: {accepted}", "--for 30m")
    return seconds


@dataclass(frozen=True, slots=True)
class PausePlan:
    """A pause that may be asked for. over: see `switchover.place`."""

    holder: str
    epoch: int
    reason: str
    for_s: float
    over: int

    def lines(self, cluster: str) -> list[str]:
        """What the operator reads before the question."""
        return [
            f"plan: pause {cluster} for {span_text(self.for_s)}: {self.reason}  (holder {self.holder})",
            "  until then pgha promotes, demotes, starts, ends and rebuilds no server; no write stops now",
            f"  if {self.holder} dies meanwhile nobody takes over; a server restarted by hand comes back read-only",
            "  it ends by itself; pgha resume ends it sooner",
        ]


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """The end of a pause. why: the pause. writable: its holder's server is. down: the holder is silent, and the
    operator vouches for it. revision: of the leader key. h_s: H."""

    holder: str
    epoch: int
    why: str
    writable: bool
    down: bool
    revision: int
    over: int
    h_s: float

    def lines(self, cluster: str) -> list[str]:
        """What the operator reads before the question."""
        page = [f"plan: resume {cluster}  (paused: {self.why})"]
        if self.down:
            return [
                *page,
                f"  {self.holder} is silent: the pause is taken out of its key if it does not move for {self.h_s:g} s",
                f"  then others count {self.h_s:g} s more, seal, and the best of them takes over",
                f"  you say that {self.holder} is off or its server stopped: while paused its watchdog does not end it",
            ]
        if not self.writable:
            return [*page, f"  {self.holder} is not writable: its server is ended, and the best node takes over"]
        return [*page, "  no write stops; from now on another node takes over when it has to"]


def _checked(target: Target, seen: Seen) -> Leader:
    """Raises StoreUnreachable, Busy, Refused."""
    if seen.down:
        raise StoreUnreachable("the store gave no answer", seen.down, target.command("list"))
    leader, order = seen.records.leader, seen.records.order
    if order is not None and order.phase not in ("done", "refused"):
        raise busy(order, seen.at)
    if "request" in seen.records.revisions and order is None:
        raise Refused("the key request can't be understood", "it is left alone", target.command("list"))
    if leader is None:
        raise Refused("there is no leader key that could be paused", "", target.command("explain"))
    return leader


def plan_pause(target: Target, seen: Seen, *, for_s: float, reason: str) -> PausePlan:
    """Raises Refused, Busy, UsageError or StoreUnreachable when it may not be asked for."""
    said = reason.strip()
    if not said or not said.isprintable() or len(said) > REASON_MAX:
        why = f"one line of at most {REASON_MAX} characters: others read it in pgha list"
        raise UsageError("--reason is empty, too long or unprintable", why, "--reason 'new kernel on n1'")
    leader = _checked(target, seen)
    pause = pause_of(seen)
    if pause is not None:
        raise Refused("the cluster is paused already", pause.text, pause.resume(target))
    primary = primary_of(seen)
    if primary is None or not primary.primary:
        why = "nobody holds the leader key and reports as primary: a pause would keep it so"
        raise Refused("there is no healthy primary to pause with", why, target.command("explain"))
    return PausePlan(leader.holder.node, leader.epoch, said, for_s, seen.records.rev("request"))


def plan_resume(target: Target, seen: Seen, holder_down: str | None) -> ResumePlan:
    """Raises Refused, Busy, UsageError or StoreUnreachable when it may not be asked for."""
    leader, pause = _checked(target, seen), pause_of(seen)
    if pause is None:
        raise Refused("the cluster is not paused", "", target.command("list"))
    holder = leader.holder.node
    if holder_down is not None and holder_down != holder:
        raise UsageError(f"{holder_down} does not hold the paused key", f"{holder} does", pause.resume(target))
    if holder_down is not None and pause.reports:
        raise Refused(f"{holder} is not down", "it has reported just now: it can be asked", target.command("resume"))
    member = seen.records.members.get(holder)
    if holder_down is None and not pause.reports:
        ago = "never reported" if member is None else f"not reported for {span_text(seen.at - member.written_at)}"
        why = (
            f"it has {ago}, and while paused its watchdog does not end its server: cut off from the store it may still"
            f" take writes for {span_text(pause.left_s)}. Make sure that {holder} is off or its server stopped"
        )
        raise Refused(f"{holder} holds the paused key and can't be asked", why, pause.resume(target))
    return ResumePlan(
        holder=holder,
        epoch=leader.epoch,
        why=pause.text,
        writable=member is not None and member.primary and is_fresh(member, seen.at),
        down=holder_down is not None,
        revision=seen.records.rev("leader"),
        over=seen.records.rev("request"),
        h_s=timing_of(seen.records).h_s,
    )


# -- ask and watch -------------------------------------------------------------------------------------------


def ask(store: Store, clock: Clock, target: Target, chosen: PausePlan | ResumePlan, *, asked_by: str) -> Asked:
    """Write the order for the holder. Raises Busy, OutcomeUnknown."""
    is_pause = isinstance(chosen, PausePlan)
    order = Order(
        kind="pause" if is_pause else "resume",
        ident="",
        epoch=chosen.epoch,
        source=chosen.holder,
        target="",
        budget_s=BUDGET_S,
        asked_by=asked_by,
        reason=chosen.reason if isinstance(chosen, PausePlan) else "",
        for_s=chosen.for_s if isinstance(chosen, PausePlan) else 0.0,
    )
    return switchover.place(store, clock, target, order, over=chosen.over)


def is_done(found: records.Records, order: Order) -> bool:
    """The key says what was asked for."""
    leader = found.leader
    if leader is None:
        return False
    if order.kind == "pause":
        return leader.paused is not None and leader.paused.ident == order.ident
    return leader.epoch > order.epoch or leader.paused is None


def watch(store: Store, clock: Clock, target: Target, asked: Asked, tell: Tell) -> float:
    """Until the key says so; the seconds it took. Raises Refused, OutcomeUnknown."""
    began, order, since = clock.now_s(), asked.order, 0
    end = began + order.budget_s
    tell(WAITING[order.kind], 0.0)
    while clock.now_s() < end:
        found = look(store, clock, target, since, end=end)
        if found is None:
            continue
        since = found.revision
        mine = found.order if found.order is not None and found.order.ident == order.ident else None
        now = replace(asked, revision=found.rev("request"))
        if is_done(found, order):
            if mine is not None:
                switchover.withdraw(store, clock, target.cluster, now)
            return clock.now_s() - began
        if mine is None:
            raise Refused("nothing was changed", "the order was withdrawn", target.command("list"))
        if mine.phase == "refused":
            switchover.withdraw(store, clock, target.cluster, now)
            raise Refused(f"the {order.kind} is refused", mine.answer, target.command("list"))
        if clock.now_s() > began + TAKE_UP_S and switchover.withdraw(store, clock, target.cluster, now):
            why = f"{order.source} did not take it up within {TAKE_UP_S:g} s; the order is withdrawn"
            raise Refused("nothing was changed", why, target.command("list"))
    raise OutcomeUnknown(f"the {order.kind} is not over after {order.budget_s:.0f} s", "", target.command("list"))


def lift(store: Store, clock: Clock, target: Target, chosen: ResumePlan, tell: Tell) -> None:
    """Take the pause out of a silent holder's key. Raises Refused when it is not silent, OutcomeUnknown."""
    key, began = records.prefix(target.cluster) + "leader", clock.now_s()
    tell(f"watching the leader key: it must not move for {chosen.h_s:g} s", 0.0)
    found: records.Records | None = None
    while clock.now_s() < began + chosen.h_s or found is None:
        found = look(store, clock, target, 0, end=clock.now_s() + READ_S)
        if found is not None and found.rev("leader") != chosen.revision:
            why = "its key was written meanwhile: it lives, or another took over"
            raise Refused(f"{chosen.holder} is not silent", why, target.command("list"))
        if found is None and clock.now_s() > began + chosen.h_s + PRIMARY_S:
            raise StoreUnreachable("the store gave no answer", "", target.command("list"))
        clock.sleep(0.25)
    leader = found.leader
    if leader is None or leader.paused is None:
        raise Refused("the cluster is not paused", "", target.command("list"))
    new = replace(leader, beat=leader.beat + 1, paused=None)
    done = store.commit(
        [Guard(key, chosen.revision)], [Write(key, records.dump_leader(new))], deadline_s=clock.now_s() + READ_S
    )
    if isinstance(done, Conflict):
        raise Refused(f"{chosen.holder} is not silent", "its key was written at this moment", target.command("list"))
    if isinstance(done, Unknown):
        raise OutcomeUnknown("the pause may or may not be lifted", done.why, target.command("list"))
    tell("the pause is lifted; others count H, seal, and take over", clock.now_s() - began)


def await_primary(store: Store, clock: Clock, target: Target, h_s: float, tell: Tell) -> str:
    """Until somebody holds the key and says that it is writable: its name. Raises OutcomeUnknown."""
    began, since, told = clock.now_s(), 0, False
    end = began + h_s + PRIMARY_S
    while clock.now_s() < end:
        found = look(store, clock, target, since, end=end)
        if found is None:
            continue
        since, leader = found.revision, found.leader
        member = found.members.get(leader.holder.node) if leader is not None else None
        held = leader is not None and leader.tenure is Tenure.HELD and leader.paused is None
        if held and member is not None and member.primary and member.position.timeline == (leader and leader.epoch):
            return member.node
        if not told:
            tell("waiting for a writable primary", 0.0)
            told = True
    why = f"after {end - began:.0f} s nobody is writable"
    raise OutcomeUnknown("the pause is lifted, and there is no primary yet", why, target.command("explain"))
