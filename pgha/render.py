"""What a person or a pipeline reads: errors, progress, tables, JSON. stdout is the answer, stderr the story.

rich is loaded only where a table is drawn. Colour never carries meaning alone: what is red also says so in words.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

from pgha.core.model import format_lsn
from pgha.errors import Exit, PghaError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from pgha.ops.status import Row, Status

UNITS = ("B", "kB", "MB", "GB", "TB")
COLUMNS = ("NODE", "ROLE", "STATE", "TL", "LSN", "LAG", "SYNC", "SEEN", "HOST")
GIVES_WAY = ("LSN", "HOST", "TL")  # in this order, where the terminal is too narrow
NUMBERS = frozenset({"TL", "LAG", "SEEN"})  # aligned to the right
COLOURS = {Exit.OK: "green", Exit.DEGRADED: "yellow"}


def bytes_text(count: int) -> str:
    """Bytes as people write them: 0 B, 24 kB, 1.3 MB."""
    size, unit = float(count), 0
    while size >= 1024 and unit < len(UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.1f} {UNITS[unit]}" if unit and size < 10 else f"{size:.0f} {UNITS[unit]}"


def age_text(seconds: float | None) -> str:
    """An age: 0.4s, 12s, 5m, 3h, 2d."""
    if seconds is None:
        return "never"
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "m"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds:.1f}{unit}" if unit == "s" and seconds < 10 else f"{seconds / size:.0f}{unit}"
    return f"{seconds / 86400:.0f}d"


def clean(text: str) -> str:
    """Text from elsewhere, safe for a terminal: no control characters."""
    return "".join(c if c.isprintable() else "?" for c in text)


def error(problem: PghaError, stream: TextIO | None = None) -> None:
    """The error form, on stderr."""
    out = stream or sys.stderr
    for line in problem.lines():
        print(clean(line), file=out)


def as_json(body: Mapping[str, object]) -> None:
    """One document on stdout."""
    print(json.dumps(body, indent=2))


def error_json(problem: PghaError) -> None:
    """The error as a document on stdout, for `-o json`."""
    body = {"code": problem.code.name, "exit": int(problem.code), "lines": problem.lines()}
    as_json({"schema_version": 1, "error": body})


def note(text: str) -> None:
    """A line of the story, on stderr."""
    print(clean(text), file=sys.stderr, flush=True)


class Lines:
    """`ops.progress.Progress` as plain lines on stderr: elapsed seconds, node, step."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._out, self._began = stream or sys.stderr, time.monotonic()

    def step(self, where: str, what: str, *, done: bool = True) -> None:
        """One line a step; what is only begun or waited for ends with dots."""
        elapsed = time.monotonic() - self._began
        dots = "" if done else " ..."
        self._out.write(f"{elapsed:6.2f}s  {where or '-':<8} {clean(what)}{dots}\n")  # at once: several threads tell
        self._out.flush()


def confirm(lines: Sequence[str], question: str = "proceed?") -> bool:
    """The plan, then one question; only y or yes is a yes. Without a terminal to ask the answer is no."""
    for line in lines:
        print(clean(line), file=sys.stderr)
    if not sys.stdin.isatty():
        return False
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def typed(question: str) -> str:
    """What the operator types; "" without a terminal to ask."""
    if not sys.stdin.isatty():
        return ""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


# -- list ----------------------------------------------------------------------------------------------------


def _cells(row: Row) -> dict[str, str]:
    return {
        "NODE": row.node,
        "ROLE": row.role,
        "STATE": "running" if row.state == "primary" else row.state,
        "TL": "-" if row.timeline is None else str(row.timeline),
        "LSN": "-" if row.lsn is None else format_lsn(row.lsn),
        "LAG": "-" if row.lag_bytes is None or row.role == "primary" else bytes_text(row.lag_bytes),
        "SYNC": row.sync,
        "SEEN": age_text(row.seen_s),
        "HOST": row.host,
    }


def _fitting(sizes: Mapping[str, int], width: int) -> list[str]:
    """The columns that fit beside each other; those of GIVES_WAY go first, the rest never."""
    shown = list(COLUMNS)
    for name in GIVES_WAY:
        if 2 + sum(sizes[c] for c in shown) + 2 * (len(shown) - 1) <= width:
            break
        shown.remove(name)
    return shown


def console_width() -> int:
    """COLUMNS, else the terminal's width; a pipe has room for everything."""
    if os.environ.get("COLUMNS", "").isdecimal() or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return 160


def status_lines(status: Status, width: int) -> list[str]:
    """The page as plain text, not wider than needed: what a pipe gets, and what the golden files hold."""
    table = [dict(zip(COLUMNS, COLUMNS, strict=True)), *(_cells(row) for row in status.rows)]
    sizes = {c: max(len(clean(line[c])) for line in table) for c in COLUMNS}
    shown = _fitting(sizes, width)
    lines = [clean(status.sentence())]
    marks = [" ", *("!" if row.alert else " " for row in status.rows)]
    for mark, line in zip(marks, table, strict=True):
        texts = {c: clean(line[c]) for c in shown}
        cells = [texts[c].rjust(sizes[c]) if c in NUMBERS else texts[c].ljust(sizes[c]) for c in shown]
        lines.append(f"{mark} {'  '.join(cells)}".rstrip())
    lines += [f"order: {clean(status.order)}"] if status.order else []
    lines += [f"! {clean(note)}" for note in status.notes]
    lines += [f"- {clean(remark)}" for remark in status.remarks]
    lines += [f"next: {status.next_step}"] if status.next_step else []
    return lines


def status_page(status: Status, width: int) -> RenderableType:
    """The same page with colour, for a terminal: red rows for what is wrong, the first line by its verdict."""
    from rich.text import Text

    page = Text()
    lines = status_lines(status, width)
    alerts = [False, False, *(row.alert for row in status.rows)]
    for number, line in enumerate(lines):
        style = ""
        if number == 0:
            style = f"bold {COLOURS.get(status.exit, 'red')}"
        elif number == 1:
            style = "bold"
        elif line.startswith("! ") or (number < len(alerts) and alerts[number]):
            style = "red"
        page.append(line + ("\n" if number < len(lines) - 1 else ""), style=style)
    return page


def console() -> Console:
    """rich's console on stdout; honours NO_COLOR by itself."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def show_status(status: Status) -> None:
    """The page on stdout, coloured only on a terminal (rich is not even loaded for a pipe)."""
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        console().print(status_page(status, console_width()))
        return
    for line in status_lines(status, console_width()):
        print(line)
