"""The ways to break the protocol that the model knows: each loses an acknowledged commit. One table, nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bug:
    """broken: the rule that does not hold. seed: of a run near which the model finds the loss."""

    broken: str
    seed: int


BUGS = {
    "any_seal": Bug("whoever has sealed may take over; nobody counts seals", 2),
    "one_seal_less": Bug("n - k seals of the voters are taken for cover", 66),
    "ahead_ok": Bug("seals above the own position count too", 14),
    "seal_not_bound": Bug("a seal counts at every revision of the leader key", 149),
    "keep_ack": Bug("a sealed standby goes on receiving and confirming", 1075),
    "drop_early": Bug("the older entries are dropped before the new voters have the WAL", 33),
    "claim_forgets": Bug("a claim does not keep the entries it found", 33),
    "wiped_votes": Bug("voters are counted by node, not by data directory", 14390),
    "unseal_free": Bug("a node follows while its seal names the present revision", 1348),
    "trial_follow": Bug("following is tried: a diverged follower's first reply reports its own position", 570),
    "stale_rule": Bug("a reloaded rule is taken for in force; some process still goes by the old one", 400),
    "names_late": Bug("a promoted node's names are '' for a moment", 570),
    "underreport": Bug("a restarted node seals the start of its segment, not the end of its WAL", 858),
    "seal_leaks": Bug("now and then the walreceiver lives on after the seal", 583),
    "tl_pg": Bug("PostgreSQL chooses the timeline's number: two takers may get the same", 53160),
    "same_id": Bug("a clone keeps the data id that was there before", 581),
    "late_seal_forget": Bug("a fresh agent forgets its predecessor's seal that is still under way", 35340),
}
