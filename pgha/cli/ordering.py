"""What the commands that give an order share: who asks for it, and its way from asking to its end, Ctrl-C included."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from pgha.errors import Exit, PghaError

if TYPE_CHECKING:
    from pgha.ops.node_orders import Desk
    from pgha.ops.status import Seen
    from pgha.ops.switchover import Asked
    from pgha.ops.target import Target
    from pgha.ports import Clock, Store

READ_S = 2.0


def asked_by() -> str:
    """Who gives this order: user and machine, for others to read."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def desk(target: Target) -> tuple[Desk, Seen]:
    """Where orders to nodes are given, and what the store shows now."""
    from pgha import render
    from pgha.cli import sources
    from pgha.ops import node_orders, status

    clock, store = sources.clock(), sources.open_store(target.store)
    tell: Callable[[str, float], None] = lambda text, at: render.note(f"{at:6.2f}s  {text}")  # noqa: E731
    look: Callable[[], Seen] = lambda: status.gather(store, clock, target.cluster, timeout_s=READ_S)  # noqa: E731
    return node_orders.Desk(store, clock, target, asked_by(), tell, look), look()


def moved(store: Store, clock: Clock, target: Target, ask: Callable[[], Asked]) -> float:
    """Give an order for a move of the primary and follow it to its end; the seconds it took.

    Raises what `ask` and `switchover.watch` raise, and what an interruption leaves behind.
    """
    from pgha import render
    from pgha.ops import switchover

    asked = None
    try:
        asked = ask()
        return switchover.watch(store, clock, target, asked, lambda text, at: render.note(f"{at:6.2f}s  {text}"))
    except KeyboardInterrupt:
        if asked is None:
            why = "it was being asked for"
            raise PghaError("interrupted", why, target.command("list shows whether"), code=Exit.INTERRUPTED) from None
        raise switchover.interrupted(store, clock, target, asked) from None
