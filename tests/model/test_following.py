"""Who streams from a standby loses no commit, whatever becomes of that standby; and the model can still fail."""

from __future__ import annotations

import pytest

from tests.model.bugs import BUGS
from tests.model.following import Cascade
from tests.model.protocol_model import Loss

RUNS = 2000
BUDGET = 4000


def test_with_nodes_that_stream_from_standbys_no_acknowledged_commit_is_lost() -> None:
    seen = {"acks": 0, "claims": 0, "promotions": 0, "cascades": 0}
    for seed in range(RUNS):
        world = Cascade(seed)
        try:
            world.run()
        except Loss as loss:
            pytest.fail(f"seed {seed}: {loss}")
        for what in seen:
            seen[what] += world.stats[what]
    assert min(seen.values()) > 200, f"too little happened to prove anything: {seen}"


@pytest.mark.parametrize("bug", ["any_seal", "ahead_ok", "drop_early", "trial_follow"])
def test_a_broken_rule_loses_a_commit_here_too(bug: str) -> None:
    for seed in range(BUDGET):
        try:
            Cascade(seed, bug).run()
        except Loss:
            return
    pytest.fail(f"{bug} ({BUGS[bug].broken}): not found in {BUDGET} runs")
