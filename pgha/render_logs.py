"""Lines of `pgha logs`: time, node, what wrote it, what it says; a colour a node on a terminal, plain elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from pgha.ops.log_lines import LogLine
from pgha.render import clean

COLOURS = (36, 33, 35, 32, 34, 96, 93, 95, 92, 94)  # of ANSI; red is for what is wrong


class Painter:
    """nodes: in the inventory's order, which gives each its colour."""

    def __init__(self, nodes: Sequence[str], *, colour: bool | None = None) -> None:
        wanted = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._colour = wanted if colour is None else colour
        self._codes = {node: COLOURS[i % len(COLOURS)] for i, node in enumerate(nodes)}
        self._width = max((len(node) for node in nodes), default=1)

    def text(self, line: LogLine) -> str:
        """One line, control characters taken out."""
        at = datetime.fromtimestamp(line.at or 0.0, UTC)
        when = at.strftime("%Y-%m-%d %H:%M:%S") + f".{at.microsecond // 1000:03d}"
        says = clean(line.says)
        head = f"{line.node:<{self._width}}  {line.piece:<10}"
        if self._colour:
            head = f"\x1b[{self._codes.get(line.node, 39)}m{head}\x1b[0m"
        return f"{when}  {head}  {says}"
