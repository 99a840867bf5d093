"""The pages of `pgha history`, at most 80 columns, and their JSON."""

from __future__ import annotations

import textwrap
from datetime import UTC, datetime

from pgha.core.model import Event
from pgha.ops.history import History, TakeOver
from pgha.ops.story import Story
from pgha.render import age_text, bytes_text, clean

WIDTH = 80
BAR = 30  # characters for the longest time
SCHEMA_VERSION = 1
HEADS = ("EPOCH", "WHEN (UTC)", "FROM -> TO", "KIND", "WRITABLE", "POSITION")
NUMBERS = ("EPOCH", "WRITABLE")


def when_text(at: float) -> str:
    """A writer's wall clock, in UTC; `-` when it says nothing sensible."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S") if at > 0 else "-"
    except (ValueError, OverflowError, OSError):
        return "-"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def move_text(event: Event) -> str:
    """From whom to whom."""
    return f"{event.source or '-'} -> {event.holder}"


def why_text(event: Event) -> str:
    """The reason, and who asked, and what was lost, where they are known and not said already."""
    parts = [event.reason or "no reason recorded"]
    if event.asked_by and event.asked_by not in event.reason:
        parts.append(f"asked by {event.asked_by}")
    if event.loss_bytes:
        parts.append(f"estimated loss {bytes_text(event.loss_bytes)} of WAL")
    return "; ".join(parts)


def _wrapped(label: str, text: str, width: int, *, at: int) -> list[str]:
    return textwrap.wrap(
        clean(text), width, initial_indent=f"{label:<{at}}", subsequent_indent=" " * at, break_on_hyphens=False
    )


def lines(found: History, width: int) -> list[str]:
    """The table, newest first, the reason of each below it."""
    width = max(40, min(width, WIDTH))
    if not found.shown:
        page = [f"{found.cluster}: no take-over is recorded yet"]
    else:
        count = len(found.shown) + found.older
        page = [f"{found.cluster}: {count} take-over{'' if count == 1 else 's'} recorded, newest first"]
        page += _table(found, width)
    page += [line for note in found.notes for line in _wrapped("!", note, width, at=2)]
    return page + ([f"{found.older} older: {found.more}"] if found.older else [])


def _table(found: History, width: int) -> list[str]:
    rows = [dict(zip(HEADS, HEADS, strict=True)), *(_cells(one) for one in found.shown)]
    sizes = {head: max(len(row[head]) for row in rows) for head in HEADS}
    page: list[str] = []
    for number, row in enumerate(rows):
        cells = [row[h].rjust(sizes[h]) if h in NUMBERS else row[h].ljust(sizes[h]) for h in HEADS]
        page.append("  ".join(cells).rstrip())
        if number:
            page += _wrapped("", why_text(found.shown[number - 1].event), width, at=sizes["EPOCH"] + 2)
    return page


def _cells(one: TakeOver) -> dict[str, str]:
    event = one.event
    texts = (
        str(event.epoch),
        when_text(event.at),
        move_text(event),
        event.kind,
        _ms(one.writable_ms),
        str(event.position),
    )
    return dict(zip(HEADS, (clean(t) for t in texts), strict=True))


# -- one of them -----------------------------------------------------------------------------------------------


def one_lines(one: TakeOver, width: int) -> list[str]:
    """One take-over: the facts, its phases as bars, what lay before."""
    width, event = max(40, min(width, WIDTH)), one.event
    page = _wrapped("", f"{one.cluster}  epoch {event.epoch}  {move_text(event)}  {event.kind}", width, at=0)
    page += _wrapped("when", f"{when_text(event.at)} UTC, by the clock of {event.holder}", width, at=10)
    for label, text in facts(one):
        page += _wrapped(label, text, width, at=10)
    page += _wrapped("why", why_text(event), width, at=10)
    page += _wrapped("position", str(event.position), width, at=10)
    page += _wrapped("before", before_text(one), width, at=10)
    if not one.phases:
        return [*page, "phases    none recorded", *_story(one, width)]
    counted = f"in ms from when {event.holder} saw the key free (a silent holder's H lies before)"
    return [*page, *_wrapped("phases", counted, width, at=10), *_bars(one), *_story(one, width)]


def facts(one: TakeOver) -> list[tuple[str, str]]:
    """What the logs give besides the record: the cause first, then how long nobody could write, and near misses."""
    story = one.story
    if story is None:
        return []
    found = [("cause", story.cause)] if story.cause else []
    if story.began is not None and story.outage_ms is not None:
        end = f"{one.event.holder} is writable"
        text = f"{story.outage_ms:.0f} ms, from {story.began.node} ({story.began.says}) until {end}"
        found.append(("outage", text))
    elif story.lines or story.unread:
        found.append(("outage", _bounds(one, story)))
    if story.near:
        times = (
            f"{story.near} near miss{'' if story.near == 1 else 'es'} of {one.event.source} since the take-over before"
        )
        found.append(("lease", f"{times}, the closest with {story.least_s or 0.0:.1f} s left"))
    return found


def _bounds(one: TakeOver, story: Story) -> str:
    """The outage where the old primary's log does not show its end."""
    source, holder = one.event.source or "the old primary", one.event.holder
    why = f"the logs of {source} do not show its end"
    if story.within_ms is None:
        return f"not known: {why}"
    least, most = story.within_ms
    if most is None:
        return f"at least {least:.0f} ms, from the key being free until {holder} is writable; {why}"
    last = f"{source} was last heard {most / 1000:.1f} s before {holder} was writable"
    return f"between {least / 1000:.1f} and {most / 1000:.1f} s: {last}, and may have written for a while; {why}"


def _story(one: TakeOver, width: int) -> list[str]:
    """What the logs say; times are those of each node's own clock, counted from the first line."""
    story = one.story
    if story is None or not (story.lines or story.unread):
        return []
    page = []
    if story.lines:
        first = story.lines[0].at
        page += _wrapped("story", f"by the nodes' logs, in ms from {when_text(first)} UTC", width, at=10)
        page += [f"          {story.left_out} earlier lines left out"] if story.left_out else []
        for line in story.lines:
            page += _wrapped(f"{(line.at - first) * 1000:8.0f}  {clean(line.node)}  ", line.says, width, at=14)
    for node, why in story.unread:
        page += _wrapped("!", f"the logs of {node} can't be read: {why}", width, at=2)
    return page


def before_text(one: TakeOver) -> str:
    """How long the time before lasted, and what it left no record of."""
    lasted = "nothing recorded" if one.before_s is None else f"{age_text(one.before_s)} since the take-over before"
    if not one.skipped:
        return lasted
    many = len(one.skipped) > 1
    span = f"epochs {one.skipped[0]} to {one.skipped[-1]}" if many else f"epoch {one.skipped[0]}"
    return f"{lasted}; {span} left no record"


def _bars(one: TakeOver) -> list[str]:
    end = one.phases[-1].at_ms or 1.0
    size = max(len(p.name) for p in one.phases)
    page = []
    for phase in one.phases:
        start = round((phase.at_ms - phase.took_ms) / end * BAR)
        length = max(1, round(phase.at_ms / end * BAR) - start)
        bar = f"{' ' * min(start, BAR - 1)}{'#' * length}"
        numbers = f"{phase.at_ms:8.0f}  +{phase.took_ms:.0f}"
        page.append(f"  {clean(phase.name)[:20]:<{min(size, 20)}}{numbers:<18}{bar}".rstrip())
    return page


# -- JSON ------------------------------------------------------------------------------------------------------


def _event_dict(one: TakeOver) -> dict[str, object]:
    event = one.event
    return {
        "epoch": event.epoch,
        "at": event.at,
        "from": event.source or None,
        "to": event.holder,
        "kind": event.kind,
        "reason": event.reason,
        "asked_by": event.asked_by or None,
        "writable_ms": one.writable_ms,
        "position": str(event.position),
        "loss_bytes": event.loss_bytes,
        "phases": [{"name": p.name, "at_ms": round(p.at_ms, 1), "took_ms": round(p.took_ms, 1)} for p in one.phases],
        "before_s": None if one.before_s is None else round(one.before_s, 1),
        "skipped": list(one.skipped),
        **_story_dict(one),
    }


def _story_dict(one: TakeOver) -> dict[str, object]:
    """Only of a single take-over: what its logs say."""
    story = one.story
    if story is None:
        return {}
    return {
        "cause": story.cause or None,
        "near_misses": story.near,
        "least_lease_left_s": story.least_s,
        "outage_ms": None if story.outage_ms is None else round(story.outage_ms, 1),
        "outage_within_ms": story.within_ms and [ms if ms is None else round(ms, 1) for ms in story.within_ms],
        "story": [{"at": round(x.at, 3), "node": x.node, "event": x.event, "says": x.says} for x in story.lines],
        "logs_unread": dict(story.unread),
    }


def as_dict(found: History) -> dict[str, object]:
    """Stable names, newest first."""
    return {
        "schema_version": SCHEMA_VERSION,
        "cluster": found.cluster,
        "take_overs": [_event_dict(one) for one in found.shown],
        "older": found.older,
        "notes": list(found.notes),
    }


def one_as_dict(one: TakeOver) -> dict[str, object]:
    """The same of one."""
    return {"schema_version": SCHEMA_VERSION, "cluster": one.cluster, "take_over": _event_dict(one)}
