"""What is to go wrong in one run, drawn before it begins: a list that can be written down, shortened and run again.

A seed draws which kinds of fault it has (some it has not: a swarm), how many and when. Who is hit and for how long a
fault decides when it strikes, from dice of its own, so that leaving another one out changes as little as can be.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

KINDS = (
    "kill_server",
    "kill_postmaster",
    "kill_agent",
    "kill_guard",
    "kill_young",
    "midway",
    "power",
    "cut_store",
    "cut_nodes",
    "flap",
    "isolate",
    "stop_agent",
    "stall_store",
    "election",
    "unknown",
    "junk",
    "freeze",
    "vm_pause",
    "hang_server",
    "slew",
    "switchover",
    "pause",
    "race",
    "node_order",
    "wipe",
    "clock_jump",
    "delusion",
    "snare",
)
BY_WORD = ("failover", "config", "restart", "chore", "later")  # drawn by no seed: what an operator's word changes
REJOINS = ("kill_server", "kill_postmaster", "kill_rewinder")  # the last one is drawn by no seed
LYING = ("clock_jump", "delusion", "snare")
DURABILITIES = ("quorum", "strict", "async")
FAULTS_S = 85.0
FOLLOW = {"n3": "n2", "n4": "n3"}  # a chain
UNKNOWN = 0.02  # of commits, all the time, where outcomes are unknown


@dataclass(frozen=True, slots=True)
class Fault:
    """One misfortune: when it strikes, of what kind, and its dice."""

    at: float
    kind: str
    dice: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. seed: of the world. until: when faults end. odds: of an unknown outcome at all times.

    core: whether one node that is not needed stays away for ever when all the others are healed. follow: whether the
    last nodes follow standbys (`FOLLOW`).
    """

    seed: int
    faults: tuple[Fault, ...]
    durability: str = "quorum"
    until: float = FAULTS_S
    odds: float = 0.0
    core: bool = False
    follow: bool = False

    @property
    def kinds(self) -> tuple[str, ...]:
        """What strikes at all."""
        return tuple(sorted({f.kind for f in self.faults}))

    def without(self, gone: set[Fault]) -> Plan:
        """The same run, without these."""
        return replace(self, faults=tuple(f for f in self.faults if f not in gone))

    def text(self) -> str:
        """One line for the run and one for each fault: what `parse` reads."""
        head = f"seed {self.seed} durability {self.durability} until {self.until:g} odds {self.odds:g}"
        lines = (f"{f.at:.4f} {f.kind} {f.dice}" for f in self.faults)
        head += f" core {int(self.core)}" + (" follow 1" if self.follow else "")
        return "\n".join((head, *lines)) + "\n"


def draw(
    seed: int,
    *,
    durability: str = "quorum",
    until: float = FAULTS_S,
    kinds: tuple[str, ...] | None = None,
    follow: bool = False,
) -> Plan:
    """The run of a seed. kinds None: as the seed draws them."""
    rng = random.Random(f"plan {seed}")
    drawn = tuple(k for k in KINDS if rng.random() < (0.08 if k in LYING else 0.35)) or (rng.choice(KINDS),)
    drawn = drawn if kinds is None else kinds
    pause = rng.choice((2.0, 5.0, 5.0, 10.0, 20.0))
    core = rng.random() < 0.25
    faults: list[Fault] = []
    now = round(rng.choice((0.5, 6.0, 10.0)) + rng.random(), 4)
    while now < until and drawn:
        faults.append(Fault(now, rng.choice(drawn), rng.getrandbits(24)))
        while rng.random() < 0.15:  # misfortunes come together
            faults.append(Fault(now, rng.choice(drawn), rng.getrandbits(24)))
        now = round(now + rng.expovariate(1.0 / pause), 4)
    return Plan(seed, tuple(faults), durability, until, UNKNOWN if "unknown" in drawn else 0.0, core, follow)


def parse(text: str) -> Plan:
    """What `Plan.text` wrote; lines that begin with # are for people. Raises ValueError."""
    head, *lines = [line.split() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    word = dict(zip(head[::2], head[1::2], strict=True))
    known = {*KINDS, *BY_WORD, *REJOINS}
    faults = tuple(Fault(float(at), kind, int(dice)) for at, kind, dice in lines)
    strange = {f.kind for f in faults} - known
    if strange or word["durability"] not in DURABILITIES:
        raise ValueError(f"not known: {word['durability']} {sorted(strange)}")
    return Plan(
        int(word["seed"]),
        faults,
        word["durability"],
        float(word["until"]),
        float(word["odds"]),
        word["core"] == "1",
        word.get("follow") == "1",
    )
