"""The judge's verdict: from what an outside client saw, how long writes stopped, what was lost, and who else wrote.

Pure: a history in, a verdict out. May import nothing of pgha. Times are seconds of CLOCK_MONOTONIC of the judge's
machine; an epoch is the timeline that the server named when the connection was made (design, section 6).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path

Ident = tuple[int, int]  # (writer, its running number)


@dataclass(frozen=True, slots=True)
class Row:
    """One row that a client sent. acked_s None: no confirmation came, or one with a warning (then `warned`)."""

    writer: int
    n: int
    node: str
    epoch: int
    sent_s: float
    acked_s: float | None = None
    warned: bool = False

    @property
    def ident(self) -> Ident:
        """What the row is known by in the table."""
        return self.writer, self.n


@dataclass(frozen=True, slots=True)
class Fault:
    """Something done to the cluster at a moment."""

    label: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Survivors:
    """The rows found on the primary `node`, by a query sent at `asked_s`."""

    node: str
    asked_s: float
    idents: tuple[Ident, ...]


@dataclass(frozen=True, slots=True)
class History:
    """All that a verdict rests on. The observed window is `start_s` to `end_s`."""

    start_s: float
    end_s: float
    rows: tuple[Row, ...]
    survivors: Survivors | None = None
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which nobody acknowledged anything."""

    from_s: float
    to_s: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.to_s - self.from_s


@dataclass(frozen=True, slots=True)
class FaultVerdict:
    """The longest gap that belongs to a fault: after it, and before the next one."""

    label: str
    outage_s: float
    acked_before: str
    acked_after: str


@dataclass(frozen=True, slots=True)
class Stray:
    """A row acknowledged by a server although another had, before it was sent, acknowledged under a newer right."""

    ident: Ident
    node: str
    epoch: int
    other: str
    other_epoch: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """outage_s: the longest gap in the union of acknowledgements. lost is None when no survivor was asked.

    unsure: rows sent without a confirmation (they may be there or not). two_writers: how many stray rows;
    the first ones are shown.
    """

    outage_s: float
    acked: int
    unsure: int
    lost: int | None
    duplicates: int
    two_writers: int
    faults: tuple[FaultVerdict, ...] = ()
    lost_first: tuple[Ident, ...] = ()
    strays: tuple[Stray, ...] = ()
    survivor: str = ""
    epochs: tuple[int, ...] = ()

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing twice, one writer; and that was looked at."""
        return self.lost == 0 and self.duplicates == 0 and self.two_writers == 0


def longest_gap(acks: Sequence[float], *, start_s: float, end_s: float) -> Gap:
    """The longest time without an acknowledgement in the window; its edges count as acknowledgements."""
    inside = [start_s, *sorted(a for a in acks if start_s < a < end_s), end_s]
    return max((Gap(a, b) for a, b in pairwise(inside)), key=lambda gap: gap.seconds)


def stray_rows(rows: Iterable[Row]) -> list[Stray]:
    """Rows that show two writers: sent to a server after another acknowledged one of a newer epoch, and acknowledged.

    One epoch belongs to one node, so a second node acknowledging under the same one is as bad; so is a server that
    goes back to an older epoch.
    """
    acked = sorted((r for r in rows if r.acked_s is not None), key=lambda r: r.acked_s or 0.0)
    by_sending = sorted(acked, key=lambda r: r.sent_s)
    first: dict[tuple[int, str], Row] = {}
    newest: Row | None = None
    found: list[Stray] = []
    seen = 0
    for row in by_sending:
        while seen < len(acked) and (acked[seen].acked_s or 0.0) < row.sent_s:
            past = acked[seen]
            first.setdefault((past.epoch, past.node), past)
            newest = past if newest is None or past.epoch > newest.epoch else newest
            seen += 1
        other = newest if newest is not None and newest.epoch > row.epoch else _same_epoch(first, row)
        if other is not None:
            found.append(Stray(row.ident, row.node, row.epoch, other.node, other.epoch))
    return found


def _same_epoch(first: Mapping[tuple[int, str], Row], row: Row) -> Row | None:
    return next((r for (epoch, node), r in first.items() if epoch == row.epoch and node != row.node), None)


def missing(rows: Iterable[Row], survivors: Survivors) -> list[Ident]:
    """Rows acknowledged before the survivors were asked for, and not among them."""
    there = set(survivors.idents)
    return [r.ident for r in rows if r.acked_s is not None and r.acked_s < survivors.asked_s and r.ident not in there]


def _fault_verdicts(history: History) -> tuple[FaultVerdict, ...]:
    acked = sorted((r.acked_s, r.node) for r in history.rows if r.acked_s is not None)
    times = [at for at, _ in acked]
    faults = sorted(history.faults, key=lambda f: f.at_s)
    out = []
    ends = [*(f.at_s for f in faults[1:]), history.end_s]
    for fault, following in zip(faults, ends, strict=False):
        before = max((t for t in times if t <= fault.at_s), default=history.start_s)
        end = max(following, fault.at_s)
        gap = longest_gap(times, start_s=before, end_s=end)
        before_node = next((node for at, node in reversed(acked) if at <= gap.from_s), "")
        after_node = next((node for at, node in acked if at >= gap.to_s), "")
        out.append(FaultVerdict(fault.label, gap.seconds, before_node, after_node))
    return tuple(out)


def verdict(history: History, *, show: int = 5) -> Verdict:
    """Judge a history. `show`: how many lost and stray rows to name."""
    acked = [r for r in history.rows if r.acked_s is not None]
    times = [r.acked_s for r in acked if r.acked_s is not None]
    strays = stray_rows(acked)
    lost: list[Ident] | None = None
    duplicates = 0
    if history.survivors is not None:
        lost = missing(acked, history.survivors)
        duplicates = sum(count - 1 for count in Counter(history.survivors.idents).values())
    return Verdict(
        outage_s=longest_gap(times, start_s=history.start_s, end_s=history.end_s).seconds,
        acked=len(acked),
        unsure=len(history.rows) - len(acked),
        lost=None if lost is None else len(lost),
        duplicates=duplicates,
        two_writers=len(strays),
        faults=_fault_verdicts(history),
        lost_first=tuple((lost or [])[:show]),
        strays=tuple(strays[:show]),
        survivor=history.survivors.node if history.survivors else "",
        epochs=tuple(sorted({r.epoch for r in acked})),
    )


# -- a history as lines of JSON ------------------------------------------------------------------------------


def dump_history(history: History) -> Iterable[str]:
    """One JSON object a line, to be judged again later."""
    yield json.dumps({"kind": "window", "start_s": history.start_s, "end_s": history.end_s})
    for fault in history.faults:
        yield json.dumps({"kind": "fault", **asdict(fault)})
    for row in history.rows:
        yield json.dumps({"kind": "row", **asdict(row)})
    if history.survivors is not None:
        yield json.dumps({"kind": "survivors", **asdict(history.survivors)})


@dataclass(slots=True)
class _Parts:
    window: tuple[float, float] | None = None
    faults: list[Fault] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    survivors: Survivors | None = None


def _take(parts: _Parts, body: dict[str, object]) -> None:
    kind = body.pop("kind", None)
    if kind == "window":
        parts.window = (float(str(body["start_s"])), float(str(body["end_s"])))
    elif kind == "fault":
        parts.faults.append(Fault(**body))  # type: ignore[arg-type]  # names are checked by the class
    elif kind == "row":
        parts.rows.append(Row(**body))  # type: ignore[arg-type]
    elif kind == "survivors":
        idents = body["idents"]
        assert isinstance(idents, list)
        found = tuple((int(w), int(n)) for w, n in idents)
        parts.survivors = Survivors(str(body["node"]), float(str(body["asked_s"])), found)
    else:
        raise ValueError(f"unknown kind: {kind!r}"[:120])


def parse_history(lines: Iterable[str]) -> History:
    """Raises ValueError, naming the line, for anything that `dump_history` does not write."""
    parts = _Parts()
    for number, line in enumerate(lines, 1):
        try:
            body = json.loads(line)
            assert isinstance(body, dict), "not an object"
            _take(parts, body)
        except (ValueError, KeyError, TypeError, AssertionError) as e:
            raise ValueError(f"line {number} of the history: {e}"[:200]) from e
    if parts.window is None:
        raise ValueError("the history has no window")
    return History(*parts.window, tuple(parts.rows), parts.survivors, tuple(parts.faults))


def judge_history(path: Path) -> Verdict:
    """The verdict on a history file. Raises OSError, or ValueError when it can't be read."""
    with path.open(encoding="utf-8") as lines:
        return verdict(parse_history(lines))
