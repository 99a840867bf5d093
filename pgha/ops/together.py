"""The same work on several nodes at once, each in a thread of its own, all problems told together.

May import errors only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import TypeVar

from pgha.errors import Findings, PghaError, Unreachable

T = TypeVar("T")
R = TypeVar("R")
SLICE_S = 0.2  # so that an interruption is noticed


def outcomes(items: Mapping[str, T], work: Callable[[str, T], R], *, within_s: float = inf) -> dict[str, R | PghaError]:
    """What `work` gave, or the PghaError it raised, for each name. An interruption does not wait for the others.

    within_s: who has given nothing by then is left behind, Unreachable.
    """
    found: dict[str, R | PghaError] = {}
    bugs: list[BaseException] = []

    def one(name: str, item: T) -> None:
        try:
            found[name] = work(name, item)
        except PghaError as e:
            found[name] = e
        except BaseException as e:
            bugs.append(e)
            raise

    threads = [threading.Thread(target=one, args=pair, name=f"pgha-{pair[0]}", daemon=True) for pair in items.items()]
    for thread in threads:
        thread.start()
    waited_s = 0.0
    while waited_s < within_s and (alive := next((t for t in threads if t.is_alive()), None)):
        alive.join(SLICE_S)
        waited_s += SLICE_S if alive.is_alive() else 0.0
    if bugs:
        raise bugs[0]
    late = Unreachable("no answer", f"none within {within_s:g} s")
    return {name: found.get(name, late) for name in items}


def each(items: Mapping[str, T], work: Callable[[str, T], R]) -> dict[str, R]:
    """The results by name. Raises the only problem as it is, several as Findings."""
    found = outcomes(items, work)
    raise_all([value for value in found.values() if isinstance(value, PghaError)])
    return {name: value for name, value in found.items() if not isinstance(value, PghaError)}


def raise_all(problems: Sequence[PghaError]) -> None:
    """Nothing for none."""
    flat = [one for problem in problems for one in (problem.problems if isinstance(problem, Findings) else [problem])]
    if len(flat) == 1:
        raise flat[0]
    if flat:
        raise Findings(flat)
