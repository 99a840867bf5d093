"""The page of `pgha list`, as wide as its terminal allows. Plain text; `render.painted` colours it.

Columns that do not fit give way in a fixed order; tags that have no column are said below the table.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from pgha.core.model import format_lsn
from pgha.ops.rows import Row
from pgha.ops.status import Status
from pgha.render import age_text, bytes_text, clean, console_width, page

COLUMNS = ("NODE", "ROLE", "STATE", "TL", "LSN", "LAG", "DELAY", "SYNC", "LEASE", "SEEN", "TAGS", "HOST")
GIVES_WAY = ("LSN", "HOST", "TL", "TAGS", "DELAY", "LEASE")  # in this order, where the terminal is too narrow
MAY_BE_EMPTY = ("DELAY", "LEASE", "TAGS")  # left out when no row has any
NUMBERS = frozenset({"TL", "LAG", "DELAY", "LEASE", "SEEN"})  # aligned to the right


def seconds_text(seconds: float | None) -> str:
    """A short time: 0s, 4ms, 3.2s, 5m."""
    if seconds is None:
        return "-"
    if seconds < 1.0:
        return f"{seconds * 1000:.0f}ms" if seconds else "0s"
    return age_text(seconds)


def _cells(row: Row) -> dict[str, str]:
    return {
        "NODE": row.node,
        "ROLE": row.role,
        "STATE": "running" if row.state == "primary" else row.state,
        "TL": "-" if row.timeline is None else str(row.timeline),
        "LSN": "-" if row.lsn is None else format_lsn(row.lsn),
        "LAG": "-" if row.lag_bytes is None or row.role == "primary" else bytes_text(row.lag_bytes),
        "DELAY": seconds_text(row.lag_s),
        "SYNC": row.sync,
        "LEASE": "-" if row.lease_s is None else age_text(row.lease_s),
        "SEEN": age_text(row.seen_s),
        "TAGS": ", ".join(row.tags) or "-",
        "HOST": row.host,
    }


def _fitting(cells: Sequence[Mapping[str, str]], sizes: Mapping[str, int], width: int) -> list[str]:
    """The columns that fit beside each other; those of GIVES_WAY go first, the rest never."""
    shown = [c for c in COLUMNS if c not in MAY_BE_EMPTY or any(row[c] != "-" for row in cells)]
    for name in GIVES_WAY:
        if 2 + sum(sizes[c] for c in shown) + 2 * (len(shown) - 1) <= width:
            break
        if name in shown:
            shown.remove(name)
    return shown


def _wrapped(mark: str, sentence: str, width: int) -> list[str]:
    """The mark, then the sentence in lines of the terminal's width."""
    return textwrap.wrap(
        f"{mark}{clean(sentence)}",
        max(40, width),
        subsequent_indent=" " * 4,
        break_on_hyphens=False,
        break_long_words=False,
    )


def lines(status: Status, width: int) -> list[str]:
    """The page, not wider than needed: what a pipe gets, and what the golden files hold."""
    rows = [_cells(row) for row in status.rows]
    table = [dict(zip(COLUMNS, COLUMNS, strict=True)), *rows]
    sizes = {c: max(len(clean(line[c])) for line in table) for c in COLUMNS}
    shown = _fitting(rows, sizes, width)
    text = [clean(status.sentence())]
    marks = [" ", *("!" if row.alert else " " for row in status.rows)]
    for mark, line in zip(marks, table, strict=True):
        texts = {c: clean(line[c]) for c in shown}
        cells = [texts[c].rjust(sizes[c]) if c in NUMBERS else texts[c].ljust(sizes[c]) for c in shown]
        text.append(f"{mark} {'  '.join(cells)}".rstrip())
    said = [("order: ", status.order)] if status.order else []
    said += [("! ", note) for note in status.notes]
    if "TAGS" not in shown:
        said += [("- ", f"{row.node}: {', '.join(row.tags)}") for row in status.rows if row.tags]
    said += [("- ", remark) for remark in status.remarks]
    for mark, sentence in said:
        text += _wrapped(mark, sentence, width)
    text += [f"next: {status.next_step}"] if status.next_step else []
    return text


def show(status: Status) -> None:
    """The page on stdout."""
    page(lines(status, console_width()), status.exit)
