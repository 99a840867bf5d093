"""Looks at the store under which each rule is what a node does, as its agent would have published it.

Built on `cases`: n1 holds epoch 3, n2 and n3 vote. A node's record names its rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pgha.core.decide import Rule
from pgha.core.model import Copy, Event, Leader, Member, Order, Position, Seal, Settings, Tenure
from pgha.core.model import Rule as SyncRule
from pgha.ops.status import SILENT_S, Seen
from pgha.ports import StoreHealth
from pgha.records import Problem
from tests.ops import cases
from tests.ops.cases import LSN, NOW, copy, order

REV = 7  # of the leader key, in `cases.seen`
END = Position(3, LSN)
SILENT = NOW - SILENT_S - 5.0
USUAL = {"n1": Rule.R450_HOLD, "n2": Rule.R540_FOLLOWING, "n3": Rule.R540_FOLLOWING}
EVENT = Event(3, "n1", "n2", "failover", "n2 was silent", END)


def key(**changes: object) -> Leader:
    """The leader key, n1's in its present life."""
    return cases.leader(**({"incarnation": "inc-n1"} | changes))


FREE = key(tenure=Tenure.RELEASED, reason="the server crashed")
CLAIMED = key(tenure=Tenure.CLAIMED)
PAUSED = key(paused=cases.PAUSE)
TO_PAUSE = order(kind="pause", target="", reason="new kernel", for_s=600.0)


def told(name: str, rule: Rule | None = None, **changes: object) -> Member:
    """A node that says which rule it follows; the usual one unless told otherwise."""
    return cases.member(name, **({"rule": (rule or USUAL[name]).name} | changes))


def down(name: str, rule: Rule, state: str = "stopped", **changes: object) -> Member:
    """It is not writable and follows nobody."""
    return told(name, rule, state=state, primary=False, standbys={}, **({"upstream_epoch": 0} | changes))


def sealed(name: str, rule: Rule, lsn: int = LSN, **changes: object) -> Member:
    """Cut off, measured, and its seal published at the key's present revision."""
    here = Position(3, lsn)
    return down(name, rule, "sealed", position=here, **({"seal": Seal(REV, copy(name), here)} | changes))


def look(*members: Member, leader: Leader | None = None, asked: Order | None = None, recorded: bool = True) -> Seen:
    """A look at nodes that say what they do; `members` replace those of the same name."""
    there = {name: told(name) for name in USUAL} | {m.node: m for m in members}
    seen = cases.seen(*there.values(), key=leader or key(), asked=asked)
    return replace(seen, records=replace(seen.records, history={3: EVENT} if recorded else {}))


def failover(**changes: object) -> Order:
    """n2 is to take over without the commits that n1 and n3 may have."""
    return order(**({"kind": "failover", "revision": REV, "gives_up": FREE.sync} | changes))


def without_key(seen: Seen) -> Seen:
    """The same look, the leader key gone."""
    return replace(seen, records=replace(seen.records, leader=None, revisions={"cluster": 1}))


def with_chore(seen: Seen, node: str, kind: str, **changes: object) -> Seen:
    """The same look, with an order for this node alone."""
    asked = order(kind=kind, source=node, target="", **changes)
    return replace(seen, records=replace(seen.records, requests={node: asked}))


def _n1(rule: Rule, **changes: object) -> Seen:
    return look(told("n1", rule, **changes))


_NAMED = key(forks=((2, LSN - 100),))
_FORKED = replace(_NAMED, sync=(SyncRule(copy("n1"), frozenset({copy("n3")}), 1),))
_BEYOND = Position(2, LSN)

# rule: (node that follows it, the look)
BY_RULE: Mapping[Rule, tuple[str, Seen]] = {
    Rule.R100_FENCE_NO_RIGHT: ("n2", look(told("n2", Rule.R100_FENCE_NO_RIGHT, primary=True, state="primary"))),
    Rule.R110_FENCE_EXPIRED: ("n1", _n1(Rule.R110_FENCE_EXPIRED)),
    Rule.R120_FENCE_ORPHANS: ("n1", look(down("n1", Rule.R120_FENCE_ORPHANS))),
    Rule.R130_FENCE_HUNG: ("n1", _n1(Rule.R130_FENCE_HUNG)),
    Rule.R140_FENCE_SLOW_STOP: ("n1", look(down("n1", Rule.R140_FENCE_SLOW_STOP, "stopping"))),
    Rule.R150_STOP_LATE: ("n1", _n1(Rule.R150_STOP_LATE)),
    Rule.R160_WAIT_STOP: ("n1", look(down("n1", Rule.R160_WAIT_STOP, "stopping"))),
    Rule.R170_FENCE_SLOW_START: ("n2", look(down("n2", Rule.R170_FENCE_SLOW_START, "starting"))),
    Rule.R200_FOREIGN: ("n2", look(told("n2", Rule.R200_FOREIGN))),
    Rule.R210_RESTORED: ("n2", look(told("n2", Rule.R210_RESTORED))),
    Rule.R220_STORE_SILENT: ("n2", look(told("n2", Rule.R220_STORE_SILENT))),
    Rule.R225_START_SILENT: ("n1", look(down("n1", Rule.R225_START_SILENT))),
    Rule.R230_BUSY: ("n2", look(down("n2", Rule.R230_BUSY, "cloning"))),
    Rule.R240_NO_LEADER_KEY: ("n2", without_key(look(told("n2", Rule.R240_NO_LEADER_KEY)))),
    Rule.R300_RELEASE_DOWN: ("n1", look(down("n1", Rule.R300_RELEASE_DOWN))),
    Rule.R310_FENCE_NOT_PRIMARY: ("n1", look(down("n1", Rule.R310_FENCE_NOT_PRIMARY, "waiting"))),
    Rule.R320_RELEASE_FORMER: ("n1", look(down("n1", Rule.R320_RELEASE_FORMER, incarnation="new"))),
    Rule.R325_FENCE_FORMER: ("n1", look(down("n1", Rule.R325_FENCE_FORMER, "starting", incarnation="new"))),
    Rule.R330_FENCE_UNPROMOTED: ("n1", look(down("n1", Rule.R330_FENCE_UNPROMOTED, "waiting"), leader=CLAIMED)),
    Rule.R335_MEASURE_CLAIMED: ("n1", look(down("n1", Rule.R335_MEASURE_CLAIMED, "following"), leader=CLAIMED)),
    Rule.R340_PROMOTE: ("n1", look(down("n1", Rule.R340_PROMOTE, "promoting"), leader=CLAIMED)),
    Rule.R350_ANNOUNCE: ("n1", look(told("n1", Rule.R350_ANNOUNCE), leader=CLAIMED)),
    Rule.R360_WAIT_HOLDER_START: ("n1", look(down("n1", Rule.R360_WAIT_HOLDER_START, "starting"))),
    Rule.R370_LIFT: ("n1", look(told("n1", Rule.R370_LIFT), leader=PAUSED)),
    Rule.R380_PAUSED_FORMER: ("n1", look(down("n1", Rule.R380_PAUSED_FORMER, incarnation="new"), leader=PAUSED)),
    Rule.R390_PAUSED: ("n1", look(told("n1", Rule.R390_PAUSED), leader=PAUSED)),
    Rule.R400_HAND_OVER: ("n1", look(told("n1", Rule.R400_HAND_OVER), asked=order(phase="accepted"))),
    Rule.R410_PREPARE: ("n1", look(told("n1", Rule.R410_PREPARE), asked=order())),
    Rule.R415_PAUSE: ("n1", look(told("n1", Rule.R415_PAUSE), asked=TO_PAUSE)),
    Rule.R420_REFUSE: ("n1", look(told("n1", Rule.R420_REFUSE), asked=order())),
    Rule.R430_VOTERS: ("n1", _n1(Rule.R430_VOTERS)),
    Rule.R440_RECORD: ("n1", look(told("n1", Rule.R440_RECORD), recorded=False)),
    Rule.R445_CONFIGURE: ("n1", _n1(Rule.R445_CONFIGURE)),
    Rule.R447_ANSWER: ("n1", with_chore(_n1(Rule.R447_ANSWER), "n1", "reinit")),
    Rule.R449_BEAR: ("n1", look(told("n1", Rule.R449_BEAR), leader=key(unwell=True))),
    Rule.R450_HOLD: ("n1", look()),
    Rule.R500_CLONE_EMPTY: ("n2", look(down("n2", Rule.R500_CLONE_EMPTY, data=""))),
    Rule.R510_START: ("n2", look(down("n2", Rule.R510_START))),
    Rule.R520_LEAVE_MOMENT: ("n2", look(down("n2", Rule.R520_LEAVE_MOMENT))),
    Rule.R525_FENCE_INCOMPLETE: ("n2", look(down("n2", Rule.R525_FENCE_INCOMPLETE, "starting"))),
    Rule.R530_WAIT_START: ("n2", look(down("n2", Rule.R530_WAIT_START, "starting"))),
    Rule.R540_FOLLOWING: ("n2", look()),
    Rule.R541_CONFIGURE: ("n2", look(told("n2", Rule.R541_CONFIGURE))),
    Rule.R543_ANSWER: ("n2", with_chore(look(told("n2", Rule.R543_ANSWER)), "n2", "rewind")),
    Rule.R545_RESTART: ("n2", with_chore(look(told("n2", Rule.R545_RESTART)), "n2", "restart")),
    Rule.R547_REINIT: ("n2", with_chore(look(told("n2", Rule.R547_REINIT), leader=_FORKED), "n2", "reinit")),
    Rule.R550_UNFOLLOW: ("n2", look(told("n2", Rule.R550_UNFOLLOW, upstream_epoch=2))),
    Rule.R560_SEALED_UNTIL_MOVE: ("n2", look(sealed("n2", Rule.R560_SEALED_UNTIL_MOVE))),
    Rule.R565_UNTANGLE: ("n2", look(down("n2", Rule.R565_UNTANGLE, "waiting"))),
    Rule.R570_FOLLOW: ("n2", look(down("n2", Rule.R570_FOLLOW, "waiting"))),
    Rule.R580_REWIND: ("n2", look(down("n2", Rule.R580_REWIND, "waiting", position=_BEYOND), leader=_FORKED)),
    Rule.R590_CLONE: ("n2", look(down("n2", Rule.R590_CLONE, "waiting", position=_BEYOND), leader=_FORKED)),
    Rule.R595_WAIT_PATH: ("n2", look(down("n2", Rule.R595_WAIT_PATH, "waiting", position=Position(3, LSN + 1)))),
    Rule.R597_KEEP: ("n2", look(down("n2", Rule.R597_KEEP, "waiting", position=_BEYOND), leader=_NAMED)),
    Rule.R600_WAIT_CLAIMANT: (
        "n2",
        look(down("n2", Rule.R600_WAIT_CLAIMANT, "waiting", position=_BEYOND), leader=CLAIMED),
    ),
    Rule.R610_NO_DATA: ("n2", look(down("n2", Rule.R610_NO_DATA, data=""), leader=FREE)),
    Rule.R615_PAUSED_STANDBY: ("n2", look(down("n2", Rule.R615_PAUSED_STANDBY), leader=PAUSED)),
    Rule.R620_SEAL: ("n2", look(told("n2", Rule.R620_SEAL), leader=FREE)),
    Rule.R630_PUBLISH: ("n2", look(down("n2", Rule.R630_PUBLISH, "sealed"), leader=FREE)),
    Rule.R640_WAIT_SEALS: ("n2", look(sealed("n2", Rule.R640_WAIT_SEALS), leader=FREE)),
    Rule.R650_YIELD: (
        "n2",
        look(sealed("n2", Rule.R650_YIELD), sealed("n3", Rule.R670_CLAIM, priority=1), leader=FREE),
    ),
    Rule.R655_BRAKE: (
        "n2",
        look(sealed("n2", Rule.R655_BRAKE), sealed("n3", Rule.R650_YIELD), leader=replace(FREE, clean=False)),
    ),
    Rule.R660_BARRED: ("n2", look(sealed("n2", Rule.R660_BARRED, nofailover=True), leader=FREE)),
    Rule.R670_CLAIM: ("n2", look(sealed("n2", Rule.R670_CLAIM), sealed("n3", Rule.R650_YIELD), leader=FREE)),
    Rule.R680_CLAIM_ORDERED: (
        "n2",
        look(sealed("n2", Rule.R680_CLAIM_ORDERED), leader=FREE, asked=failover()),
    ),
}


def _under(durability: str, seen: Seen) -> Seen:
    """The same look with another promise."""
    settings = replace(seen.records.settings or Settings(), durability=durability)
    return replace(seen, records=replace(seen.records, settings=settings))


HELD_SILENT = told("n1", written_at=SILENT)  # it holds the key and is gone
RECLONED = Seal(REV, Copy("n3", "fresh"), END)
ONLY_N2 = {copy("n2").standby_name(3): ("streaming", LSN)}
PAGES: Mapping[str, Seen] = {
    "healthy": look(),
    "standby-down": look(told("n1", standbys=ONLY_N2), told("n3", written_at=SILENT)),
    "standby-gone-dropped": look(
        told("n1", standbys=ONLY_N2),
        told("n3", written_at=SILENT),
        leader=cases.leader("n2", incarnation="inc-n1"),
    ),
    "released-seals-missing": look(
        down("n1", Rule.R300_RELEASE_DOWN, written_at=SILENT),
        sealed("n2", Rule.R640_WAIT_SEALS, LSN - 4096),
        told("n3", written_at=SILENT),
        leader=FREE,
    ),
    "holder-silent-following": look(HELD_SILENT),
    "holder-just-silent": look(
        told("n1", written_at=NOW - 7.0), sealed("n2", Rule.R640_WAIT_SEALS), told("n3", written_at=NOW - 7.0)
    ),
    "holder-silent-sealing": look(HELD_SILENT, sealed("n2", Rule.R640_WAIT_SEALS), told("n3", Rule.R620_SEAL)),
    "two-of-three-down": look(HELD_SILENT, sealed("n2", Rule.R640_WAIT_SEALS), told("n3", written_at=SILENT)),
    "voter-emptied": look(HELD_SILENT, sealed("n2", Rule.R640_WAIT_SEALS), down("n3", Rule.R610_NO_DATA, data="")),
    "voter-recloned": look(
        HELD_SILENT, sealed("n2", Rule.R640_WAIT_SEALS), sealed("n3", Rule.R640_WAIT_SEALS, data="fresh", seal=RECLONED)
    ),
    "commits-once-holder-gone": look(
        HELD_SILENT,
        sealed("n2", Rule.R640_WAIT_SEALS),
        sealed("n3", Rule.R640_WAIT_SEALS),
        leader=key(sync=(replace(key().sync[0], voters=frozenset(), k=0),)),
    ),
    "all-gone": look(HELD_SILENT, told("n2", written_at=SILENT), told("n3", written_at=SILENT)),
    "key-missing": without_key(
        look(down("n1", Rule.R240_NO_LEADER_KEY), *(told(n, Rule.R240_NO_LEADER_KEY) for n in ("n2", "n3")))
    ),
    "restored": look(*(told(n, Rule.R210_RESTORED) for n in ("n1", "n2", "n3"))),
    "foreign": look(told("n3", Rule.R200_FOREIGN)),
    "paused": look(told("n1", Rule.R390_PAUSED), leader=PAUSED),
    "paused-without-primary": look(down("n1", Rule.R390_PAUSED), told("n2", state="following"), leader=PAUSED),
    "paused-holder-gone": look(HELD_SILENT, leader=PAUSED),
    "order": look(told("n1", Rule.R410_PREPARE), asked=order(phase="accepted")),
    "cloning": look(told("n1", standbys=ONLY_N2), down("n3", Rule.R230_BUSY, "cloning", problem="copying 41 of 77 MB")),
    "rewinding": look(
        told("n1", standbys=ONLY_N2),
        down("n3", Rule.R230_BUSY, "rewinding"),
        leader=cases.leader("n2", incarnation="inc-n1"),
    ),
    "barred": look(
        HELD_SILENT,
        sealed("n2", Rule.R660_BARRED, nofailover=True),
        sealed("n3", Rule.R660_BARRED, nofailover=True),
    ),
    "async-too-far-behind": _under(
        "async",
        look(
            HELD_SILENT,
            sealed("n2", Rule.R660_BARRED, LSN - (20 << 20)),
            sealed("n3", Rule.R660_BARRED, LSN - (30 << 20)),
            leader=key(sync=()),
        ),
    ),
    "strict-waits": _under(
        "strict", look(told("n1", standbys={}), *(told(n, written_at=SILENT) for n in ("n2", "n3")))
    ),
    "store-down": replace(look(), down="no answer within 2 s", health=StoreHealth(False, (cases.MUTE,) * 3)),
    "own-word": look(told("n3", Rule.R520_LEAVE_MOMENT, state="streaming")),
    "newer-version": look(replace(told("n3"), rule="R999_DREAM")),
    "two-primaries": look(told("n2", Rule.R100_FENCE_NO_RIGHT, primary=True, state="primary")),
    "never-reported": cases.without(look(), "n3"),
    "unreadable-key": replace(
        without_key(look()),
        records=replace(
            without_key(look()).records,
            revisions={"leader": 9, "cluster": 1},
            problems=(Problem("leader", "not a JSON object"),),
        ),
    ),
}
