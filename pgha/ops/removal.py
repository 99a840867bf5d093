"""`pgha remove NODE`: out of the voters first, then stopped, forgotten by store and nodes, its data moved aside.

Everything is derived from what is there, so the same command goes on after an interruption, and again changes nothing.
What would break the promise is refused before anything is changed. May import core, records and its neighbours.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgha import records
from pgha.core.model import Leader, Settings, Tenure
from pgha.errors import Busy, Exit, OutcomeUnknown, Refused, RolledBack, StoreUnreachable, Unreachable, UsageError
from pgha.ops import etcd_changes, status
from pgha.ops.etcd_members import scheme_of
from pgha.ops.leaving import Leaver
from pgha.ops.progress import Progress
from pgha.ops.status import Row, Seen, Status
from pgha.ops.target import Target
from pgha.ports import Clock, Committed, Guard, Store, StoreDown, StoreMembers, Write

if TYPE_CHECKING:
    from pgha.inventory import Inventory

STORE_S = 5.0
VOTERS_S = 60.0
SETTLE_S = 15.0
LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Plan:
    """What may be done. copies: standbys that must have a commit, before and then. members: etcd's, before and then.

    gone: its host is not there. spare: a node that could take its member over, "" for none.
    """

    node: str
    host: str
    gone: bool
    voters: int
    copies: tuple[int, int]
    members: tuple[int, int]
    spare: str
    rest: Inventory

    def lines(self, cluster: str) -> list[str]:
        """What the operator reads before the question."""
        page = [f"plan: remove {self.node} ({self.host}) from {cluster}"]
        page.append(f"  out of the voters first: {self.voters} left, {self.copies[1]} of them must have a commit")
        if self.members[0] != self.members[1]:
            page.append(f"  its etcd member goes: {self.members[1]} left" + self._member_note())
        page.append("  watchdogs of the other nodes read their new node file; their PostgreSQL goes on")
        if self.gone:
            page.append("  its host is not touched: when it comes back, pgha there finds itself shut out")
        else:
            page.append("  its watchdog, PostgreSQL and etcd stop; its data are moved aside, not deleted")
        return [*page, "  writes go on meanwhile"]

    @property
    def leaves_two(self) -> bool:
        """What is left could not be an inventory: its own store has two members, of which neither may fail."""
        return len(self.rest.nodes) == 2 and not self.rest.etcd.endpoints

    def _member_note(self) -> str:
        if self.members[1] % 2:
            return ""
        then = f"; pgha bootstrap then puts one on {self.spare}" if self.spare else ""
        return f", which bear no more losses than {self.members[1] - 1}{then}"


def without(inventory: Inventory, node: str) -> Inventory:
    """The inventory as it is once the node's lines are taken out, etcd's members staying where they are."""
    nodes = tuple(spec for spec in inventory.nodes if spec.name != node)
    members = tuple(name for name in inventory.etcd.nodes if name != node)
    return replace(inventory, nodes=nodes, etcd=replace(inventory.etcd, nodes=members))


def plan(target: Target, seen: Seen, inventory: Inventory, node: str, *, gone: bool) -> Plan:
    """Refuses what is not safe. Raises UsageError, StoreUnreachable, Busy, Refused."""
    spec = next((n for n in inventory.nodes if n.name == node), None)
    if spec is None:
        known = ", ".join(n.name for n in inventory.nodes)
        raise UsageError(
            f"there is no node {node} in {inventory.cluster}", f"its nodes: {known}", target.command("list")
        )
    if seen.down:
        raise StoreUnreachable("the store gave no answer", seen.down, target.command("list"))
    leader, settings = _leader(target, seen), seen.records.settings or Settings()
    if leader.holder.node == node:
        raise Refused(f"{node} is the primary", "another node takes over first", target.command("switchover"))
    _member_reports(target, seen, node, gone=gone)
    voters, copies = _voters(target, settings, leader, inventory, node)
    _others_are_well(target, seen, node)
    members, spare = _store_goes_on(target, seen, inventory, node, gone=gone)
    return Plan(node, spec.host, gone, voters, copies, members, spare, without(inventory, node))


def _leader(target: Target, seen: Seen) -> Leader:
    leader, order = seen.records.leader, seen.records.order
    if leader is None or leader.tenure is not Tenure.HELD or status.primary_of(seen) is None:
        raise Refused("there is no primary now", "a node is removed from a cluster that works", target.command("list"))
    if leader.paused is not None:
        raise Refused("the cluster is paused", leader.paused.reason, target.command("resume"))
    if order is not None:
        what = f"a {order.kind} by {order.asked_by or 'somebody'} is at work"
        raise Busy(what, f"phase {order.phase}", target.command("list"))
    return leader


def _member_reports(target: Target, seen: Seen, node: str, *, gone: bool) -> None:
    member = seen.records.members.get(node)
    if gone and status.is_fresh(member, seen.at):
        why = "it reported within the last seconds: it would go on without being looked after"
        raise Refused(f"{node} is not gone", why, target.command(f"remove {node}"))


def _voters(
    target: Target, settings: Settings, leader: Leader, inventory: Inventory, node: str
) -> tuple[int, tuple[int, int]]:
    """How many voters there are then, and k before and then. Refused when the promise would not hold."""
    left = len(inventory.nodes) - 2
    now = leader.sync[-1].k if leader.sync else 0
    if left < 0:
        raise Refused(f"{node} is the only node of {inventory.cluster}", "", target.command("destroy"))
    if settings.durability == "async":
        return left, (now, 0)
    if left == 0:
        why = f"durability is {settings.durability}, and no standby would be left to confirm a commit"
        step = target.command("config set durability=async") + ", or put another node in first"
        raise Refused(f"without {node} commits would exist once", why, step)
    if settings.copies > left:
        why = f"copies is {settings.copies}, and {left} standby{'' if left == 1 else 's'} would be left"
        raise Refused(f"without {node} the promise would not hold", why, target.command(f"config set copies={left}"))
    return left, (now, settings.copies or (left + 1) // 2)


def _others_are_well(target: Target, seen: Seen, node: str) -> None:
    """Whoever is unwell, but for the node itself, may be needed tomorrow."""
    rows: tuple[Row, ...] = status.judge(target, seen).rows
    ill = [row for row in rows if row.alert and row.node != node]
    if ill:
        why = "; ".join(f"{row.node}: {row.state}" + (f", {row.problem}" if row.problem else "") for row in ill)
        raise Refused(f"{node} can't be spared now", why, target.command("list"))


def _store_goes_on(
    target: Target, seen: Seen, inventory: Inventory, node: str, *, gone: bool
) -> tuple[tuple[int, int], str]:
    """etcd's members before and then, and who could take the node's over."""
    members = inventory.etcd.nodes
    if inventory.etcd.endpoints or node not in members:
        return (len(members), len(members)), ""
    left = [n for n in inventory.nodes if n.name in members and n.name != node]
    if not left:
        why = f"etcd runs on {node} alone"
        raise Refused(f"without {node} there is no store", why, "name another store: etcd: {endpoints: [...]}")
    up = {name for name, m in zip(_members(inventory), seen.health.members, strict=False) if m.reachable}
    answering = len(up - {node})
    if answering < len(left) // 2 + 1:
        why = f"{answering} of the {len(left)} other etcd members answer, {len(left) // 2 + 1} are needed"
        raise Refused(f"without {node} the store would have no majority", why, target.command("list"))
    spare = next((n.name for n in inventory.nodes if n.name not in members), "")
    if len(left) % 2 == 0 and not gone and not spare and node in up:
        why = f"etcd would have {len(left)} members, and none of them may fail"
        step = "put a new node into the inventory and run pgha bootstrap first"
        raise Refused(f"without {node} the store bears no loss", why, step)
    return (len(members), len(left)), spare


def _members(inventory: Inventory) -> list[str]:
    """Nodes with a member in the order of the store's endpoints, which is theirs also through tunnels."""
    return [n.name for n in inventory.nodes if n.name in inventory.etcd.nodes]


# -- doing ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Doors:
    """store, clock; open_members: who makes up etcd. rewrite: the other nodes' files and watchdogs, by `plan.rest`.

    rewrite_plan: the restarter's, where there is one. stamp: the end of the names of what is moved aside.
    """

    store: Store
    clock: Clock
    open_members: Callable[[], StoreMembers]
    rewrite: Callable[[Inventory], None]
    rewrite_plan: Callable[[Inventory], None]
    stamp: str


def remove(
    target: Target, chosen: Plan, inventory: Inventory, leaver: Leaver | None, doors: Doors, say: Progress
) -> str:
    """Do it; gives where the data are now ("" with nothing there). leaver: None for a host that is gone."""
    doing = "telling the other nodes"
    try:
        doors.rewrite(chosen.rest)
        doing = f"waiting until {chosen.node} is no voter any more"
        _await_dropped(target, chosen.node, doors, say)
        doing = f"stopping {chosen.node}"
        if leaver is not None:
            leaver.halt()
        doing = "clearing the store"
        forget(doors.store, doors.clock, target, chosen.node)
        say.step(chosen.node, "forgotten by the store")
        _take_member_out(chosen, inventory, leaver, doors, say)
        doing = "moving its data aside"
        where = leaver.put_away(doors.stamp) if leaver is not None else ""
        doors.rewrite_plan(chosen.rest)
        return where
    except KeyboardInterrupt:
        state = f"interrupted while {doing}; what is done stays"
        flag = " --gone" if chosen.gone else ""
        again = target.command(f"remove {chosen.node}{flag}")
        raise OutcomeUnknown(state, "", f"{again} goes on from there", code=Exit.INTERRUPTED) from None


def _read(target: Target, doors: Doors) -> records.Records | None:
    try:
        seen = doors.store.read(records.prefix(target.cluster), deadline_s=doors.clock.now_s() + STORE_S)
    except StoreDown:
        return None
    entries = {key: (entry.value, entry.revision) for key, entry in seen.entries.items()}
    return records.parse_snapshot(target.cluster, seen.revision, entries)


def _await_dropped(target: Target, node: str, doors: Doors, say: Progress) -> None:
    """The holder has taken it out of every rule that counts. Raises RolledBack."""
    end, told = doors.clock.now_s() + VOTERS_S, False
    while True:
        found = _read(target, doors)
        leader = found.leader if found is not None else None
        if leader is not None and leader.holder.node == node:
            step = target.command("bootstrap") + " puts it back; then switch over and remove it"
            raise RolledBack(f"{node} has become primary meanwhile", "the former primary failed", step)
        if leader is not None and leader.tenure is Tenure.HELD:
            named = any(c.node == node for rule in leader.sync for c in (rule.holder, *rule.voters))
            if not named:
                say.step(node, "no voter any more")
                return
        if not told:
            say.step(node, "waiting until no rule names it", done=False)
            told = True
        if doors.clock.now_s() >= end:
            why = "no answer from the store" if leader is None else f"{leader.holder.node} still counts on it"
            raise RolledBack(f"{node} is still a voter after {VOTERS_S:g} s", why, target.command("explain"))
        doors.clock.sleep(LOOK_S)


def forget(store: Store, clock: Clock, target: Target, node: str) -> None:
    """Its member key goes; the primary then drops its slot. Raises OutcomeUnknown."""
    key = f"{records.prefix(target.cluster)}members/{node}"
    end, why = clock.now_s() + 2 * STORE_S, "it is written again and again"
    while clock.now_s() < end:
        try:
            entry = store.read(key, deadline_s=clock.now_s() + STORE_S).entries.get(key)
        except StoreDown as e:
            why = e.why
            continue
        if entry is None:
            return
        done = store.commit([Guard(key, entry.revision)], [Write(key, None)], deadline_s=clock.now_s() + STORE_S)
        if isinstance(done, Committed):
            return
    raise OutcomeUnknown(f"members/{node} is still in the store", why, target.command(f"remove {node}"))


def _take_member_out(chosen: Plan, inventory: Inventory, leaver: Leaver | None, doors: Doors, say: Progress) -> None:
    if chosen.members[0] == chosen.members[1]:
        return
    spec = next(n for n in inventory.nodes if n.name == chosen.node)
    url = f"{scheme_of(local=inventory.local is not None)}://{spec.host}:{spec.etcd_peer_port}"
    members = doors.open_members()
    try:
        if etcd_changes.take_out(members, doors.clock, chosen.node, url):
            say.step(chosen.node, "its etcd member is taken out")
    finally:
        members.close()
    if leaver is not None:
        leaver.stop_member()


def await_settled(store: Store, clock: Clock, target: Target, inventory: Inventory, node: str) -> Status:
    """What `list` says with the inventory as it should be now; waits up to SETTLE_S until it is content."""
    endpoints = tuple(e for name, e in zip(_members(inventory), target.store.endpoints, strict=False) if name != node)
    access = target.store if inventory.etcd.endpoints else replace(target.store, endpoints=endpoints)
    left = replace(target, nodes=tuple(ref for ref in target.nodes if ref.name != node), store=access)
    end = clock.now_s() + SETTLE_S
    while True:
        seen = status.gather(store, clock, target.cluster, timeout_s=STORE_S)
        members = tuple(m for m in seen.health.members if m.endpoint in access.endpoints)
        found = status.judge(left, replace(seen, health=replace(seen.health, members=members)))
        if found.exit == Exit.OK or clock.now_s() >= end:
            return found
        clock.sleep(LOOK_S)


def mentions(text: str, node: str, host: str) -> list[tuple[int, str]]:
    """The lines of an inventory that name the node: for the operator, whose file it is."""
    name = re.compile(rf"(?<![\w.-]){re.escape(node)}(?![\w.-])")
    address = re.compile(rf"(?<![\w.-]){re.escape(host)}(?![\w.-])")
    ours = [(i, line) for i, line in enumerate(text.splitlines(), 1) if name.search(line.partition("#")[0])]
    return ours or [(i, line) for i, line in enumerate(text.splitlines(), 1) if address.search(line.partition("#")[0])]


def unreachable(problem: Unreachable, target: Target, node: str) -> Unreachable:
    """The same, with what to do when the host will not come back."""
    step = f"{problem.next_step}; when it is gone for good: {target.command(f'remove {node} --gone')}"
    return Unreachable(problem.what, problem.because, step)
