"""The simulator: correct code breaks nothing, every planted bug is seen by its own invariant, and a seed is a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.bugs import BUGS, LOSING
from tests.sim.plan import REJOINS
from tests.sim.run import Verdict, simulate

CHECKOUT = Path(__file__).resolve().parents[2]
SEEDS, PARTS = 60, 6
OTHER_SEEDS = 15
MANY_SEEDS = 60
CHANGING = ("config", "config", "config", "power", "kill_server", "isolate", "cut_nodes", "stop_agent", "freeze")
BUG_SEEDS, BUG_FAULTS_S = 60, 40.0


@pytest.mark.parametrize("part", range(PARTS))
def test_nothing_is_lost_and_the_cluster_comes_back_whatever_goes_wrong(part: int) -> None:
    for seed in range(part, SEEDS, PARTS):
        verdict = simulate(seed)
        assert verdict.failed is None, "\n" + verdict.report()
        assert verdict.acks > 100, f"seed {seed}: hardly anything was written"


@pytest.mark.parametrize("durability", ["strict", "async"])
def test_strict_and_async_keep_what_they_say(durability: str) -> None:
    for seed in range(OTHER_SEEDS):
        verdict = simulate(seed, durability=durability)
        assert verdict.failed is None, "\n" + verdict.report("--durability", durability)
        assert verdict.acks > 100, f"seed {seed}: hardly anything was written"


def test_what_is_promised_may_change_while_everything_goes_wrong() -> None:
    for seed in range(OTHER_SEEDS):
        verdict = simulate(seed, kinds=CHANGING)
        assert verdict.failed is None, "\n" + verdict.report("--kinds", ",".join(CHANGING))


def test_an_operators_failover_loses_what_it_names_and_nothing_else() -> None:
    claims: list[str] = []
    for seed in range(MANY_SEEDS):  # orders are rare: until one is carried out
        if seed >= OTHER_SEEDS and any("R680_CLAIM_ORDERED" in line for line in claims):
            break
        verdict = simulate(seed, kinds=LOSING, echo=claims.append)
        assert verdict.failed is None, "\n" + verdict.report("--kinds", ",".join(LOSING))
    assert any("R680_CLAIM_ORDERED" in line for line in claims), "no order was ever carried out"


def test_a_rewind_whose_agent_is_killed_breaks_no_promise() -> None:
    """Liveness apart: servers that crash so often wait for their next start."""
    for seed in range(20):
        verdict = simulate(seed, kinds=REJOINS, live=False)
        assert verdict.failed is None, "\n" + verdict.report()


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_seen_by_the_invariant_of_its_layer(bug: str) -> None:
    seen: list[str] = []
    for seed in range(BUG_SEEDS):
        verdict = simulate(seed, bug=bug, faults_s=BUG_FAULTS_S, live=BUGS[bug].live)
        if verdict.failed is None:
            continue
        seen.append(f"seed {seed}: {verdict.failed[0]}: {verdict.failed[1]}")
        if verdict.failed[0] in BUGS[bug].seen_by:
            return
    pytest.fail(f"{BUGS[bug].broken}: not seen by {BUGS[bug].seen_by} in {BUG_SEEDS} seeds; others: {seen}")


def test_a_seed_gives_the_same_run_again_also_in_another_process_with_another_hash_seed() -> None:
    here = simulate(7, faults_s=20.0, live=False)
    assert _twice(here) == here.fingerprint
    assert simulate(7, faults_s=20.0, live=False).fingerprint == here.fingerprint
    assert simulate(8, faults_s=20.0, live=False).fingerprint != here.fingerprint


def _twice(here: Verdict) -> str:
    source = (
        "from tests.sim.run import simulate;"
        f"print(simulate({here.plan.seed}, faults_s=20.0, live=False).fingerprint, end='')"
    )
    env = {**os.environ, "PYTHONHASHSEED": "4711"}
    argv = [sys.executable, "-c", source]
    ran = subprocess.run(argv, cwd=CHECKOUT, env=env, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_a_failing_seed_says_how_to_see_it_again() -> None:
    runs = (simulate(seed, bug="names_late", live=False) for seed in range(BUG_SEEDS))
    verdict = next(v for v in runs if v.failed is not None)
    text = verdict.report("--bug", "names_late")
    assert f"python -m tests.sim.run --seed {verdict.plan.seed} --bug names_late --trace" in text
    assert len(text.splitlines()) >= 20
