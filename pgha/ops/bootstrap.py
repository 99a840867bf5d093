"""From an inventory to a running cluster. Each step: done already? do, verify. So a second run resumes.

The steps speak to `Fleet`, `Host` and `ports.Store`: nodes on this machine and hosts over SSH go the same way.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgha import nodefile, records
from pgha.core.model import Cluster, Copy, Leader, Position, Rule, Settings, Tenure
from pgha.errors import Exit, OutcomeUnknown, PghaError, Refused, RolledBack, StoreUnreachable
from pgha.host import Binaries, Host
from pgha.ops import etcd_changes, etcd_members, newdata, status
from pgha.ops.fleet import Fleet, Place, Ready
from pgha.ops.host_fleet import Distant, HostFleet
from pgha.ops.local_fleet import LocalFleet
from pgha.ops.preflight import preflight
from pgha.ops.progress import Progress
from pgha.ops.target import Target, from_inventory, store_access
from pgha.ports import Clock, Conflict, Guard, Keep, Store, StoreDown, StoreMembers, Unknown, Write

if TYPE_CHECKING:
    from pgha.inventory import Inventory, NodeSpec

STORE_S = 5.0
HEALTHY_S = 60.0
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Machine:
    """The doors to this machine: programs, clock, store, the nodes' memory, and the Python that runs pgha.

    distant: the way to hosts. open_members: who makes up the store; None where nobody changes that.
    """

    host: Host
    binaries: Binaries
    clock: Clock
    python: str
    open_store: Callable[[nodefile.StoreAccess], Store]
    keep: Callable[[str], Keep]
    distant: Distant | None = None
    open_members: Callable[[nodefile.StoreAccess], StoreMembers] | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """app: a login role with a database of its own; wal_segment_mb for initdb; restart_every_s of the restarter.

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """A healthy cluster and how long it took."""

    status: status.Status
    seconds: float


@dataclass(slots=True)
class _Run:
    """One run: what the steps share, and where it is (for an interruption's message)."""

    inventory: Inventory
    machine: Machine
    options: Options
    progress: Progress
    fleet: Fleet
    target: Target
    doing: str = field(default="")
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


def fleet_of(inventory: Inventory, machine: Machine, options: Options, progress: Progress) -> Fleet:
    """Look at the nodes' machines: past preflight, nothing changed. Raises Findings, or the only problem."""
    if inventory.local is not None:
        ready = preflight(inventory, machine.host, machine.binaries, python=machine.python, demo=options.demo)
        files, every_s = dict(options.files), options.restart_every_s
        return LocalFleet(ready, machine.host, machine.keep, progress, machine.python, files, every_s)
    assert machine.distant is not None, "the CLI gives it"
    return HostFleet.look(inventory, machine.distant, progress)


def bootstrap(
    inventory: Inventory, machine: Machine, options: Options, progress: Progress, fleet: Fleet | None = None
) -> Outcome:
    """Make, or complete, the cluster; gives it healthy. Raises PghaError; code 130 when interrupted, with the step.

    fleet: what `fleet_of` gave, when the caller has looked already.
    """
    began = machine.clock.now_s()
    if fleet is None:
        fleet = fleet_of(inventory, machine, options, progress)
    ready, target = fleet.ready, from_inventory(inventory, "", options.flags)
    run = _Run(inventory, machine, options, progress, fleet, target)
    progress.step("", f"preflight passed; PostgreSQL from {ready.bin_dir}" + (f", {ready.etcd}" if ready.etcd else ""))
    for warning in ready.warnings:
        progress.step("", warning)
    try:
        run.doing = "making the directories"
        with fleet.hold():
            fleet.lay_out()
            run.store = machine.open_store(store_access(inventory))
            for step in (_passwords, _etcd, _first_data, _node_files, _start):
                step(run)
        run.doing = "waiting for the cluster to become healthy"
        found = _await_healthy(run)
    except KeyboardInterrupt:
        again = options.again or target.command("bootstrap")
        state = f"interrupted while {run.doing or 'starting'}; what is done stays"
        raise PghaError(state, "", f"{again} goes on from there", code=Exit.INTERRUPTED) from None
    return Outcome(found, machine.clock.now_s() - began)


def rewrite(inventory: Inventory, machine: Machine, progress: Progress) -> None:
    """The nodes of this inventory run by it from now on: node files and watchdogs. Their PostgreSQL and etcd go on."""
    _on_all(inventory, machine, progress, (_node_files, _start))


def rewrite_plan(inventory: Inventory, machine: Machine, progress: Progress) -> None:
    """What the restarter of a cluster on this machine starts is what this inventory has."""
    if inventory.local is not None:
        _on_all(inventory, machine, progress, (lambda run: run.fleet.start_store(_member_argvs(run)),))


def _on_all(
    inventory: Inventory, machine: Machine, progress: Progress, steps: tuple[Callable[[_Run], None], ...]
) -> None:
    options = Options()
    fleet = fleet_of(inventory, machine, options, progress)
    run = _Run(inventory, machine, options, progress, fleet, from_inventory(inventory, ""))
    try:
        with fleet.hold():
            for step in steps:
                step(run)
    finally:
        fleet.close()


# -- files ---------------------------------------------------------------------------------------------------


def _passwords(run: _Run) -> None:
    """One password everywhere, on the nodes only: an earlier run's is read back."""
    run.doing = "writing the passwords"
    known: dict[str, str | None] = {}

    def look(node: Place) -> None:
        known[node.name] = newdata.password_in(run.fleet.host(node).read(node.passfile), newdata.REPLICATION_USER)

    run.fleet.each(look)
    there = [known[n.name] for n in run.ready.nodes]
    password = next((p for p in there if p), None) or newdata.new_password()

    def put(node: Place) -> None:
        has = known[node.name]
        if has != password:
            text = newdata.passfile_line(newdata.REPLICATION_USER, password)
            run.fleet.host(node).write(node.passfile, text)
        run.progress.step(node.name, f"directories under {node.dir}" + (" already there" if has else ""))

    run.fleet.each(put)


def _node_files(run: _Run) -> None:
    run.doing = "writing the node files"
    peers = {n.name: nodefile.Peer(n.host, n.port) for n in run.ready.nodes}
    specs: Mapping[str, NodeSpec] = {n.name: n for n in run.inventory.nodes}

    def put(node: Place) -> None:
        spec = specs[node.name]
        text = nodefile.dump(
            nodefile.NodeFile(
                cluster=run.inventory.cluster,
                node=node.name,
                state_dir=node.state_dir,
                data_dir=node.data_dir,
                socket_dir=node.socket_dir,
                bin_dir=run.ready.bin_dir,
                store=store_access(run.inventory),
                nodes=peers,
                replication_user=newdata.REPLICATION_USER,
                priority=spec.priority,
                nofailover=spec.nofailover,
                nosync=spec.nosync,
                clonefrom=spec.clonefrom,
                noloadbalance=spec.noloadbalance,
                parameters=dict(run.inventory.postgres.parameters),
                hba=tuple(run.inventory.postgres.hba),
            )
        )
        if run.fleet.put_node_file(node, text):
            run.progress.step(node.name, "node file written")

    run.fleet.each(put)


# -- the store -----------------------------------------------------------------------------------------------


def _member_argvs(run: _Run) -> dict[str, list[str]]:
    """etcd's command lines, by node."""
    members, token = [n for n in run.ready.nodes if n.has_etcd], run.ready.marker.ident
    argv = etcd_members.member_argv
    return {n.name: argv(run.ready.etcd, n, members, token, run.fleet.member_tls(n)) for n in members}


def _etcd(run: _Run) -> None:
    run.doing = "starting etcd"
    argvs = _member_argvs(run)
    open_members = run.machine.open_members
    if not run.ready.fresh and open_members is not None:
        etcd_changes.let_in(
            run.fleet,
            lambda: open_members(store_access(run.inventory)),
            run.machine.clock,
            argvs,
            run.progress,
        )
    run.fleet.start_store(argvs)
    health = etcd_members.await_healthy(run.store, run.machine.clock, members=len(argvs) or 1)
    run.progress.step("", f"etcd healthy, {len(health.members)} members")


def _read(run: _Run) -> records.Records:
    clock = run.machine.clock
    try:
        seen = run.store.read(records.prefix(run.inventory.cluster), deadline_s=clock.now_s() + STORE_S)
    except StoreDown as e:
        raise StoreUnreachable("the store gave no answer", e.why, f"look into {run.fleet.logs(run.first)}") from e
    entries = {key: (entry.value, entry.revision) for key, entry in seen.entries.items()}
    return records.parse_snapshot(run.inventory.cluster, seen.revision, entries)


def _is_ours(run: _Run, found: records.Records) -> bool:
    """The store knows this very cluster. Raises Refused when it holds another one of that name, or junk."""
    name = run.inventory.cluster
    if found.cluster is None and found.revisions:
        keys = ", ".join(sorted(found.revisions)[:5])
        raise Refused(f"the store holds keys of {name} without a cluster record", f"keys: {keys}", "use another name")
    if found.cluster is not None and found.cluster.ident != run.ready.marker.ident:
        why = f"its ident is {found.cluster.ident}, ours would be {run.ready.marker.ident}"
        raise Refused(f"the store already holds another cluster {name}", why, "use another name or another store")
    return found.cluster is not None


def _first_data(run: _Run) -> None:
    run.doing = "making the first data directory"
    if _is_ours(run, _read(run)):
        run.progress.step("", "the store knows this cluster already")
        _remember_others(run)
        return
    with_data: list[str] = []

    def look(node: Place) -> None:
        if run.fleet.host(node).holds_something(node.data_dir):
            with_data.append(node.name)

    run.fleet.each(look)
    first = run.first
    if any(name != first.name for name in with_data):
        why = f"the store is empty, {', '.join(with_data)} hold data: that is no new cluster"
        raise Refused("data without a cluster record", why, "bring the old store back, or use another directory")
    copy, system = _resume_data(run, first) if with_data else _make_data(run, first)
    _remember_others(run)
    _register(run, copy, system)


def _make_data(run: _Run, node: Place) -> tuple[Copy, str]:
    """initdb beside, memory, rename: a crash in between leaves what the next run replaces or takes up."""
    host, options = run.fleet.host(node), run.options
    password = newdata.password_in(host.read(node.passfile), newdata.REPLICATION_USER)
    assert password is not None, "written by the step before"
    run.progress.step(node.name, "initdb", done=False)
    order = newdata.NewData(run.ready.bin_dir, password, options.wal_segment_mb, options.app)
    made = newdata.prepare(node, order, host)
    system = newdata.system_identifier(node, made, run.ready.bin_dir, host)
    lies, copy = host.identity(made), Copy(node.name, secrets.token_hex(3))
    data = {"id": copy.data, "device": lies.device, "inode": lies.inode, "system": system, "made": lies.made}
    memory = {"schema": 1, "cluster": run.ready.marker.ident, "data": data}
    run.fleet.keep(node).save(memory)
    host.move_dir(made, node.data_dir)
    run.progress.step(node.name, f"data directory made, system identifier {system}")
    return copy, system


def _resume_data(run: _Run, node: Place) -> tuple[Copy, str]:
    """An earlier run got as far as the rename: take up its data, if the memory beside it says that it is this one."""
    host, memory = run.fleet.host(node), run.fleet.keep(node).load()
    data = memory.get("data")
    if memory.get("cluster") != run.ready.marker.ident or not isinstance(data, dict):
        why = "the node's memory does not name it"
        raise Refused(f"{node.data_dir} holds data that pgha did not make", why, "move it away")
    system = newdata.system_identifier(node, node.data_dir, run.ready.bin_dir, host)
    if host.identity(node.data_dir).inode != data.get("inode") or system != data.get("system"):
        raise Refused(f"{node.data_dir} is not the directory pgha made", "inode or system identifier differ")
    run.progress.step(node.name, "data directory already made")
    return Copy(node.name, str(data["id"])), system


def _remember_others(run: _Run) -> None:
    def remember(node: Place) -> None:
        keep = run.fleet.keep(node)
        if not keep.load():
            keep.save({"schema": 1, "cluster": run.ready.marker.ident})

    run.fleet.each(remember)


def first_leader(copy: Copy) -> Leader:
    """The leader key of a new cluster: released by nobody who ever wrote, so that the first node claims epoch 2."""
    return Leader(
        holder=copy,
        incarnation="bootstrap",
        epoch=1,
        beat=1,
        tenure=Tenure.RELEASED,
        sync=(Rule(copy, frozenset(), 0),),
        position=Position(1, 0),
        reason="bootstrap",
    )


def _register(run: _Run, copy: Copy, system: str) -> None:
    """The three keys of a new cluster in one create-only commit."""
    run.doing = "registering the cluster in the store"
    root, ha = records.prefix(run.inventory.cluster), run.inventory.ha
    values = {
        "cluster": records.dump_cluster(Cluster(run.ready.marker.ident, system, round(time.time(), 3))),
        "config": records.dump_settings(Settings(1, ha.failover_after_s, ha.durability, ha.copies, ha.max_lag)),
        "leader": records.dump_leader(first_leader(copy)),
    }
    guards = [Guard(root + key, 0) for key in values]
    writes = [Write(root + key, value) for key, value in values.items()]
    done = run.store.commit(guards, writes, deadline_s=run.machine.clock.now_s() + STORE_S)
    if isinstance(done, Conflict | Unknown) and not _is_ours(run, _read(run)):
        why = done.why if isinstance(done, Unknown) else "somebody else wrote at the same moment"
        raise OutcomeUnknown("the cluster could not be registered in the store", why, "run the same command again")
    run.progress.step("", f"cluster {run.inventory.cluster} registered in the store")


# -- processes -----------------------------------------------------------------------------------------------


def _start(run: _Run) -> None:
    run.doing = "starting the watchdogs"
    run.fleet.start()


def _await_healthy(run: _Run) -> status.Status:
    clock = run.machine.clock
    end, told = clock.now_s() + run.options.healthy_s, ""
    while True:
        seen = status.gather(run.store, clock, run.inventory.cluster, timeout_s=2.0)
        found = status.judge(run.target, seen)
        if found.exit == Exit.OK:
            return found
        if found.sentence() != told:
            told = found.sentence()
            run.progress.step("", told, done=False)
        if clock.now_s() >= end:
            why = "; ".join(found.notes[:3]) or found.verdict
            raise RolledBack(
                f"the cluster is not healthy after {run.options.healthy_s:g} s",
                why,
                f"{run.target.command('list')}, and look into {run.fleet.logs(run.first)}",
                code=Exit.PARTIAL,
            )
        clock.sleep(LOOK_S)
