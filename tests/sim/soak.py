"""Long runs: `python -m tests.sim.soak --hours 50 --seed 1000 --keep DIR`. Fresh seeds until so much is simulated.

A failing seed is told with its last lines and its shrunk scenario, which is also written to DIR; then it goes on.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from pathlib import Path

from pgha.core.decide import Rule
from tests.sim.plan import DURABILITIES, KINDS, Plan, draw
from tests.sim.run import Verdict, play

CHANGING = (*KINDS, "config", "config", "failover", "later", "later")
TOLD_S = 60.0


def planned(seed: int) -> Plan:
    """Mostly what the tests draw; also the other promises, and promises that change on the way."""
    rng = random.Random(f"soak {seed}")
    durability = rng.choices((*DURABILITIES, ""), (70, 10, 10, 10))[0]
    if durability:
        return draw(seed, durability=durability)
    return draw(seed, kinds=tuple(rng.sample(CHANGING, 8)))


class Tally:
    """What a soak has seen."""

    def __init__(self) -> None:
        self.began, self.cpu = time.monotonic(), time.process_time()
        self.seeds, self.failed = 0, 0
        self.simulated_s = 0.0
        self.faults, self.acks, self.promotions = 0, 0, 0
        self.rules: Counter[str] = Counter()

    def add(self, verdict: Verdict) -> None:
        """One run more."""
        self.seeds += 1
        self.failed += verdict.failed is not None
        self.simulated_s += verdict.simulated_s
        self.faults, self.acks = self.faults + verdict.faults, self.acks + verdict.acks
        self.promotions += verdict.promotions
        self.rules.update(verdict.rules)

    def line(self) -> str:
        """In figures."""
        hours, cpu_h = self.simulated_s / 3600, (time.process_time() - self.cpu) / 3600
        return (
            f"{self.seeds} seeds, {self.failed} failed; {hours:.2f} simulated hours, {hours / max(cpu_h, 1e-9):.0f} an"
            f" hour of one core; for each hour {self.faults / max(hours, 1e-9):.0f} faults and"
            f" {self.promotions / max(hours, 1e-9):.0f} changes of leader; {self.acks} acknowledgements"
        )

    def unseen(self) -> str:
        """Rules by which no node decided."""
        return ", ".join(rule.name for rule in Rule if rule.name not in self.rules) or "none"


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.soak", description="the simulator, for hours")
    parser.add_argument("--hours", type=float, default=1.0, help="simulated ones")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the first one")
    parser.add_argument("--keep", type=Path, help="a directory for the scenarios of failing seeds")
    args = parser.parse_args()
    tally, seed, told = Tally(), args.seed, time.monotonic()
    while tally.simulated_s < args.hours * 3600:
        verdict = play(planned(seed))
        tally.add(verdict)
        if verdict.failed is not None:
            print(verdict.report(), flush=True)
            if args.keep is not None:
                args.keep.mkdir(parents=True, exist_ok=True)
                (args.keep / f"soak-{seed}.txt").write_text(verdict.scenario())
        if time.monotonic() - told > TOLD_S:
            told = time.monotonic()
            print(f"seed {seed}: {tally.line()}", flush=True)
        seed += 1
    print(f"seeds {args.seed} to {seed - 1}: {tally.line()}")
    print(f"rules never decided by: {tally.unseen()}")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
