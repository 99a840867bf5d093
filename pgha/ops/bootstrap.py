"""From an inventory to a running cluster. Each step: done already? do, verify. So a second run resumes.

Here for nodes on one machine (`local:`); the steps speak to `Host` and `ports.Store`, not to the machine.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgha import nodefile, records
from pgha.core.model import Cluster, Copy, Leader, Position, Rule, Settings, Tenure
from pgha.errors import Busy, Exit, OutcomeUnknown, PghaError, Refused, RolledBack, StoreUnreachable
from pgha.host import Binaries, Host
from pgha.ops import etcd_members, newdata, restarter, status
from pgha.ops.local_nodes import MARKER, LocalNode, let_up, sort_out, start
from pgha.ops.preflight import Ready, check_dir, preflight
from pgha.ops.procs import living
from pgha.ops.progress import Progress
from pgha.ops.target import Target, from_inventory, store_access
from pgha.ports import Clock, Conflict, Guard, Keep, Store, StoreDown, Unknown, Write

if TYPE_CHECKING:
    from pgha.inventory import Inventory, NodeSpec

STORE_S = 5.0
HEALTHY_S = 60.0
LOOK_S = 0.2


@dataclass(frozen=True, slots=True)
class Machine:
    """The doors to this machine: programs, clock, store, the nodes' memory, and the Python that runs pgha."""

    host: Host
    binaries: Binaries
    clock: Clock
    python: str
    open_store: Callable[[nodefile.StoreAccess], Store]
    keep: Callable[[str], Keep]


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
    ready: Ready
    target: Target
    store: Store
    doing: str = field(default="")

    @property
    def first(self) -> LocalNode:
        """The node that gets the first data directory: the first one that may be primary."""
        names = [n.name for n in self.inventory.nodes if not n.nofailover]
        return next(n for n in self.ready.nodes if n.name == names[0])


def refuse_hosts(inventory: Inventory) -> None:
    """Raises Refused for what this version can't do yet: hosts."""
    if inventory.local is None:
        raise Refused(
            "bootstrap over SSH is not in this version",
            "the inventory has no `local:`",
            "pgha demo up makes a cluster on this machine",
        )


def bootstrap(inventory: Inventory, machine: Machine, options: Options, progress: Progress) -> Outcome:
    """Make, or complete, the cluster; gives it healthy. Raises PghaError; code 130 when interrupted, with the step."""
    refuse_hosts(inventory)
    began = machine.clock.now_s()
    progress.step("", "checking this machine", done=False)
    ready = preflight(inventory, machine.host, machine.binaries, python=machine.python, demo=options.demo)
    target = from_inventory(inventory, "", options.flags)
    store = machine.open_store(store_access(inventory))
    run = _Run(inventory, machine, options, progress, ready, target, store)
    progress.step("", f"preflight passed; PostgreSQL from {ready.bin_dir}" + (f", {ready.etcd}" if ready.etcd else ""))
    if ready.warning:
        progress.step("", ready.warning)
    try:
        run.doing = "making the directory"
        root = ready.nodes[0].root
        machine.host.make_dir(root)
        with machine.host.hold(root):
            _mark(run, root)
            for step in (_directories, _etcd, _first_data, _node_files, _start):
                step(run)
        run.doing = "waiting for the cluster to become healthy"
        found = _await_healthy(run)
    except KeyboardInterrupt:
        again = options.again or target.command("bootstrap")
        state = f"interrupted while {run.doing or 'starting'}; what is done stays"
        raise PghaError(state, "", f"{again} goes on from there", code=Exit.INTERRUPTED) from None
    return Outcome(found, machine.clock.now_s() - began)


# -- files ---------------------------------------------------------------------------------------------------


def _mark(run: _Run, root: str) -> None:
    """The directory is ours from here on. It is looked at once more: preflight did so without holding it."""
    host, ready = run.machine.host, run.ready
    there = check_dir(root, run.inventory.cluster, host.user)
    if there != (None if ready.fresh else ready.marker):
        raise Busy(
            f"another pgha was at work in {root} just now", "its marker has changed", "run the same command again"
        )
    if ready.fresh:
        host.write(f"{root}/{MARKER}", ready.marker.text())


def _directories(run: _Run) -> None:
    run.doing = "making the directories"
    host, nodes = run.machine.host, run.ready.nodes
    root = nodes[0].root
    for name, text in run.options.files.items():
        if host.read(f"{root}/{name}") != text:
            host.write(f"{root}/{name}", text)
    known = [newdata.password_in(host.read(n.passfile), newdata.REPLICATION_USER) for n in nodes]
    password = next((p for p in known if p), None) or newdata.new_password()
    for node, has in zip(nodes, known, strict=True):
        for path in (node.dir, node.state_dir, node.log_dir, node.socket_dir, os.path.dirname(node.data_dir)):
            host.make_dir(path)
        if has != password:
            host.write(node.passfile, newdata.passfile_line(newdata.REPLICATION_USER, password))
        run.progress.step(node.name, f"directories under {node.dir}" + (" already there" if has else ""))


def _node_files(run: _Run) -> None:
    run.doing = "writing the node files"
    peers = {n.name: nodefile.Peer(n.host, n.port) for n in run.ready.nodes}
    specs: Mapping[str, NodeSpec] = {n.name: n for n in run.inventory.nodes}
    for node in run.ready.nodes:
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
                parameters=dict(run.inventory.postgres.parameters),
                hba=tuple(run.inventory.postgres.hba),
            )
        )
        if run.machine.host.read(node.node_file_path) != text:
            run.machine.host.write(node.node_file_path, text)
            run.progress.step(node.name, "node file written")


# -- the store -----------------------------------------------------------------------------------------------


def _etcd(run: _Run) -> None:
    run.doing = "starting etcd"
    members = [n for n in run.ready.nodes if n.has_etcd]
    token = run.ready.marker.ident
    argvs = {n.name: etcd_members.member_argv(run.ready.etcd, n, members, token) for n in members}
    plan = restarter.plan_text(list(run.ready.nodes), argvs)
    run.machine.host.write(f"{run.ready.nodes[0].root}/{restarter.PLAN}", plan)
    etcd_members.start_missing(argvs, members, run.machine.host, run.progress)
    health = etcd_members.await_healthy(run.store, run.machine.clock, members=len(members) or 1)
    run.progress.step("", f"etcd healthy, {len(health.members)} members")


def _read(run: _Run) -> records.Records:
    clock = run.machine.clock
    try:
        seen = run.store.read(records.prefix(run.inventory.cluster), deadline_s=clock.now_s() + STORE_S)
    except StoreDown as e:
        raise StoreUnreachable("the store gave no answer", e.why, "look into <node>/log/etcd.log") from e
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
    with_data = [n.name for n in run.ready.nodes if run.machine.host.holds_something(n.data_dir)]
    first = run.first
    if any(name != first.name for name in with_data):
        why = f"the store is empty, {', '.join(with_data)} hold data: that is no new cluster"
        raise Refused("data without a cluster record", why, "bring the old store back, or use another directory")
    copy, system = _resume_data(run, first) if with_data else _make_data(run, first)
    _remember_others(run)
    _register(run, copy, system)


def _make_data(run: _Run, node: LocalNode) -> tuple[Copy, str]:
    """initdb beside, memory, rename: a crash in between leaves what the next run replaces or takes up."""
    host, options = run.machine.host, run.options
    password = newdata.password_in(host.read(node.passfile), newdata.REPLICATION_USER)
    assert password is not None, "written by the step before"
    run.progress.step(node.name, "initdb", done=False)
    order = newdata.NewData(run.ready.bin_dir, password, options.wal_segment_mb, options.app)
    made = newdata.prepare(node, order, host)
    system = newdata.system_identifier(node, made, run.ready.bin_dir, host)
    lies, version = os.stat(made), os.stat(f"{made}/PG_VERSION").st_mtime_ns
    copy = Copy(node.name, secrets.token_hex(3))
    data = {"id": copy.data, "device": lies.st_dev, "inode": lies.st_ino, "system": system, "made": version}
    memory = {"schema": 1, "cluster": run.ready.marker.ident, "data": data}
    run.machine.keep(f"{node.state_dir}/memory.json").save(memory)
    host.move_dir(made, node.data_dir)
    run.progress.step(node.name, f"data directory made, system identifier {system}")
    return copy, system


def _resume_data(run: _Run, node: LocalNode) -> tuple[Copy, str]:
    """An earlier run got as far as the rename: take up its data, if the memory beside it says that it is this one."""
    memory = run.machine.keep(f"{node.state_dir}/memory.json").load()
    data = memory.get("data")
    if memory.get("cluster") != run.ready.marker.ident or not isinstance(data, dict):
        why = "the node's memory does not name it"
        raise Refused(f"{node.data_dir} holds data that pgha did not make", why, "move it away")
    system = newdata.system_identifier(node, node.data_dir, run.ready.bin_dir, run.machine.host)
    if os.stat(node.data_dir).st_ino != data.get("inode") or system != data.get("system"):
        raise Refused(f"{node.data_dir} is not the directory pgha made", "inode or system identifier differ")
    run.progress.step(node.name, "data directory already made")
    return Copy(node.name, str(data["id"])), system


def _remember_others(run: _Run) -> None:
    for node in run.ready.nodes:
        keep = run.machine.keep(f"{node.state_dir}/memory.json")
        if not keep.load():
            keep.save({"schema": 1, "cluster": run.ready.marker.ident})


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
    host, nodes = run.machine.host, run.ready.nodes
    there = living()
    for node in nodes:
        let_up(node)
        if sort_out(node, there)["guard"]:
            run.progress.step(node.name, "watchdog already running")
            continue
        start(node, host)
        run.progress.step(node.name, "watchdog started")
    argv = restarter.argv(run.machine.python, nodes[0].root, run.options.restart_every_s)
    host.spawn(argv, cwd=nodes[0].root, log_file=f"{nodes[0].root}/restarter.log")


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
            log = f"{run.first.state_dir}/watchdog.log"
            raise RolledBack(
                f"the cluster is not healthy after {run.options.healthy_s:g} s",
                why,
                f"{run.target.command('list')}, and look into {log}",
                code=Exit.PARTIAL,
            )
        clock.sleep(LOOK_S)
