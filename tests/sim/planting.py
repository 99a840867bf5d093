"""How a bug is planted: a function is replaced, and put back."""

from __future__ import annotations

from collections.abc import Callable

Undo = Callable[[], None]


def swap(owner: object, name: str, new: object) -> Undo:
    """Until it is undone."""
    old = getattr(owner, name)
    setattr(owner, name, new)
    return lambda: setattr(owner, name, old)


def both(*undos: Undo) -> Undo:
    """All of them."""

    def undo() -> None:
        for one in undos:
            one()

    return undo
