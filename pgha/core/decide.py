"""Choose: every situation has exactly one rule, ordered safety before duty before comfort.

Pure and total. `reasons` computes why by calling the same function (a reason is an axis that, flipped, would change
the rule), so an explanation can't differ from the decision. Sources: design sections 5 to 7, redteam.md findings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache

from pgha.core.situation import AXES, Bid, Budget, Duty, Holder, Path, Server, Situation, Store


class Action(Enum):
    """What may be done: each has exactly one function in watchdog/act.py."""

    NONE = "nothing"
    FENCE = "kill the whole process tree"
    STOP = "stop the server fast"
    START = "start the server as a sealed standby"
    RELEASE = "release the leader key"
    SEAL = "cut the server off, measure its position, publish the seal"
    UNFOLLOW = "cut the server off and measure its position"
    PUBLISH = "publish the seal"
    CLAIM = "claim the leader key"
    PROMOTE = "promote the server"
    ANNOUNCE = "say that the server is writable"
    FOLLOW = "follow the holder"
    UNTANGLE = "stop the server, and start it without the history of timelines that were given up"
    REWIND = "rewind the data directory"
    CLONE = "clone the holder"
    VOTERS = "change the voters by one step"
    RECORD = "write history and do the first checkpoint"
    REFUSE = "refuse the order"
    PAUSE = "pause"
    LIFT = "lift the pause"
    PREPARE = "checkpoint before the switchover"
    HAND_OVER = "stop, and release to the target"
    CONFIGURE = "write the settings into the server's files"
    RESTART = "stop the server, to be started again"
    REINIT = "clone anew, as ordered"
    ANSWER = "answer the order for this node"


class Rule(Enum):
    """Stable id, the action, and the sentence an operator reads."""

    R100_FENCE_NO_RIGHT = (Action.FENCE, "writable without holding the leader key: every process is killed")
    R110_FENCE_EXPIRED = (Action.FENCE, "the lease has run out: every process is killed")
    R120_FENCE_ORPHANS = (Action.FENCE, "the postmaster is gone, its other processes are killed")
    R130_FENCE_HUNG = (Action.FENCE, "the server does not answer: every process is killed")
    R140_FENCE_SLOW_STOP = (Action.FENCE, "the server does not stop in time: every process is killed")
    R150_STOP_LATE = (Action.STOP, "the leader key could not be renewed: the server stops before its time runs out")
    R160_WAIT_STOP = (Action.NONE, "the server stops")
    R170_FENCE_SLOW_START = (Action.FENCE, "the server does not come up in time: every process is killed")
    R200_FOREIGN = (Action.NONE, "store and data directory belong to different clusters: nothing is touched")
    R210_RESTORED = (Action.NONE, "the store shows less than was seen before (restored?): the operator decides")
    R220_STORE_SILENT = (Action.NONE, "the store does not answer: everybody keeps its role while it can prove it")
    R225_START_SILENT = (Action.START, "the lease ran out, the store is silent: the server comes up sealed")
    R230_BUSY = (Action.NONE, "the data directory is being rebuilt")
    R240_NO_LEADER_KEY = (Action.NONE, "there is no leader key, which is not a vacancy: the operator decides")
    R300_RELEASE_DOWN = (Action.RELEASE, "the server is down: the leader key is released at once")
    R310_FENCE_NOT_PRIMARY = (Action.FENCE, "this node holds the key and its server is a standby: ended, then released")
    R320_RELEASE_FORMER = (Action.RELEASE, "the key names an earlier life of this watchdog, nothing runs: released")
    R325_FENCE_FORMER = (Action.FENCE, "the hold on the key is lost: what runs is ended before the key is released")
    R330_FENCE_UNPROMOTED = (Action.FENCE, "claimed and not writable in time: the server is ended, then released")
    R335_MEASURE_CLAIMED = (Action.UNFOLLOW, "claimed, the server's position is measured again before its promotion")
    R340_PROMOTE = (Action.PROMOTE, "claimed with cover: the server is promoted")
    R350_ANNOUNCE = (Action.ANNOUNCE, "the server is writable: the leader key says so")
    R360_WAIT_HOLDER_START = (Action.NONE, "this node holds the key, its server has not answered yet")
    R370_LIFT = (Action.LIFT, "the pause is over: the leader key says so")
    R380_PAUSED_FORMER = (Action.NONE, "paused by an earlier life of this watchdog: nothing is started or released")
    R390_PAUSED = (Action.NONE, "paused: this node holds the key, its server is left alone")
    R400_HAND_OVER = (Action.HAND_OVER, "switchover: the server stops and the key goes to the target")
    R410_PREPARE = (Action.PREPARE, "switchover: a checkpoint first, while clients work")
    R415_PAUSE = (Action.PAUSE, "a pause is ordered: the leader key says so")
    R420_REFUSE = (Action.REFUSE, "the order can't be carried out: refused")
    R430_VOTERS = (Action.VOTERS, "the voters change")
    R440_RECORD = (Action.RECORD, "the take-over is recorded, the first checkpoint done")
    R445_CONFIGURE = (Action.CONFIGURE, "newer settings: they go into the server's files, which it reads again")
    R447_ANSWER = (
        Action.ANSWER,
        "an order for this node can't be carried out by a primary, or is done: it is answered",
    )
    R449_BEAR = (
        Action.NONE,
        "the server does not answer, as the one before: for 10 H only its end or an order (switchover) moves it",
    )
    R450_HOLD = (Action.NONE, "this node is the primary")
    R500_CLONE_EMPTY = (Action.CLONE, "no data directory: the holder is cloned")
    R510_START = (Action.START, "the server is down: it starts as a sealed standby")
    R520_LEAVE_MOMENT = (Action.NONE, "a moment is left to the voters after a crash, or between starts that fail")
    R525_FENCE_INCOMPLETE = (Action.FENCE, "rewound from a holder that is gone: the server can't come up and is ended")
    R530_WAIT_START = (Action.NONE, "the server starts")
    R540_FOLLOWING = (Action.NONE, "this node follows the primary")
    R541_CONFIGURE = (Action.CONFIGURE, "newer settings: they go into the standby's files, which it reads again")
    R543_ANSWER = (Action.ANSWER, "the order for this node is done, or can't be carried out: it is answered")
    R545_RESTART = (
        Action.RESTART,
        "a restart is ordered, or needed to go on replaying: the server stops, and starts again",
    )
    R547_REINIT = (Action.REINIT, "no entry of sync names this copy: it is made anew, as ordered")
    R550_UNFOLLOW = (Action.UNFOLLOW, "the server follows nobody rightful: it is cut off and measured")
    R560_SEALED_UNTIL_MOVE = (Action.NONE, "sealed at this very revision of the key: it must move first")
    R565_UNTANGLE = (
        Action.UNTANGLE,
        "the server may aim at a timeline that was given up: it stops, to start without that history",
    )
    R570_FOLLOW = (Action.FOLLOW, "the position lies on the holder's history: this node follows")
    R580_REWIND = (Action.REWIND, "the position lies beyond the fork: the directory is rewound")
    R590_CLONE = (Action.CLONE, "the position can't be rewound, or the WAL after it is gone: the holder is cloned")
    R595_WAIT_PATH = (Action.NONE, "the holder has not said enough yet to follow it")
    R597_KEEP = (Action.NONE, "an entry of sync names this copy: it stays as it is until others have what it may hold")
    R600_WAIT_CLAIMANT = (Action.NONE, "another node has claimed and is about to be writable")
    R610_NO_DATA = (Action.NONE, "no data directory and nobody to clone: waits for a primary")
    R615_PAUSED_STANDBY = (Action.NONE, "paused: this node's server is neither started, ended nor rebuilt")
    R620_SEAL = (Action.SEAL, "the key is free: the server is cut off, measured, and sealed")
    R630_PUBLISH = (Action.PUBLISH, "the seal goes to the store")
    R640_WAIT_SEALS = (Action.NONE, "sealed: without more seals an acknowledged commit could be missing")
    R650_YIELD = (Action.NONE, "sealed and covered: a better candidate goes first, or has a moment to come")
    R655_BRAKE = (Action.NONE, "sealed and covered: primaries crash one after another, this take-over waits a moment")
    R660_BARRED = (Action.NONE, "sealed: this node is not to lead")
    R670_CLAIM = (Action.CLAIM, "the seals cover all that was acknowledged: the key is claimed")
    R680_CLAIM_ORDERED = (Action.CLAIM, "the operator gave up what the seals do not cover: the key is claimed")

    def __init__(self, action: Action, sentence: str) -> None:
        self.action, self.sentence = action, sentence

    @property
    def ident(self) -> str:
        """R340 and the like: stable over versions."""
        return self.name.split("_", 1)[0]


MINE = (Holder.MINE_CLAIMED, Holder.MINE_HELD, Holder.MINE_LATE, Holder.MINE_EXPIRED, Holder.MINE_PAUSED)
SPENT = (Holder.MINE_LATE, Holder.MINE_EXPIRED, Holder.MINE_ENDED)
PAUSED = (Holder.MINE_PAUSED, Holder.FORMER_PAUSED, Holder.OTHER_PAUSED)


def choose(s: Situation) -> Rule:
    """The one rule for this situation. Total."""
    return _safety(s) or _store(s) or _duty(s) or _standby(s)


def _safety(s: Situation) -> Rule | None:
    """Whoever could write without the right is ended first, whatever the store says now."""
    if s.holder in PAUSED:  # its own orphans the guard ends unasked; what else runs there the operator has started
        unheld = s.server is Server.PRIMARY and s.holder is not Holder.MINE_PAUSED
        return Rule.R100_FENCE_NO_RIGHT if unheld else None
    if s.server is Server.DYING:
        return Rule.R120_FENCE_ORPHANS
    if s.server is Server.STOPPING:
        return Rule.R140_FENCE_SLOW_STOP if _overdue(s) else Rule.R160_WAIT_STOP
    if s.server is Server.PRIMARY and s.holder not in MINE:
        return Rule.R100_FENCE_NO_RIGHT
    if s.server is Server.PRIMARY and s.holder is Holder.MINE_EXPIRED:
        return Rule.R110_FENCE_EXPIRED
    if s.server is Server.PRIMARY and s.holder is Holder.MINE_LATE:
        return Rule.R150_STOP_LATE
    if s.server is Server.HUNG:
        return Rule.R130_FENCE_HUNG
    if s.server is Server.STARTING and s.budget is Budget.SPENT:
        return Rule.R170_FENCE_SLOW_START
    return None


def _overdue(s: Situation) -> bool:
    return s.budget is Budget.SPENT or s.holder is Holder.MINE_EXPIRED


def _store(s: Situation) -> Rule | None:
    """Without a trustworthy, present read nothing is begun."""
    if s.store is Store.FOREIGN:
        return Rule.R200_FOREIGN
    if s.store is Store.RESTORED:
        return Rule.R210_RESTORED
    if s.store is Store.SILENT:
        return _alone(s)
    if s.server is Server.BUSY:
        return Rule.R230_BUSY
    if s.holder is Holder.ABSENT:
        return Rule.R240_NO_LEADER_KEY
    return None


def _alone(s: Situation) -> Rule:
    """What nobody else can see: who had to stop comes up sealed and measures, so as to be the first (decision 16)."""
    if s.server is Server.DOWN and s.holder in SPENT and s.budget is not Budget.EARLY:
        return Rule.R225_START_SILENT
    if s.server is Server.STRAY and s.holder is Holder.MINE_ENDED:
        return Rule.R550_UNFOLLOW
    return Rule.R220_STORE_SILENT


def _duty(s: Situation) -> Rule | None:
    """What the node does whose name is in the key."""
    if s.holder is Holder.MINE_ENDED and s.server in (Server.NO_DATA, Server.DOWN):
        return Rule.R300_RELEASE_DOWN
    if s.holder is Holder.FORMER_LIFE:
        stopped = s.server in (Server.NO_DATA, Server.DOWN)
        return Rule.R320_RELEASE_FORMER if stopped else Rule.R325_FENCE_FORMER
    if s.holder is Holder.FORMER_PAUSED:
        return Rule.R380_PAUSED_FORMER
    if s.holder is Holder.MINE_PAUSED:
        return _paused(s)
    if s.holder not in MINE:
        return None
    if s.server in (Server.NO_DATA, Server.DOWN):
        return Rule.R300_RELEASE_DOWN
    if s.server is Server.STARTING:
        return Rule.R360_WAIT_HOLDER_START
    if s.holder is Holder.MINE_CLAIMED:
        return _claimed(s)
    if s.server is not Server.PRIMARY:
        return Rule.R310_FENCE_NOT_PRIMARY
    if s.budget is Budget.SPENT and s.duty in _BORNE:
        return _BORNE[s.duty]
    return _DUTIES[s.duty]


def _paused(s: Situation) -> Rule:
    """Renewals go on, and what touches no role: voters come and go, the record is written, orders are answered."""
    if s.duty is Duty.LIFT:
        return Rule.R370_LIFT
    if s.duty is Duty.REFUSE:
        return Rule.R420_REFUSE
    if s.server is Server.PRIMARY and s.duty in (Duty.VOTERS, Duty.RECORD, Duty.CONFIGURE, Duty.ANSWER):
        return _DUTIES[s.duty]
    return Rule.R390_PAUSED


_DUTIES = {
    Duty.HAND_OVER: Rule.R400_HAND_OVER,
    Duty.PREPARE: Rule.R410_PREPARE,
    Duty.PAUSE: Rule.R415_PAUSE,
    Duty.LIFT: Rule.R370_LIFT,
    Duty.REFUSE: Rule.R420_REFUSE,
    Duty.VOTERS: Rule.R430_VOTERS,
    Duty.RECORD: Rule.R440_RECORD,
    Duty.CONFIGURE: Rule.R445_CONFIGURE,
    Duty.RESTART: Rule.R447_ANSWER,
    Duty.REINIT: Rule.R447_ANSWER,
    Duty.ANSWER: Rule.R447_ANSWER,
    Duty.NONE: Rule.R450_HOLD,
}
_BORNE = {Duty.NONE: Rule.R449_BEAR, Duty.PREPARE: Rule.R130_FENCE_HUNG, Duty.HAND_OVER: Rule.R130_FENCE_HUNG}
"""A server that hangs soon after another one did (redteam 20) stays, until somebody who looked at it orders otherwise.
No checkpoint can be had of it, nor an orderly stop."""


def _claimed(s: Situation) -> Rule:
    """A promotion that was asked for may still happen: before a release the server is ended."""
    if s.server is Server.PRIMARY:
        return Rule.R350_ANNOUNCE
    if s.budget is Budget.SPENT:
        return Rule.R330_FENCE_UNPROMOTED
    return Rule.R340_PROMOTE if s.server is Server.SEALED else Rule.R335_MEASURE_CLAIMED


def _standby(s: Situation) -> Rule:
    """What everybody else does: come up sealed, then follow, or seal and perhaps claim."""
    free = s.holder in (Holder.RELEASED, Holder.SILENT, Holder.MINE_ENDED)
    if s.holder is Holder.OTHER_PAUSED:
        return _beside_paused(s)
    if s.server is Server.NO_DATA:
        return Rule.R500_CLONE_EMPTY if s.holder is Holder.OTHER_HELD else Rule.R610_NO_DATA
    if s.holder is Holder.OTHER_HELD and s.server in _CHORES and s.duty in _CHORES[s.server]:
        return _CHORES[s.server][s.duty]
    if s.server is Server.DOWN:
        return _down(s)
    if s.server is Server.STARTING:
        incomplete = s.path is Path.CLONE and s.holder is Holder.OTHER_HELD
        return Rule.R525_FENCE_INCOMPLETE if incomplete else Rule.R530_WAIT_START
    if s.server is Server.ASTRAY:
        return Rule.R565_UNTANGLE
    if free:
        return _candidate(s)
    if s.server is Server.FOLLOWING:
        return Rule.R540_FOLLOWING
    if s.server is not Server.SEALED:
        return Rule.R550_UNFOLLOW
    if s.holder is Holder.OTHER_CLAIMED and not (s.bid is Bid.NONE and s.path is Path.FOLLOW):
        return Rule.R600_WAIT_CLAIMANT
    if s.bid is not Bid.NONE:
        return Rule.R560_SEALED_UNTIL_MOVE
    return _PATHS[s.path]


_ANEW = {Duty.REINIT: Rule.R547_REINIT, Duty.ANSWER: Rule.R543_ANSWER}
_ORDERED = {**_ANEW, Duty.RESTART: Rule.R545_RESTART}
_CHORES = {
    Server.DOWN: _ANEW,
    Server.STARTING: _ANEW,
    Server.STRAY: _ORDERED,
    Server.SEALED: _ORDERED,
    Server.FOLLOWING: {**_ORDERED, Duty.CONFIGURE: Rule.R541_CONFIGURE},
}
"""By server: what of its own a standby does while somebody else holds the key."""


def _beside_paused(s: Situation) -> Rule:
    """What needs no start and no end of the server goes on: a standby that its operator restarted follows again."""
    if s.server in (Server.NO_DATA, Server.DOWN, Server.DYING, Server.STOPPING, Server.HUNG):
        return Rule.R615_PAUSED_STANDBY
    found = _standby(replace(s, holder=Holder.OTHER_HELD, duty=Duty.NONE))
    return found if found.action in (Action.NONE, Action.UNFOLLOW, Action.FOLLOW) else Rule.R615_PAUSED_STANDBY


_PATHS = {
    Path.FOLLOW: Rule.R570_FOLLOW,
    Path.REWIND: Rule.R580_REWIND,
    Path.CLONE: Rule.R590_CLONE,
    Path.UNKNOWN: Rule.R595_WAIT_PATH,
    Path.NEEDED: Rule.R597_KEEP,
}


def _down(s: Situation) -> Rule:
    if s.path is Path.CLONE and s.holder is Holder.OTHER_HELD:
        return Rule.R590_CLONE
    return Rule.R520_LEAVE_MOMENT if s.budget is Budget.EARLY else Rule.R510_START


def _candidate(s: Situation) -> Rule:
    return _BIDS[s.bid] if s.server is Server.SEALED else Rule.R620_SEAL


_BIDS = {
    Bid.NONE: Rule.R620_SEAL,
    Bid.UNPUBLISHED: Rule.R630_PUBLISH,
    Bid.BARRED: Rule.R660_BARRED,
    Bid.WAITING: Rule.R640_WAIT_SEALS,
    Bid.YIELDING: Rule.R650_YIELD,
    Bid.BRAKED: Rule.R655_BRAKE,
    Bid.COVERED: Rule.R670_CLAIM,
    Bid.ORDERED: Rule.R680_CLAIM_ORDERED,
}


@dataclass(frozen=True, slots=True)
class Reason:
    """An axis that decided: as it is, and which rule each other value would have given."""

    axis: str
    value: Enum
    instead: tuple[tuple[Enum, Rule], ...]


def _flipped(s: Situation, axis: str, value: Enum) -> Situation:
    changes: dict[str, object] = {axis: value}
    return replace(s, **changes)  # type: ignore[arg-type]  # AXES pairs each name with its type


@lru_cache(maxsize=256)  # few situations come up again and again
def reasons(s: Situation) -> tuple[Reason, ...]:
    """Why this rule: the axes that, flipped alone, would change it."""
    here, found = choose(s), []
    for axis, values in AXES.items():
        flips = tuple((v, rule) for v in values if (rule := choose(_flipped(s, axis, v))) is not here)
        if flips:
            found.append(Reason(axis, getattr(s, axis), flips))
    return tuple(found)
