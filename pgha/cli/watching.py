"""`pgha list -w`: the cluster live, redrawn every second, with keys for the other pages.

Not a command; `pgha.cli.list` uses it. A pipe gets one page after the other.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgha.errors import Exit

if TYPE_CHECKING:
    from pgha.ops.rows import Seen
    from pgha.ops.status import Status
    from pgha.ops.target import Target

EVERY_S = 1.0
ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"  # a screen of its own, without a cursor
TOP, REST_OF_LINE, REST_OF_SCREEN = "\x1b[H", "\x1b[K", "\x1b[J"
FOOT = "q quit  l list  e explain  h history  f freeze  space now"
PAGES = {"l": "list", "e": "explain", "h": "history"}
HISTORY = 10  # take-overs that are shown


@dataclass(frozen=True, slots=True)
class Screen:
    """What is shown: the page, from which line on, and whether it stands still."""

    page: str = "list"
    top: int = 0
    frozen: bool = False

    def after(self, key: str) -> Screen:
        """What a key makes of it; unknown keys change nothing."""
        if key in PAGES:
            return Screen(PAGES[key], 0, self.frozen)
        if key in ("up", "k"):
            return replace(self, top=max(0, self.top - 1))
        if key in ("down", "j"):
            return replace(self, top=self.top + 1)
        return replace(self, frozen=not self.frozen) if key == "f" else self


def frame(lines: Sequence[str], screen: Screen, *, columns: int, rows: int) -> list[str]:
    """What fits: lines from `top` on, none wider than the terminal, the keys in its last row."""
    room = max(1, rows - 1)
    top = min(screen.top, max(0, len(lines) - room))
    shown = [line[:columns] for line in lines[top : top + room]]
    below = len(lines) - top - len(shown)
    more = f"  ({below} more lines: down)" if below else ""
    return [
        *shown,
        *("" for _ in range(room - len(shown))),
        f"{FOOT}{more}{'  FROZEN' if screen.frozen else ''}"[:columns],
    ]


def _page(screen: Screen, target: Target, seen: Seen, status: Status, width: int) -> list[str]:
    from pgha import render_explain, render_history, render_list
    from pgha.ops import explain, history

    if screen.page == "explain":
        return render_explain.lines(explain.explain(target, seen, None), width)
    if screen.page == "history":
        return render_history.lines(history.history(target, seen.records, HISTORY), width)
    return render_list.lines(status, width)


def _draw(screen: Screen, target: Target, seen: Seen, status: Status) -> None:
    from pgha import render

    columns, rows = shutil.get_terminal_size()
    lines = frame(_page(screen, target, seen, status, columns), screen, columns=columns, rows=rows)
    shown = render.painted(lines, status.exit if not screen.top else None) if render.has_colour(sys.stdout) else lines
    sys.stdout.write(TOP + f"{REST_OF_LINE}\r\n".join(shown) + REST_OF_LINE + REST_OF_SCREEN)
    sys.stdout.flush()


def follow(target: Target, look: Callable[[], Seen]) -> Exit:
    """Until q or Ctrl-C; the last page stays on the terminal. Gives its exit code."""
    from pgha import render_list
    from pgha.adapters.keyboard import Keyboard
    from pgha.ops import status as judging

    live = sys.stdout.isatty()
    screen, seen = Screen(), look()
    found = judging.judge(target, seen)
    with Keyboard() as keys:
        try:
            sys.stdout.write(ENTER if live else "")
            while True:
                if live:
                    _draw(screen, target, seen, found)
                else:
                    render_list.show(found)
                    print(flush=True)
                key = keys.pressed(EVERY_S)
                if key == "q":
                    break
                screen = screen.after(key)
                if key in ("", " ") and not screen.frozen:
                    seen = look()
                    found = judging.judge(target, seen)
        except KeyboardInterrupt:
            pass
        finally:
            sys.stdout.write(LEAVE if live else "")
    if live:
        render_list.show(found)
    return found.exit
