"""What a look at the node's PostgreSQL gives. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from pgha.core.model import Position


class Running(Enum):
    """The server as processes and answers."""

    NO_DATA = "no data directory"
    DOWN = "down"
    DYING = "dying"
    STARTING = "starting"
    STOPPING = "stopping"
    STANDBY = "standby"
    PRIMARY = "primary"


@dataclass(frozen=True, slots=True)
class Walsender:
    """A row of pg_stat_replication. `name` is the application_name; a name that is there twice is listed twice.

    replied: the standby's own time of its last reply, as text: only that it changes means something. "" when unknown.
    lag_s: until it confirmed to have replayed what was written lately; 0.0 when nothing was.
    """

    name: str
    state: str
    flush: int
    sync_priority: int
    replied: str = ""
    lag_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ServerView:
    """One look.

    position: a primary's WAL end; a standby's received (or replayed) end, for showing only: a seal measures anew.
    upstream_epoch: of the application_name in primary_conninfo; 0 when it is empty, -1 when it is not pgha's.
    follows: the node that primary_conninfo names, "" when none of the cluster's.
    receiving: a walreceiver streams. names: synchronous_standby_names as the server has it.
    running keeps the last known role while the server does not answer; answered_s is when it last did (0.0 never).
    since_s: BOOTTIME of the postmaster's start. stop_asked_s: when a stop was asked for, 0.0 when not.
    exits: postmasters that ended in this life of the guard. job: "", "cloning" or "rewinding"; job_failed: why the last
    one failed.
    heard_s: BOOTTIME when a walreceiver last streamed, or was last told whom to follow. histories: timelines whose
    history file lies there and says something, while nothing streams. wal_gone: the holder
    has said, since this server was last told whom to follow, that it no longer has the WAL it is asked for.
    checkpoints: finished since this agent began. why: what it says for itself when it does not answer; or that its disk
    is full.
    """

    running: Running
    position: Position = Position(0, 0)
    replay: Position = Position(0, 0)
    upstream_epoch: int = 0
    receiving: bool = False
    names: str = ""
    walsenders: tuple[Walsender, ...] = ()
    answered_s: float = 0.0
    since_s: float = 0.0
    stop_asked_s: float = 0.0
    exits: int = 0
    job: str = ""
    job_failed: str = ""
    checkpoints: int = 0
    why: str = ""
    version: str = ""
    heard_s: float = 0.0
    histories: tuple[int, ...] = ()
    wal_gone: bool = False
    follows: str = ""


@dataclass(frozen=True, slots=True)
class DataIdentity:
    """A data directory: where it lies (device, inode), whose it is (system identifier), and when it was made.

    made: mtime of PG_VERSION in nanoseconds. A file system gives a freed inode to the next directory; only initdb and a
    clone write that file, pg_rewind leaves it alone, and so do chown and chmod.
    boot: boot id of the machine when it was looked at. The kernel numbers devices anew at every boot.
    """

    device: int
    inode: int
    system: str
    made: int = 0
    boot: str = ""

    def is_same(self, other: DataIdentity) -> bool:
        """The same directory, as far as can be told: after a reboot whatever device it lies on now."""
        lies_there = self.device == other.device or self.boot != other.boot
        return lies_there and (self.inode, self.system, self.made) == (other.inode, other.system, other.made)
