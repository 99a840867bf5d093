"""How long work tells what it does. The command line's is in `pgha.render`; this one says nothing.

May import nothing of pgha.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told by the operations, shown by the caller."""

    def step(self, where: str, what: str, *, done: bool = True) -> None:
        """`where`: a node, or "" for the cluster; `done` false: begun, or still waited for."""
        ...


class Silent:
    """Shows nothing."""

    def step(self, where: str, what: str, *, done: bool = True) -> None:
        """Nothing."""
