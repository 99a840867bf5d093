"""A take-over as the nodes' own logs tell it: what each watchdog and guard wrote around it, in the order of time. Pure.

The logs are JSON lines (`adapters/journal`, `watchdog/guard_log`), each with its node's wall clock; a guard writes
whole seconds and CLOCK_BOOTTIME, which the agent's lines of the same boot make exact. Clocks of different hosts are
shown as they are. May import core values only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from pgha.core.model import Event
from pgha.core.timing import Timing

BEFORE_S = 20.0  # besides H: so long before the claim a cause may lie
AFTER_S = 5.0
MOST = 60  # lines
Body = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Log:
    """A node's two logs, whole; problem: why they could not be read, "" when they were."""

    agent: str = ""
    guard: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """at: wall clock of the node. event: as the log names it."""

    at: float
    node: str
    event: str
    says: str


@dataclass(frozen=True, slots=True)
class Story:
    """lines: oldest first; left_out: how many there were before them.

    began: when the old primary stopped taking writes, by its own log; outage_ms: from there to the new one's being
    writable. None: the logs that were read don't say. cause: what it began with, one sentence, "" when nobody knows.
    near: the old primary's near misses since the take-over before; least_s: the least that was left of its lease then.
    within_ms: where the old primary's log does not show its end, what the record and the rules of the lease leave for
    the outage, least and most (None: no limit is known).
    """

    lines: tuple[Line, ...] = ()
    left_out: int = 0
    began: Line | None = None
    outage_ms: float | None = None
    unread: tuple[tuple[str, str], ...] = ()
    cause: str = ""
    near: int = 0
    least_s: float | None = None
    within_ms: tuple[float, float | None] | None = None


def _word(body: Body, *names: str) -> str:
    return next((str(body[n]) for n in names if body.get(n)), "")


def _seconds(body: Body, name: str) -> float:
    value = body.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _decision(body: Body) -> str:
    rule, action = _word(body, "rule"), _word(body, "action")
    if action == "nothing" and not rule.startswith(("R640", "R650", "R660", "R390", "R520")):
        return ""
    return f"{rule.partition('_')[0]}: {_word(body, 'says')}"


def _outcome(body: Body) -> str:
    done = _word(body, "outcome")
    return "" if done in ("", "Committed") else f" ({done.lower()})"


Say = Callable[[Body], str]


def _plain(text: str) -> Say:
    return lambda _body: text


AGENT: Mapping[str, Say] = {
    "decision": _decision,
    "claim": lambda b: f"claims epoch {b.get('epoch')}: {_word(b, 'because')}{_outcome(b)}",
    "writable": lambda b: f"is writable, epoch {b.get('epoch')}{_outcome(b)}",
    "release": lambda b: f"releases epoch {b.get('epoch')}: {_word(b, 'because')}{_outcome(b)}",
    "handed": lambda b: f"hands over to {_word(b, 'target')}{_outcome(b)}",
    "fence": lambda b: "every process of its server is ended" if b.get("done") else "its server can't be ended yet",
    "refuse": lambda b: f"refuses the order: {_word(b, 'because')}",
    "paused": lambda b: f"is paused by {_word(b, 'asked_by')}: {_word(b, 'because')}{_outcome(b)}",
    "resumed": lambda b: f"is no longer paused: {_word(b, 'because')}{_outcome(b)}",
    "rewind": lambda b: f"rewinds its directory from {_word(b, 'holder')}",
    "clone": lambda b: f"clones {_word(b, 'holder')}",
    "guard gone": _plain("its guard is gone"),
    "went back": _plain("its data has gone back: it is another copy from now on"),
    "near miss": lambda b: f"renewed its lease with {_seconds(b, 'left_s'):.1f} s left",
    "trouble": lambda b: _word(b, "says"),
    "bug": lambda b: f"met a bug: {_word(b, 'says').splitlines()[-1] if _word(b, 'says') else ''}",
}
GUARD: Mapping[str, Say] = {
    "server started": _plain("its server starts"),
    "server ended": lambda b: f"its server ended: {_word(b, 'status')}",
    "agent ended": lambda b: f"its agent ended: {_word(b, 'status')}",
    "guard started": _plain("its watchdog starts"),
    "stop asked for": _plain("its watchdog is to stop"),
    "deadline passed: server and agent killed": _plain("deadline passed: server and agent are killed"),
}
ENDS = ("server ended", "deadline passed: server and agent killed", "handed", "release")
STOPS = ("R400", "R150")
CAUSES = ("server ended", "agent ended", "guard gone", "deadline passed: server and agent killed", "trouble", "fence")


def _bodies(text: str) -> list[Body]:
    found: list[Body] = []
    for line in text.splitlines():
        try:
            body = json.loads(line) if line.startswith("{") else None
        except ValueError:
            continue
        if isinstance(body, dict):
            found.append(body)
    return found


def _wall(body: Body) -> float | None:
    try:
        return datetime.fromisoformat(str(body.get("time"))).timestamp()
    except (ValueError, OverflowError):
        return None


def _boot(body: Body) -> float | None:
    value = body.get("boot_s")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _lines(node: str, log: Log) -> Iterable[tuple[Line, Body]]:
    """Those that say something to people."""
    agent = _bodies(log.agent)
    ages = [w - b for body in agent if (w := _wall(body)) is not None and (b := _boot(body)) is not None]
    for bodies, words in ((agent, AGENT), (_bodies(log.guard), GUARD)):
        for body in bodies:
            at, event = _wall(body), _word(body, "event")
            says = words[event](body) if event in words else ""
            if at is None or not says:
                continue
            boot = _boot(body)
            exact = [age + boot for age in ages[-1:] + ages[:1] if boot is not None and abs(age + boot - at) < 2.0]
            yield Line(exact[0] if words is GUARD and exact else at, node, event, says), body


def tell(event: Event, earlier_at: float, logs: Mapping[str, Log], h_s: float) -> Story:
    """earlier_at: when the take-over before this one was recorded, 0.0 when none was."""
    unread = tuple((node, log.problem) for node, log in sorted(logs.items()) if log.problem)
    told = [pair for node, log in logs.items() if not log.problem for pair in _lines(node, log)]
    mine = [line for line, body in told if line.node == event.holder and body.get("epoch") == event.epoch]
    claimed = max((line.at for line in mine if line.event == "claim"), default=event.at)
    writable = next((line.at for line in mine if line.event == "writable"), None)
    since, end = max(earlier_at, claimed - h_s - BEFORE_S), (writable or event.at) + AFTER_S
    lines = sorted((line for line, _ in told if since <= line.at <= end), key=lambda line: line.at)
    began = _end_of(event.source, lines, until=writable or event.at)
    near = [_seconds(b, "left_s") for x, b in told if x.event == "near miss" and _is_before(x, event, earlier_at)]
    outage_ms = (writable - began.at) * 1000 if writable is not None and began is not None else None
    return Story(
        lines=tuple(lines[-MOST:]),
        left_out=max(0, len(lines) - MOST),
        began=began,
        outage_ms=outage_ms,
        within_ms=_within(event, h_s) if outage_ms is None else None,
        unread=unread,
        cause=_cause(event, lines, until=claimed),
        near=len(near),
        least_s=min(near, default=None),
    )


def is_silent(event: Event) -> bool:
    """Its holder took over because nothing was heard of the old primary, not because that one released."""
    return bool(event.source) and event.reason == f"{event.source} was silent"


def _within(event: Event, h_s: float) -> tuple[float, float | None] | None:
    """From the record alone: its phases begin when the new primary saw the key free.

    A silent one was last heard H before that, and can't have written later than its guard's deadline allows; one that
    released had ended by then.
    """
    writable_ms = event.phases_ms.get("writable")
    if writable_ms is None or not 0.0 <= writable_ms < 1e9:
        return None
    if not is_silent(event):
        return writable_ms, None
    return writable_ms + max(0.0, h_s - Timing(h_s).fenced_s) * 1000, writable_ms + h_s * 1000


def _is_before(line: Line, event: Event, earlier_at: float) -> bool:
    """The old primary's, in the epoch that ended."""
    return line.node == event.source and earlier_at <= line.at <= event.at


def _cause(event: Event, lines: Sequence[Line], *, until: float) -> str:
    """Who asked for it; else the first thing that went wrong on the old primary; else what the new one saw."""
    if event.asked_by:
        return f"{event.asked_by} asked for it"
    first = next((x for x in lines if x.node == event.source and x.at <= until and x.event in CAUSES), None)
    if first is not None:
        return f"{first.node}: {first.says}"
    if is_silent(event):
        return f"{event.source} fell silent: its host or the way from it to the store"
    return event.reason


def _end_of(source: str, lines: Sequence[Line], *, until: float) -> Line | None:
    """When the old primary stopped taking writes: the decision to stop it, else its end."""
    own = [line for line in lines if line.node == source and line.at <= until]
    ends = [line for line in own if line.event in ENDS]
    if not ends:
        return None
    last = next((line for line in reversed(ends) if line.event in ENDS[:2]), ends[0])
    stops = [line for line in own if line.event == "decision" and line.says.startswith(STOPS) and line.at <= last.at]
    return stops[-1] if stops else last
