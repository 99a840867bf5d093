"""The first data directory and the three keys of a new cluster: bootstrap's steps that happen once.

`_is_ours` tells a new cluster from one that is there; a store that shows nothing while nodes hold data is neither.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from types import MappingProxyType

from pgha import records
from pgha.core.model import Cluster, Copy, Leader, Position, Rule, Settings, Tenure
from pgha.errors import OutcomeUnknown, Refused, StoreUnreachable
from pgha.ops import newdata, newstore
from pgha.ops.bootstrap_run import Run
from pgha.ops.fleet import Place
from pgha.ports import Conflict, Guard, StoreDown, Unknown, Write

STORE_S = 5.0


def _read(run: Run) -> records.Records:
    clock = run.machine.clock
    try:
        seen = run.store.read(records.prefix(run.inventory.cluster), deadline_s=clock.now_s() + STORE_S)
    except StoreDown as e:
        raise StoreUnreachable("the store gave no answer", e.why, f"look into {run.fleet.logs(run.first)}") from e
    entries = {key: (entry.value, entry.revision) for key, entry in seen.entries.items()}
    return records.parse_snapshot(run.inventory.cluster, seen.revision, entries)


def _is_ours(run: Run, found: records.Records) -> bool:
    """The store knows this very cluster. Raises Refused when it holds another one of that name, or junk."""
    name = run.inventory.cluster
    if found.cluster is None and found.revisions.keys() - _told(run):
        raise _without_record(name, found)
    if found.cluster is not None and found.cluster.ident != run.ready.marker.ident:
        why = f"its ident is {found.cluster.ident}, ours would be {run.ready.marker.ident}"
        raise Refused(f"the store already holds another cluster {name}", why, "use another name or another store")
    return found.cluster is not None


def _told(run: Run) -> set[str]:
    """A watchdog that runs writes its own member key into any store of its name, also into one that was emptied."""
    return {f"members/{node.name}" for node in run.inventory.nodes}


def _without_record(name: str, found: records.Records) -> Refused:
    keys = ", ".join(sorted(found.revisions)[:5])
    return Refused(f"the store holds keys of {name} without a cluster record", f"keys: {keys}", "use another name")


def is_registered(run: Run) -> bool:
    """The store knows this very cluster. Raises Refused, StoreUnreachable."""
    return _is_ours(run, _read(run))


def first_data(run: Run) -> None:
    """The cluster is registered in the store, with the data that its first node has; done already: nothing.

    Raises Refused when store and nodes do not fit together, OutcomeUnknown.
    """
    run.doing = "making the first data directory"
    found = _read(run)
    if _is_ours(run, found):
        run.progress.step("", "the store knows this cluster already")
        remember_others(run)
        return
    with_data: list[str] = []

    def look(node: Place) -> None:
        if run.fleet.host(node).holds_something(node.data_dir):
            with_data.append(node.name)

    run.fleet.each(look)
    first = run.first
    if run.options.new_store and with_data:
        system, key = newstore.remembered(run, with_data)
        remember_others(run)
        register(run, key, system)
        return
    if found.revisions and not with_data:
        raise _without_record(run.inventory.cluster, found)
    if found.revisions or any(name != first.name for name in with_data):
        why = f"the store has no cluster record, {', '.join(with_data)} hold data: that is no new cluster"
        step = f"bring the old store back; if it is lost for good: {run.target.command('bootstrap --new-store')}"
        raise Refused("data without a cluster record", why, step)
    copy, system = _resume_data(run, first) if with_data else _make_data(run, first)
    remember_others(run)
    register(run, first_leader(copy), system)


def _make_data(run: Run, node: Place) -> tuple[Copy, str]:
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


def _resume_data(run: Run, node: Place) -> tuple[Copy, str]:
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


def remember_others(run: Run) -> None:
    """The nodes without data know their cluster."""

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


def register(run: Run, key: Leader, system: str, parameters: Mapping[str, str] = MappingProxyType({})) -> None:
    """The three keys of a new cluster in one create-only commit. parameters: PostgreSQL's, for its settings."""
    run.doing = "registering the cluster in the store"
    root, ha = records.prefix(run.inventory.cluster), run.inventory.ha
    settings = Settings(1, ha.failover_after_s, ha.durability, ha.copies, ha.max_lag, parameters)
    values = {
        "cluster": records.dump_cluster(Cluster(run.ready.marker.ident, system, round(time.time(), 3))),
        "config": records.dump_settings(settings),
        "leader": records.dump_leader(key),
    }
    guards = [Guard(root + key, 0) for key in values]
    writes = [Write(root + key, value) for key, value in values.items()]
    done = run.store.commit(guards, writes, deadline_s=run.machine.clock.now_s() + STORE_S)
    if isinstance(done, Conflict | Unknown) and not _is_ours(run, _read(run)):
        why = done.why if isinstance(done, Unknown) else "somebody else wrote at the same moment"
        raise OutcomeUnknown("the cluster could not be registered in the store", why, "run the same command again")
    run.progress.step("", f"cluster {run.inventory.cluster} registered in the store")
