"""How soon an agent looks again when nothing wakes it. May import core."""

from __future__ import annotations

from pgha.core.decide import Action, Rule
from pgha.core.observation import Observation
from pgha.core.pause import silent_after_s

POLL_S = 1.0
HOT_S = 0.01
STOPPING_S = 0.004  # a switchover's outage has begun: it ends with what a standby tells next
SOON_S = 0.1
_HOT = {
    Rule.R340_PROMOTE, Rule.R350_ANNOUNCE, Rule.R410_PREPARE, Rule.R430_VOTERS, Rule.R530_WAIT_START,
    Rule.R160_WAIT_STOP, Rule.R650_YIELD, Rule.R655_BRAKE, Rule.R120_FENCE_ORPHANS, Rule.R595_WAIT_PATH,
}  # fmt: skip
_CALM = {
    Rule.R380_PAUSED_FORMER, Rule.R390_PAUSED, Rule.R615_PAUSED_STANDBY, Rule.R449_BEAR, Rule.R450_HOLD,
    Rule.R540_FOLLOWING, Rule.R240_NO_LEADER_KEY, Rule.R610_NO_DATA,
}  # fmt: skip


def pace(obs: Observation, rule: Rule, *, repeats: int, soon: bool) -> float:
    """Seconds until the next look without a hint; what goes on and on is looked at less often.

    repeats: rounds that have come to this rule in a row. soon: something that was just begun is waited for.
    """
    if rule in _HOT:
        return HOT_S if repeats < 100 else SOON_S
    if rule not in _CALM:
        return 0.0 if rule.action is not Action.NONE and repeats < 3 else SOON_S
    if obs.store and obs.store.order and obs.store.order.phase == "stopping":
        return STOPPING_S
    if soon:
        return SOON_S
    leader = obs.store.leader if obs.store else None
    left_s = obs.key_seen_s + (silent_after_s(obs, leader) if leader else obs.timing.h_s) - obs.now_s
    if rule is Rule.R540_FOLLOWING:
        return min(POLL_S, left_s) if left_s > 0 else HOT_S
    return POLL_S
