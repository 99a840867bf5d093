"""What an agent's order says, value by value, checked.

Standard library only; of pgha only the guard's own files.
"""

from __future__ import annotations

FOREVER_S = 1e12


def table(value: object) -> dict[str, object]:
    """An object. Raises TypeError."""
    if not isinstance(value, dict):
        raise TypeError("an object was expected")
    return value


def text(value: object) -> str:
    """A text. Raises TypeError."""
    if not isinstance(value, str):
        raise TypeError("a text was expected")
    return value


def whole(value: object) -> int:
    """A whole number. Raises TypeError."""
    if not isinstance(value, int):
        raise TypeError("a whole number was expected")
    return value


def number(value: object) -> float:
    """A finite number. Raises TypeError, ValueError."""
    if not isinstance(value, int | float):
        raise TypeError("a number was expected")
    if not abs(value) < FOREVER_S:  # not a number, or infinite
        raise ValueError("a finite number was expected")
    return float(value)


def strings(value: object) -> list[str]:
    """A list of texts, not empty. Raises TypeError."""
    if not isinstance(value, list) or not value:
        raise TypeError("a list of texts was expected")
    return [text(item) for item in value]


def environment(value: object) -> dict[str, str]:
    """Names and texts. Raises TypeError."""
    return {name: text(value) for name, value in table(value).items()}
