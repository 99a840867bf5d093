"""Orders for later, the operator's half: read a time, check the names, lay the plan, take it back.

The agent of the primary of that time carries it out (core.schedule). May import core, records and neighbours in ops.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import replace
from datetime import datetime, timedelta

from pgha import records
from pgha.core.planned import HAND, OPEN, Planned
from pgha.core.schedule import LATE_S
from pgha.errors import Busy, OutcomeUnknown, PghaError, Refused, StoreUnreachable, UsageError
from pgha.ops import restarting, switchover
from pgha.ops.node_orders import READ_S, Desk
from pgha.ops.paused import span_text
from pgha.ops.plans import time_text as time_text
from pgha.ops.restarting import Wish
from pgha.ops.rows import Seen, primary_of
from pgha.ops.target import Target
from pgha.ports import Conflict, Guard, Unknown, Write
from pgha.records_schedule import dump_planned

DAY_S = 86400.0
AHEAD_S = 366 * DAY_S
KEPT_S = 7 * DAY_S  # what has ended is told for so long
MOST = 16
_ZONE = timedelta(hours=14)  # the farthest there is
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)", re.ASCII)
FORM = "2026-11-25T03:00Z or 2026-11-25T03:00+01:00"


def time_of(text: str, now: float) -> float:
    """A point in time with its zone, in seconds of UTC. Raises UsageError, also for what is past."""
    found = None
    if _TIME.fullmatch(text):  # of what fromisoformat takes, the one form that nobody reads otherwise
        try:
            found = datetime.fromisoformat(text)
        except ValueError as e:
            raise UsageError(f"--at {text!r} is no time", str(e), f"--at {FORM}") from e
    if found is None or abs(found.utcoffset() or timedelta()) > _ZONE:
        why = "a date, a time and its zone are needed: Z for UTC, or the distance from it"
        raise UsageError(f"--at {text!r} can't be read", why, f"--at {FORM}")
    at = found.timestamp()
    if at <= now:
        why = f"it is {time_text(now)} now; {text} was {span_text(now - at)} ago"
        raise UsageError(f"--at {text} is past", why, "without --at it begins now")
    if at - now > AHEAD_S:
        raise UsageError(f"--at {text} is too far ahead", "a year at most", f"--at {FORM}")
    return at


def plan_switchover(target: Target, seen: Seen, to: str, at: float) -> Planned:
    """Names are checked now, all else at that time. Raises StoreUnreachable, Refused, UsageError."""
    primary = _primary(target, seen)
    if to:
        restarting.check_names(target, seen, (to,))
        if to == primary:
            raise Refused(f"{to} is the primary already", "", target.command("list"))
    return Planned("switchover", "", at, source=primary, target=to)


def plan_restart(target: Target, seen: Seen, wish: Wish, at: float) -> Planned:
    """The nodes are those of now. Raises StoreUnreachable, Refused, UsageError."""
    primary, members = _primary(target, seen), seen.records.members
    restarting.check_names(target, seen, wish.nodes)
    chosen = [n for n in (wish.nodes or sorted(members)) if not wish.role or (n == primary) == (wish.role == "primary")]
    silent = sorted(set(chosen) - set(members))
    if silent or not chosen:
        raise Refused(f"{', '.join(silent) or 'nobody'} can't be asked", "never reported", target.command("list"))
    nodes = tuple(dict.fromkeys(chosen))
    return Planned("restart", "", at, nodes=nodes, pending=wish.pending, rolling=wish.rolling)


def _primary(target: Target, seen: Seen) -> str:
    if seen.down:
        raise StoreUnreachable("the store gave no answer", seen.down, target.command("list"))
    primary = primary_of(seen)
    if primary is None:
        raise Refused("there is no healthy primary", "nobody could carry out a plan", target.command("explain"))
    return primary.node


def now_refused(target: Target, seen: Seen, plan: Planned) -> str:
    """Why the very order would be refused as things are now; for the operator to know."""
    try:
        if plan.kind == "switchover":
            switchover.plan(target, seen, plan.target or None)
        else:
            restarting.plan(target, seen, Wish(plan.nodes, "", plan.pending, plan.rolling))
    except PghaError as e:
        return f"{e.what}: {e.because}" if e.because else e.what
    return ""


def lines(target: Target, seen: Seen, plan: Planned) -> list[str]:
    """What the operator reads before the question."""
    page = [f"plan: {plan.words}  (cluster {target.cluster})"]
    page.append(f"  at {time_text(plan.at)}, in {span_text(plan.at - seen.at)}, by the primary's agent")
    page.append("  then all is checked: dropped unless every node streams and votes, and while the cluster is paused")
    page.append(f"  dropped if nobody could begin it within {LATE_S / 60:g} minutes of that time")
    why = now_refused(target, seen, plan)
    return [*page, f"  as things are now it would be refused: {why}"] if why else page


def place(desk: Desk, seen: Seen, plan: Planned) -> Planned:
    """Lay it into the store; what ended long ago goes. Raises Refused, Busy, OutcomeUnknown."""
    found = seen.records.planned
    if sum(p.phase in OPEN for p in found.values()) >= MOST:
        raise Refused("too many orders for later lie there", f"the limit is {MOST}", desk.target.command("list"))
    root, ident = records.prefix(desk.target.cluster), secrets.token_hex(3)
    new = replace(plan, ident=ident, asked_by=desk.asked_by, asked_at=round(seen.at, 3))
    key = f"{root}schedule/{ident}"
    old = [i for i, p in found.items() if p.phase not in OPEN and seen.at - max(p.since, p.at) > KEPT_S]
    guards = [Guard(key, 0), *(Guard(f"{root}schedule/{i}", seen.records.rev(f"schedule/{i}")) for i in old)]
    writes = [Write(key, dump_planned(new)), *(Write(f"{root}schedule/{i}", None) for i in old)]
    done = desk.store.commit(guards, writes, deadline_s=desk.clock.now_s() + READ_S)
    if isinstance(done, Conflict):
        raise Busy("somebody else changes the orders for later", "", "run this again")
    if isinstance(done, Unknown):
        raise OutcomeUnknown("the plan may or may not lie there", done.why, desk.target.command("list"))
    return new


def to_cancel(target: Target, seen: Seen, ident: str) -> Planned:
    """The plan of that ident, or the only one. Raises StoreUnreachable, Refused, UsageError."""
    if seen.down:
        raise StoreUnreachable("the store gave no answer", seen.down, target.command("list"))
    found = seen.records.planned
    open_now = sorted(p.ident for p in found.values() if p.phase in (*OPEN, HAND))
    if ident in found:
        return found[ident]
    if ident:
        raise UsageError(f"there is no plan {ident!r}", f"plans: {', '.join(open_now) or 'none'}")
    if len(open_now) != 1:
        why = f"plans: {', '.join(open_now)}" if open_now else "nothing is planned"
        raise Refused("there is not one plan to take back", why, target.command("list"))
    return found[open_now[0]]


def cancel(desk: Desk, seen: Seen, plan: Planned) -> str:
    """Take it back; what is left of it when its begin came first. Raises Busy, OutcomeUnknown."""
    key = f"schedule/{plan.ident}"
    full = records.prefix(desk.target.cluster) + key
    begun = plan.phase == "begun"
    new = replace(plan, phase="dropped", answer=f"cancelled by {desk.asked_by}", since=seen.at) if begun else None
    write = Write(full, dump_planned(new) if new else None)
    done = desk.store.commit([Guard(full, seen.records.rev(key))], [write], deadline_s=desk.clock.now_s() + READ_S)
    if isinstance(done, Conflict):
        raise Busy("the plan has moved meanwhile", "its time may have come", desk.target.command("list"))
    if isinstance(done, Unknown):
        raise OutcomeUnknown("the plan may or may not be cancelled", done.why, desk.target.command("list"))
    return f"the order for {plan.step} lies there already and goes on" if begun and plan.step else ""
