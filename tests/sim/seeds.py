"""The seeds that every run of the tests plays: in groups, each once, whichever test asks for it first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from tests.sim.bugs import LOSING
from tests.sim.plan import REJOINS
from tests.sim.run import Verdict, simulate

CHANGING = ("config", "config", "config", "power", "kill_server", "isolate", "cut_nodes", "stop_agent", "freeze")

ORDERS = (
    "restart",
    "chore",
    "chore",
    "switchover",
    "kill_agent",
    "kill_server",
    "kill_guard",
    "cut_nodes",
    "stop_agent",
)

PLANNED = (
    *("later", "later", "later", "later", "node_order", "switchover", "pause", "kill_server", "kill_agent"),
    *("power", "midway", "stop_agent", "vm_pause", "isolate", "unknown"),
)


@dataclass(frozen=True, slots=True)
class Group:
    """count: seeds from 0 on. flags: of `python -m tests.sim.run`, for the same runs."""

    name: str
    count: int
    kinds: tuple[str, ...] | None = None
    durability: str = "quorum"
    live: bool = True
    follow: bool = False

    @property
    def seeds(self) -> range:
        """All of them."""
        return range(self.count)

    @property
    def flags(self) -> tuple[str, ...]:
        """Without them the seed would be another run."""
        flags = ("--durability", self.durability) if self.durability != "quorum" else ()
        return (
            (*flags, *(("--follow",) if self.follow else ()), "--kinds", ",".join(self.kinds)) if self.kinds else flags
        )


DRAWN = Group("drawn", 60)
STRICT, ASYNC = Group("strict", 15, durability="strict"), Group("async", 15, durability="async")
CHANGED = Group("changed", 15, CHANGING)
LOST = Group("lost", 15, LOSING)
REJOINED = Group("rejoined", 20, REJOINS, live=False)  # liveness apart: who crashes so often waits for its next start
ORDERED = Group("ordered", 15, ORDERS)
LATER = Group("later", 15, PLANNED)
FOLLOWED = Group("followed", 15, follow=True)
GROUPS = (DRAWN, STRICT, ASYNC, CHANGED, LOST, REJOINED, ORDERED, LATER, FOLLOWED)


def spread() -> Iterator[tuple[Group, int]]:
    """All of them, the groups by turns."""
    for seed in range(max(group.count for group in GROUPS)):
        yield from ((group, seed) for group in GROUPS if seed < group.count)


@lru_cache(maxsize=512)
def verdict_of(group: Group, seed: int) -> Verdict:
    """Played once."""
    return simulate(seed, kinds=group.kinds, durability=group.durability, live=group.live, follow=group.follow)
