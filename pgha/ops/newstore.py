"""The store is lost for good: a new one for the data there are (`pgha bootstrap --new-store`).

What rules commits were acknowledged under is lost with it. So the new leader key names one rule that every copy there
is has to cover: each node seals, the one that has most takes over, and whatever was acknowledged lies on one of them.
Nodes whose data are missing may have had commits that nobody else has: their loss is accepted in so many words or
nothing is done. Epoch and beat go on where the nodes' memories end; revisions begin anew, so memories forget theirs.
May import core, records and its neighbours.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgha import nodefile, records
from pgha.core.model import Copy, Leader, Position, Rule, Tenure
from pgha.errors import Exit, PghaError, Refused
from pgha.host import Identity
from pgha.ops import newdata
from pgha.ops.bootstrap_run import Run
from pgha.ops.fleet import Place
from pgha.ports import StoreDown

if TYPE_CHECKING:
    from pgha.inventory import Inventory

LOST = "lost-store"  # the data id of the holder that the new key names: nobody has it, so nobody covers alone
ASK_S = 3.0


def plan_lines(inventory: Inventory) -> list[str]:
    """What the operator reads before the question."""
    own = "its etcd begins anew, what is left of the old one is moved aside" if inventory.etcd.nodes else ""
    lines = [f"plan: a new store for cluster {inventory.cluster}", *([f"  {own}"] if own else [])]
    return [*lines, "  every server is stopped once; the one with most data becomes primary when all have sealed"]


def clear_the_way(run: Run) -> None:
    """The old store is really gone; nothing runs, no member has data, memories expect a store that begins anew.

    Raises Refused when the store still knows the cluster, PghaError (would lose data) when data are missing.
    """
    run.doing = "looking whether the store is lost"
    _must_be_lost(run)
    _must_be_complete(run)
    run.doing = "stopping the nodes"
    run.token = f"{run.ready.marker.ident}-{secrets.token_hex(3)}"
    stamp = f"lost-{run.token[-6:]}"

    def stop(node: Place) -> None:
        leaver = run.fleet.leaver(node)
        leaver.halt()
        leaver.stop_plain()
        leaver.stop_member()
        leaver.put_member_away(stamp)
        keep = run.fleet.keep(node)
        body = dict(keep.load())
        if body:
            keep.save({**body, "cluster": run.ready.marker.ident, "revision": 0, "seal": None})

    run.fleet.each(stop)
    run.progress.step("", "nothing runs; the nodes expect a store that begins anew")


def _must_be_lost(run: Run) -> None:
    try:
        seen = run.store.read(records.prefix(run.inventory.cluster), deadline_s=run.machine.clock.now_s() + ASK_S)
    except StoreDown as e:
        if run.inventory.etcd.endpoints:
            why = f"no answer from the store: {e.why}"
            raise Refused("a new store has to be there first", why, "set it up, and name it: etcd: {endpoints}") from e
        return
    # A watchdog that still runs writes its own member key into any store of its cluster, into an empty one as well.
    own = {f"{records.prefix(run.inventory.cluster)}members/{node.name}" for node in run.inventory.nodes}
    if seen.entries.keys() - own:
        keys = ", ".join(key.rpartition("/")[2] for key in sorted(seen.entries)[:3])
        why = f"it answers and holds {len(seen.entries)} keys of {run.inventory.cluster} ({keys}, ...)"
        raise Refused("the store is not lost", why, run.target.command("list"))


def _must_be_complete(run: Run) -> None:
    """Every node that the cluster had has its data. Known by the node files that are left."""
    had: set[str] = set()
    there: set[str] = set()

    def look(node: Place) -> None:
        text = run.fleet.node_file(node)
        if text is not None:
            had.update(nodefile.parse(text).nodes)
        if run.fleet.host(node).holds_something(node.data_dir):
            there.add(node.name)

    run.fleet.each(look)
    missing = sorted(had - there)
    if missing and not run.options.accept_loss:
        why = f"{', '.join(missing)} may have commits that {', '.join(sorted(there)) or 'nobody'} lacks"
        step = f"bring them back; if they are gone: {run.target.command('bootstrap --new-store --accept-data-loss')}"
        raise PghaError("data of the cluster are missing", why, step, code=Exit.WOULD_LOSE)


# -- what the nodes remember -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Remembered:
    """One node's memory and directory. copy: of what lies there, None when the memory does not know it."""

    node: str
    copy: Copy | None
    epoch: int
    beat: int
    timeline: int


def remembered(run: Run, with_data: Sequence[str]) -> tuple[str, Leader]:
    """The system identifier and the key of the new store. Raises Refused when directories are not of one cluster."""
    found: dict[str, Remembered] = {}
    systems: dict[str, str] = {}

    def look(node: Place) -> None:
        if node.name not in with_data:
            return
        host, body = run.fleet.host(node), run.fleet.keep(node).load()
        said = newdata.controldata(node, node.data_dir, run.ready.bin_dir, host)
        systems[node.name] = said.system
        found[node.name] = memory_of(node.name, body, host.identity(node.data_dir), said.timeline)

    run.fleet.each(look)
    if len(set(systems.values())) != 1:
        why = ", ".join(f"{name}: {system}" for name, system in sorted(systems.items()))
        raise Refused("the data directories are not of one cluster", why, "move away what does not belong to it")
    return next(iter(systems.values())), leader_of(list(found.values()))


def memory_of(node: str, body: Mapping[str, object], lies: Identity, timeline: int) -> Remembered:
    """From the memory's document, as `watchdog.memory` writes it (or bootstrap, before the first start)."""
    raw = body.get("copies")
    known = [c for c in raw if isinstance(c, dict)] if isinstance(raw, list) else []
    data = body.get("data")
    known += [data] if isinstance(data, dict) else []
    mine = [c for c in known if c.get("inode") == lies.inode and c.get("made") == lies.made]
    copy = Copy(node, str(mine[-1]["id"])) if mine else None
    return Remembered(node, copy, _count(body, "epoch"), _count(body, "beat"), timeline)


def _count(body: Mapping[str, object], name: str) -> int:
    value = body.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def leader_of(found: Sequence[Remembered]) -> Leader:
    """Released; every copy has to seal before anybody may claim. Raises Refused for a directory nobody remembers."""
    strange = [one.node for one in found if one.copy is None]
    if strange:
        why = "their memory does not name the directory that lies there"
        raise Refused(f"the data of {', '.join(strange)} are not known", why, "move that directory away: it is cloned")
    copies = frozenset(one.copy for one in found if one.copy is not None)
    epoch = max(max(one.epoch, one.timeline) for one in found)
    holder = Copy(min(one.node for one in found), LOST)
    return Leader(
        holder=holder,
        incarnation="bootstrap",
        epoch=epoch,
        beat=max(one.beat for one in found) + 1,
        tenure=Tenure.RELEASED,
        sync=(Rule(holder, copies, 1),),
        position=Position(epoch, 0),
        reason="the store was lost; a new one was begun",
    )
