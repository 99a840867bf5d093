"""The protocol loses nothing in thousands of hostile runs, and each way to break it is found: the model can fail."""

from __future__ import annotations

import sys

import pytest

from tests.model.bugs import BUGS
from tests.model.protocol_model import Loss, World, main

RUNS = 2500  # of each block; the seeds go on where the last block ended
BUDGET = 600  # runs to find a bug again, from the seed in its table on


@pytest.mark.parametrize("block", range(4))
def test_the_protocol_loses_no_acknowledged_commit(block: int) -> None:
    seen = {"acks": 0, "claims": 0, "take-backs": 0, "promotions": 0, "changes": 0, "clones": 0}
    for seed in range(block * RUNS, (block + 1) * RUNS):
        world = World(seed)
        try:
            world.run()
        except Loss as loss:
            pytest.fail(f"seed {seed}: {loss}")
        for what in seen:
            seen[what] += world.stats[what]
    assert min(seen.values()) > 200, f"too little happened to prove anything: {seen}"


@pytest.mark.parametrize("bug", BUGS)
def test_every_broken_rule_loses_a_commit(bug: str) -> None:
    first = BUGS[bug].seed
    for seed in range(first, first + BUDGET):
        try:
            World(seed, bug).run()
        except Loss as loss:
            sys.stdout.write(f"{bug}: seed {seed}: {loss}\n")
            return
    pytest.fail(f"{bug} ({BUGS[bug].broken}): not found in {BUDGET} runs from seed {first} on")


def test_equal_seeds_give_equal_runs() -> None:
    one, two = World(77), World(77)
    one.run()
    two.run()
    assert (one.stats, one.key, one.acked) == (two.stats, two.key, two.acked)


def test_by_hand_it_says_what_it_saw(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["0.05"]) == 0
    assert "no acknowledged commit lost" in capsys.readouterr().out
    assert main(["60", "any_seal"]) == 1
    assert "LOSS" in capsys.readouterr().out
