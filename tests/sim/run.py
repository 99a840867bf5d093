"""Runs of the simulator: `python -m tests.sim.run --seeds 100`, `--seed 7 --trace`, `--bug NAME`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.sim.bugs import BUGS, planted
from tests.sim.cluster import Cluster
from tests.sim.faults import Faults
from tests.sim.plan import DURABILITIES, FAULTS_S, FOLLOW, KINDS, Plan, draw, parse
from tests.sim.quick import quick
from tests.sim.shrink import Shrinker

BACK_S = 15.0  # beyond H, until there is a primary
WHOLE_S = 60.0  # until all others stream from it: a clone that failed is tried again at growing distance
STEADY_S = 3.0  # so long it must be well without a break
QUIET_S = 30.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """failed: (invariant, what), None when all held. simulated_s: how much time passed in the run. rules: of the
    decision table, by which some node decided. plans: how the orders for later ended that were not taken back."""

    plan: Plan
    failed: tuple[str, str] | None
    simulated_s: float
    acks: int
    promotions: int
    faults: int
    fingerprint: str
    tail: tuple[str, ...]
    rules: frozenset[str]
    recovered_s: float
    plans: tuple[str, ...] = ()
    bug: str = ""
    live: bool = True

    def report(self, *flags: str) -> str:
        """What a person needs to go on: the last lines, what broke, how to see it again, and it all made small.

        flags: those of the command that the run was made with.
        """
        assert self.failed is not None
        invariant, what = self.failed
        again = " ".join(("python -m tests.sim.run --seed", str(self.plan.seed), *flags, "--trace"))
        small = f"small, for tests/sim/scenarios (or --plan FILE):\n{self.scenario()}"
        return "\n".join((*self.tail, f"seed {self.plan.seed}: {invariant}: {what}", f"again: {again}", small))

    def scenario(self) -> str:
        """For tests/sim/scenarios: the failing run with as few faults as still break the same invariant."""
        assert self.failed is not None
        invariant, what = self.failed

        def fails(plan: Plan) -> bool:
            failed = play(plan, bug=self.bug, live=self.live).failed
            return failed is not None and failed[0] == invariant

        small = Shrinker(fails).shrink(self.plan, failed_at=self.simulated_s)
        return f"# {invariant}: {what.splitlines()[0]}\n{small.text()}"


def simulate(
    seed: int,
    *,
    bug: str = "",
    kinds: tuple[str, ...] | None = None,
    faults_s: float = FAULTS_S,
    echo: Callable[[str], None] | None = None,
    live: bool = True,
    durability: str = "quorum",
    follow: bool = False,
) -> Verdict:
    """One run, as its seed draws it."""
    if bug:
        kinds, durability = BUGS[bug].kinds, BUGS[bug].durability
    plan = draw(seed, durability=durability, until=faults_s, kinds=kinds, follow=follow)
    return play(plan, bug=bug, echo=echo, live=live)


def play(plan: Plan, *, bug: str = "", echo: Callable[[str], None] | None = None, live: bool = True) -> Verdict:
    """One run: faults for a while, then all is healed and the cluster must come back by itself."""
    with quick(), planted(bug):
        cluster = Cluster(plan.seed, echo=echo, durability=plan.durability, follow=FOLLOW if plan.follow else None)
        world = cluster.world
        faults = Faults(cluster, plan)
        recovered_s = 0.0
        if world.run(plan.until) and live:
            faults.heal()
            recovered_s = _comes_back(cluster)
        verdict = Verdict(
            plan=plan,
            failed=world.failed,
            simulated_s=world.now,
            acks=cluster.checks.acks,
            promotions=cluster.checks.promotions,
            faults=faults.count,
            fingerprint=world.fingerprint,
            tail=tuple(world.tail),
            rules=frozenset(cluster.checks.rules),
            recovered_s=recovered_s,
            plans=tuple(plan.phase for plan in cluster.checks.plans.known.values()),
            bug=bug,
            live=live,
        )
        for node in cluster.nodes.values():
            node.power_off()  # ends every task
    return verdict


def _comes_back(cluster: Cluster) -> float:
    """I11: within H + 15 s writable, within 60 s all others streaming; then no further change. How long it took."""
    world, began = cluster.world, cluster.world.now
    complaint, well_since, writable = "never looked", world.now, False
    while world.now - well_since < STEADY_S and (not complaint or world.now < began + WHOLE_S):
        if not world.run(world.now + 0.25):
            return 0.0
        writable = writable or cluster.primary() is not None
        complaint = cluster.complaint()
        well_since = world.now if complaint else well_since
        if not writable and world.now > began + cluster.h_s + BACK_S:
            break
    took = well_since - began
    if complaint:
        world.fail("I11", f"{took:.1f} s after all was healed: {complaint}")
        return took
    epoch = cluster.checks.leader.epoch if cluster.checks.leader else 0
    if world.run(world.now + QUIET_S):
        complaint = cluster.complaint()
        if complaint and any(node.file.follow for node in cluster.nodes.values()):  # one that goes back to its own
            world.run(world.now + STEADY_S)
            complaint = cluster.complaint()
        leader = cluster.checks.leader
        if leader is None or leader.epoch != epoch:
            world.fail("I11", f"the leader changed within {QUIET_S:.0f} quiet seconds")
        elif complaint:
            world.fail("I11", f"after {QUIET_S:.0f} quiet seconds: {complaint}")
        elif cluster.stuck_order():
            world.fail("I11", f"after {QUIET_S:.0f} quiet seconds: an order of an older epoch was never ended")
    primary = cluster.primary()
    if primary is not None:
        cluster.checks.final(primary)
    return took


def _flags(args: argparse.Namespace) -> list[str]:
    """Those without which the seed would be another run."""
    found = ["--seconds", f"{args.seconds:g}"] if args.seconds != FAULTS_S else []
    found += ["--bug", args.bug] if args.bug else []
    found += ["--durability", args.durability] if args.durability != "quorum" else []
    found += ["--follow"] if args.follow else []
    return found + (["--kinds", args.kinds] if args.kinds else [])


def _plans(args: argparse.Namespace) -> Iterator[Plan]:
    """What is asked for."""
    if args.plan is not None:
        yield parse(args.plan.read_text())
        return
    kinds = tuple(args.kinds.split(",")) if args.kinds else None
    durability = args.durability
    if args.bug:
        kinds, durability = BUGS[args.bug].kinds or kinds, BUGS[args.bug].durability
    for seed in [args.seed] if args.seed is not None else range(args.first, args.first + args.seeds):
        yield draw(seed, durability=durability, until=args.seconds, kinds=kinds, follow=args.follow)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.run", description="seeded runs of the simulator")
    parser.add_argument("--seeds", type=int, default=0, help="so many runs, from --first on")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, help="this run alone")
    parser.add_argument("--bug", default="", choices=("", *BUGS), help="a planted bug")
    parser.add_argument("--trace", action="store_true", help="every line of the trace")
    parser.add_argument("--seconds", type=float, default=FAULTS_S, help="how long faults go on")
    parser.add_argument("--kinds", default="", help=f"these faults, by commas: {', '.join(KINDS)}")
    parser.add_argument("--durability", default="quorum", choices=DURABILITIES)
    parser.add_argument("--follow", action="store_true", help="the last nodes follow standbys")
    parser.add_argument("--plan", type=Path, help="the run that this file describes")
    parser.add_argument("--go-on", action="store_true", help="do not stop at the first failing seed")
    args = parser.parse_args()
    plans = list(_plans(args))
    began, simulated, acks, failed, promotions, slowest = time.process_time(), 0.0, 0, 0, 0, 0.0
    for plan in plans:
        verdict = play(plan, bug=args.bug, echo=print if args.trace else None, live=not args.bug or BUGS[args.bug].live)
        simulated, acks = simulated + verdict.simulated_s, acks + verdict.acks
        promotions, slowest = promotions + verdict.promotions, max(slowest, verdict.recovered_s)
        if verdict.failed:
            failed += 1
            print(verdict.report(*_flags(args)))
            if not args.go_on:
                break
    took = time.process_time() - began
    print(
        f"{len(plans)} runs, {failed} failed; {simulated / 3600:.2f} simulated hours in {took:.1f} s of one"
        f" core ({simulated / max(took, 1e-9):.0f} times as fast); {acks} acknowledgements, {promotions} promotions,"
        f" slowest recovery {slowest:.2f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
