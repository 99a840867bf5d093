"""Which changes of the store are worth a look at once: not the heartbeats, which are most of them.

Hints only: everything is polled anyway. What a hint does give is the time at which a revision of the leader key was
first seen, so that a calm node may look once a second and still count the holder's silence exactly.
"""

from __future__ import annotations

import json
from collections.abc import Callable

KEPT = 16
LEADER = ("holder", "incarnation", "epoch", "tenure", "sync", "clean", "checkpointed", "target", "paused")
MEMBER = ("incarnation", "data", "primary", "seal", "upstream_epoch")


class Hints:
    """Told of every change by the store's watching thread; asked by the agent."""

    def __init__(self, root: str, now_s: Callable[[], float]) -> None:
        self._root, self._now_s = root, now_s
        self._last: dict[str, object] = {}
        self._arrived: dict[int, float] = {}

    def is_heartbeat(self, key: str, value: bytes, revision: int) -> bool:
        """True when nothing but the beat (and positions) has changed since the last time. Never raises."""
        name = key.removeprefix(self._root)
        if name == "leader":
            self._arrived[revision] = self._now_s()
            while len(self._arrived) > KEPT:
                del self._arrived[min(self._arrived)]
        fields = LEADER if name == "leader" else MEMBER if name.startswith("members/") else ()
        try:
            body = json.loads(value)
            essence = [_essence(body.get(f)) for f in fields]
        except (ValueError, AttributeError, RecursionError):
            return False
        same = bool(fields) and self._last.get(name) == essence
        self._last[name] = essence
        return same

    def first_seen_s(self, revision: int) -> float | None:
        """When the leader key's revision arrived here; None when it was not heard of."""
        return self._arrived.get(revision)


def _essence(value: object) -> object:
    """Of a pause all but what is left of it, which goes down with every beat."""
    return {k: v for k, v in value.items() if k != "left_s"} if isinstance(value, dict) else value
