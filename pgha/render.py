"""What a person or a pipeline reads: errors, progress, tables, JSON. stdout is the answer, stderr the story.

Colour never carries meaning alone: what is red also says so in words.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from typing import TextIO

from pgha.errors import Exit, PghaError

UNITS = ("B", "kB", "MB", "GB", "TB")
RED, GREEN, YELLOW, CYAN, BOLD, DIM = "31", "32", "33", "36", "1", "2"
STYLES = (  # SGR codes by what a line begins with
    ("! ", RED),
    ("error: ", RED),
    ("order: ", YELLOW),
    ("next: ", CYAN),
    ("plan: ", BOLD),
    ("  + ", GREEN),
    ("  - ", RED),
    ("# ", DIM),
)
COLOURS = {Exit.OK: GREEN, Exit.DEGRADED: YELLOW}


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


def fitted(lines: Sequence[str], stream: TextIO) -> list[str]:
    """Cleaned; on a terminal none is cut within a word. A command to paste stays in one line, as wide as it is."""
    safe = [clean(line) for line in lines]
    if not stream.isatty():
        return safe
    width, found = max(40, shutil.get_terminal_size().columns), list[str]()
    for line in safe:
        if len(line) <= width or line.startswith("next:"):
            found.append(line)
            continue
        deeper = " " * (len(line) - len(line.lstrip()) + 4)
        found += textwrap.wrap(line, width, subsequent_indent=deeper, break_on_hyphens=False, break_long_words=False)
    return found


def error(problem: PghaError, stream: TextIO | None = None) -> None:
    """The error form, on stderr."""
    out = stream or sys.stderr
    lines = fitted(problem.lines(), out)
    for line in painted(lines) if has_colour(out) else lines:
        print(line, file=out)


def as_json(body: Mapping[str, object]) -> None:
    """One document on stdout; each says which version of its form it has."""
    assert "schema_version" in body
    print(json.dumps(body, indent=2))


def error_json(problem: PghaError) -> None:
    """The error as a document on stdout, for `-o json`."""
    body = {"code": problem.code.name, "exit": int(problem.code), "lines": problem.lines()}
    as_json({"schema_version": 1, "error": body})


def note(text: str) -> None:
    """A line of the story, on stderr."""
    for line in fitted([text], sys.stderr):
        print(line, file=sys.stderr, flush=True)


class Lines:
    """`ops.progress.Progress` as plain lines on stderr: elapsed seconds, node, step."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._out, self._began = stream or sys.stderr, time.monotonic()

    def step(self, where: str, what: str, *, done: bool = True) -> None:
        """One line a step; what is only begun or waited for ends with dots."""
        elapsed = time.monotonic() - self._began
        dots = "" if done else " ..."
        lines = fitted([f"{elapsed:6.2f}s  {where or '-':<8} {what}{dots}"], self._out)
        self._out.write("\n".join(lines) + "\n")  # at once: several threads tell
        self._out.flush()


def told(lines: Sequence[str]) -> None:
    """Lines of the story, on stderr, coloured on a terminal."""
    safe = fitted(lines, sys.stderr)
    for line in painted(safe) if has_colour(sys.stderr) else safe:
        print(line, file=sys.stderr, flush=True)


def confirm(lines: Sequence[str], question: str = "proceed?") -> bool:
    """The plan, then one question; only y or yes is a yes. Without a terminal to ask the answer is no."""
    told(lines)
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


# -- pages ---------------------------------------------------------------------------------------------------


def console_width() -> int:
    """COLUMNS, else the terminal's width; a pipe has room for everything."""
    if os.environ.get("COLUMNS", "").isdecimal() or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return 160


def has_colour(stream: TextIO) -> bool:
    """A terminal that may be coloured: not a pipe, and neither NO_COLOR nor a dumb terminal."""
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def page(lines: Sequence[str], exit_code: Exit | None = None) -> None:
    """Lines on stdout, coloured on a terminal by what they begin with; the first one by the exit code, where given."""
    for line in painted(lines, exit_code) if has_colour(sys.stdout) else lines:
        print(line)


def painted(lines: Sequence[str], exit_code: Exit | None = None) -> list[str]:
    """The same with colour. Nothing is said by colour alone: what is red begins with `!`, `error:` or `-`."""
    found = []
    for number, line in enumerate(lines):
        style = next((code for head, code in STYLES if line.startswith(head)), "")
        if exit_code is not None and number == 0:
            style = f"1;{COLOURS.get(exit_code, RED)}"
        elif not style and _is_head(line):
            style = BOLD
        found.append(f"\x1b[{style}m{line}\x1b[0m" if style and line else line)
    return found


def _is_head(line: str) -> bool:
    """The head of a table: several words in capitals."""
    return len(line.split()) > 2 and line == line.upper() and line.strip()[:4].isalpha()
