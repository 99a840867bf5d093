"""How `list` asks about nodes that are silent in the store: by SSH, or among this machine's processes.

A cluster whose nodes all report is asked nothing, and waits for nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from pgha.cli import sources
from pgha.cli.options import Choice
from pgha.errors import UsageError

if TYPE_CHECKING:
    from pgha.ops.rows import Seen
    from pgha.ops.silent import Ask
    from pgha.ops.target import Target

SLOW_S = 0.6  # a store that takes longer may give no answer: the hosts are asked meanwhile
MEANWHILE_S = 1.6


def looked(choice: Choice, target: Target, look: Callable[[], Seen]) -> tuple[Seen, Mapping[str, str]]:
    """What the store says, and what is true on the nodes that say nothing there."""
    from pgha.ops import rows

    early: list[Mapping[str, str]] = []
    begun = threading.Event()

    def ask_all() -> None:
        begun.set()
        early.append(_heard(choice, [ref.name for ref in target.nodes], MEANWHILE_S))

    timer = threading.Timer(SLOW_S, ask_all)
    timer.daemon = True
    timer.start()
    seen = look()
    timer.cancel()
    mute = rows.mute(target, seen)
    if not mute:
        return seen, {}
    if not begun.is_set():
        return seen, _heard(choice, mute, None)
    timer.join(MEANWHILE_S + 1.0)
    return seen, {name: text for name, text in (early[0] if early else {}).items() if name in mute}


def _heard(choice: Choice, names: list[str], within_s: float | None) -> Mapping[str, str]:
    from pgha.ops import silent

    return silent.words(asks(choice, names), within_s=silent.WITHIN_S if within_s is None else within_s)


def asks(choice: Choice, names: list[str]) -> Mapping[str, Ask]:
    """One for each of these nodes; none by a node's own file, which names no way to the others."""
    try:
        path, _ = sources.find(choice)
        if not names or path.endswith(".json") or choice.node:
            return {}
        wanted = sources.inventory_at(path)
    except UsageError:
        return {}  # it was there a moment ago; the page has been asked for, not the file
    from pgha.ops import host_nodes, local_nodes, silent

    if wanted.local is not None:
        here = {node.name: node for node in local_nodes.load(wanted)}
        return {name: partial(silent.of_this_machine, here[name]) for name in names if name in here}
    connect, there = sources.connector(wanted), {spec.name: spec for spec in wanted.nodes}
    return {
        name: partial(silent.of_host, host_nodes.node_of(wanted, there[name]), connect)
        for name in names
        if name in there
    }
