"""How a standby chooses its timeline, and why it may be unable to follow: what the startup process keeps in memory.

At its start it takes the newest timeline whose history file lies in pg_wal, counted without a gap from its own one
(`recoveryTargetTLI`). Later it looks again whenever its source of WAL has ended, and moves on only to a child of the
one it has. A walreceiver fetches the history files of whoever it connects to before it asks for anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.wal import Branch, Data

if TYPE_CHECKING:
    from tests.sim.postgres import SimPg


def newest(data: Data, own: int) -> int:
    """findNewestTimeLine: the last number from `own` on whose history file is there, without a gap."""
    number = own
    while number + 1 in data.histories:
        number += 1
    return number


def is_on(branch: Branch, target: Branch | None) -> bool:
    """Is this one among the ancestors of the target, or the target itself?"""
    while target is not None and target is not branch:
        target = target.parent
    return target is branch


def wanted(target: Branch, lsn: int) -> Branch:
    """tliOfPointInHistory: on which timeline the WAL from there on is asked for."""
    here = target
    while here.parent is not None and lsn < here.fork:
        here = here.parent
    return here


def target_at_start(data: Data) -> Branch | None:
    """None: "requested timeline is not a child of this server's history", which is FATAL."""
    number = newest(data, data.branch.timeline)
    found = data.branch if number == data.branch.timeline else data.histories[number]
    return found if found is not None and is_on(data.branch, found) else None


def rescan(pg: SimPg) -> None:
    """rescanLatestTimeLine (PG12): a newer timeline is adopted when it is a child and left beyond the own position."""
    data, target = pg.data, pg.target
    if data is None or target is None:
        return
    found = data.histories.get(newest(data, target.timeline))
    if found is None or found is target or not is_on(target, found):
        return
    if is_on(data.branch, found) and wanted(found, data.lsn - 1) is not data.branch:
        return  # it forked off before the current recovery point
    pg.target = found


def fetch_histories(pg: SimPg, theirs: Data) -> bool:
    """WalRcvFetchTimeLineHistoryFiles: from the timeline asked for to the sender's; one missing stops it (PG13)."""
    data, target = pg.data, pg.target
    assert data is not None and target is not None
    for number in range(wanted(target, data.lsn).timeline, theirs.branch.timeline + 1):
        if number == 1 or number in data.histories:
            continue
        if number not in theirs.histories:
            return False
        data.histories[number] = theirs.histories[number]
    return True


def is_known(pg: SimPg, theirs: Data) -> bool:
    """START_REPLICATION: is the number of the timeline that is asked for in the sender's history?"""
    data, target = pg.data, pg.target
    assert data is not None and target is not None
    known = {theirs.branch.timeline, *(number for number, _ in theirs.branch.forks())}
    return wanted(target, data.lsn).timeline in known
