"""A take-over as a Markdown page, for an incident report: `pgha history EPOCH --markdown`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pgha.ops.history import TakeOver
from pgha.render import bytes_text, clean
from pgha.render_history import before_text, facts, move_text, when_text, why_text


def _cell(text: str) -> str:
    """Safe within a table."""
    return clean(text).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return lines + [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]


def take_over(one: TakeOver) -> list[str]:
    """The cause first, then what it cost, the phases, and what the nodes say, in the order of time."""
    event, story = one.event, one.story
    page = [f"# {_cell(one.cluster)}: epoch {event.epoch}, {_cell(move_text(event))}, {_cell(event.kind)}", ""]
    rows = [
        *facts(one),
        ("when", f"{when_text(event.at)} UTC, by the clock of {event.holder}"),
        ("why", why_text(event)),
        ("lost", f"{bytes_text(event.loss_bytes)} of WAL, estimated" if event.loss_bytes else "nothing known of"),
        ("position", str(event.position)),
        ("before", before_text(one)),
    ]
    page += _table(("", ""), rows)
    if one.phases:
        page += ["", "## Phases", "", f"In ms from when {_cell(event.holder)} saw the leader key free.", ""]
        page += _table(("phase", "ended", "took"), [(p.name, f"{p.at_ms:.0f}", f"{p.took_ms:.0f}") for p in one.phases])
    if story is not None and story.lines:
        first = story.lines[0].at
        page += ["", "## What the nodes say", "", f"In ms from {when_text(first)} UTC, each by its node's clock."]
        page += [f"{story.left_out} earlier lines are left out."] if story.left_out else []
        rows_of_it = [(f"{(x.at - first) * 1000:.0f}", x.node, x.says) for x in story.lines]
        page += ["", *_table(("ms", "node", "says"), rows_of_it)]
    unread = story.unread if story is not None else ()
    page += (
        ["", *(f"The logs of {_cell(node)} could not be read: {_cell(why)}." for node, why in unread)] if unread else []
    )
    return page
