"""One run of bootstrap: the doors to the machine, what was asked for, and what its steps share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgha import nodefile
from pgha.host import Binaries, Host
from pgha.ops import newdata, status
from pgha.ops.fleet import Fleet, Place, Ready
from pgha.ops.host_fleet import Distant
from pgha.ops.progress import Progress
from pgha.ops.store_login import StoreAccounts
from pgha.ops.target import Target
from pgha.ports import Clock, Keep, Store, StoreMembers

if TYPE_CHECKING:
    from pgha.inventory import Inventory
    from pgha.ops.adoption import Looked

HEALTHY_S = 60.0


@dataclass(frozen=True, slots=True)
class Machine:
    """The doors to this machine: programs, clock, store, the nodes' memory, and the Python that runs pgha.

    distant: the way to hosts. open_members: who makes up the store; None where nobody changes that. open_accounts: its
    users.
    """

    host: Host
    binaries: Binaries
    clock: Clock
    python: str
    open_store: Callable[[nodefile.StoreAccess], Store]
    keep: Callable[[str], Keep]
    distant: Distant | None = None
    open_members: Callable[[nodefile.StoreAccess], StoreMembers] | None = None
    open_accounts: Callable[[nodefile.StoreAccess], StoreAccounts] | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """app: a login role with a database of its own; wal_segment_mb for initdb; restart_every_s of the restarter.

    new_store: the former one is lost for good; accept_loss: also where a node's data are missing (`ops.newstore`).
    adopt: running servers that are taken over.
    files: name to text, written into the cluster's directory once it is ours. demo: it may be thrown away as a whole.
    again: the command that goes on after an interruption. flags: what a suggested command needs to find this cluster.
    """

    app: newdata.AppRole | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    demo: bool = False
    again: str = ""
    wal_segment_mb: int = 16
    restart_every_s: float = 60.0
    flags: str = ""
    healthy_s: float = HEALTHY_S
    new_store: bool = False
    adopt: Looked | None = None
    accept_loss: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """A healthy cluster and how long it took."""

    status: status.Status
    seconds: float


@dataclass(slots=True)
class Run:
    """One run: what the steps share, and where it is (for an interruption's message)."""

    inventory: Inventory
    machine: Machine
    options: Options
    progress: Progress
    fleet: Fleet
    target: Target
    doing: str = field(default="")
    token: str = ""  # of new etcd members, "" for the cluster's own
    store: Store = field(init=False)  # its certificates are there once the fleet is laid out

    @property
    def ready(self) -> Ready:
        """What preflight found."""
        return self.fleet.ready

    @property
    def first(self) -> Place:
        """The node that gets the first data directory: the first one that may be primary."""
        names = [n.name for n in self.inventory.nodes if not n.nofailover]
        return next(n for n in self.ready.nodes if n.name == names[0])
