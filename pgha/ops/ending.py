"""`pgha destroy`: every node stopped, the store's prefix removed, data moved aside; or pgha alone taken away.

What is done already is done no more, so the same command goes on after an interruption. The data are never deleted.
May import core, records and its neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgha import records
from pgha.core.model import Tenure
from pgha.errors import Exit, OutcomeUnknown, PghaError, Refused, StoreUnreachable, Unreachable, UsageError
from pgha.ops import giving_back, status
from pgha.ops.leavers import Leavers
from pgha.ops.leaving import Leaver
from pgha.ops.progress import Progress
from pgha.ops.status import Seen
from pgha.ops.target import Target
from pgha.ops.together import each, raise_all
from pgha.ports import Clock, Committed, Guard, Store, StoreDown, Write

if TYPE_CHECKING:
    from pgha.inventory import Inventory

STORE_S = 5.0
BATCH = 50  # keys of one transaction; etcd takes 128 operations


@dataclass(frozen=True, slots=True)
class Plan:
    """primary: the node whose server stops last, "" when there is none. store_down: why the prefix can't be removed.

    as_they_run: pgha has started none of the servers (bootstrap --adopt): they are left without a stop.
    """

    cluster: str
    primary: str
    nodes: tuple[str, ...]
    gone: tuple[str, ...]
    keep_postgres: bool
    store_down: str
    as_they_run: bool = False

    def lines(self) -> list[str]:
        """What the operator reads before he types the cluster's name."""
        kept = "pgha alone" if self.keep_postgres else "all of it"
        page = [f"plan: destroy cluster {self.cluster}, {kept}: {', '.join(self.nodes)}"]
        if self.as_they_run:
            page.append("  no server is stopped or restarted: they stand alone again, with their own configuration")
        elif self.keep_postgres:
            page.append(
                f"  PostgreSQL is stopped once, then runs under systemd: {self.primary} takes writes, the others follow"
            )
            page.append("  nobody fails over any more, and no commit waits for a standby")
        else:
            page.append("  PostgreSQL and etcd stop for good; their directories are moved aside, not deleted")
        page += [f"  {name} is gone: nothing is done there" for name in self.gone]
        if self.store_down:
            page.append(f"  the store gives no answer ({self.store_down}): it is moved aside as it is")
        return page


def plan(target: Target, seen: Seen, inventory: Inventory, gone: Sequence[str], *, keep_postgres: bool) -> Plan:
    """Raises UsageError, Refused, StoreUnreachable."""
    known = [n.name for n in inventory.nodes]
    for name in gone:
        if name not in known:
            raise UsageError(f"there is no node {name} in {inventory.cluster}", f"its nodes: {', '.join(known)}")
        if status.is_fresh(seen.records.members.get(name), seen.at):
            raise Refused(f"{name} is not gone", "it reported within the last seconds", "leave out --gone")
    if seen.down and inventory.etcd.endpoints:
        raise StoreUnreachable("the store gave no answer", seen.down, target.command("list"))
    primary = None if seen.down else status.primary_of(seen)
    leader = seen.records.leader
    name = primary.node if primary else leader.holder.node if leader else ""
    as_they_run = keep_postgres and not seen.down and giving_back.are_as_taken_over(seen.records.members.values())
    if keep_postgres and not as_they_run:
        if inventory.local is not None:
            raise Refused("--keep-postgres is for hosts", f"{inventory.cluster} is processes of this machine")
        halted = leader is not None and leader.tenure is Tenure.RELEASED and leader.clean
        if primary is None and not halted:
            if seen.records.revisions:
                raise _no_primary(target)
            name = ""  # an earlier run may have got further: the hosts tell
    left = tuple(n for n in known if n not in gone)
    return Plan(inventory.cluster, name, left, tuple(gone), keep_postgres, seen.down, as_they_run)


def _no_primary(target: Target) -> Refused:
    why = "whose data the others would follow is not known"
    return Refused("there is no primary now", why, target.command("list"))


@dataclass(slots=True)
class _Run:
    target: Target
    chosen: Plan
    leavers: Leavers
    progress: Progress
    doing: str = field(default="stopping the nodes")


def destroy(
    target: Target, chosen: Plan, leavers: Leavers, clear: Callable[[], int], stamp: str, progress: Progress
) -> Mapping[str, str]:
    """Do it; gives where each node's data are now. clear: removes the store's prefix, gives the number of keys.

    Raises PghaError; code 130 when interrupted.
    """
    raise_all([_unreachable(p, target, chosen, name) for name, p in leavers.problems.items()])
    if chosen.keep_postgres and not chosen.primary:
        plain = each(leavers.found, lambda _name, one: one.is_plain)
        if not all(plain.values()):
            raise _no_primary(target)
    run = _Run(target, chosen, leavers, progress)
    try:
        with leavers.hold():
            moved = (_leave_nodes if chosen.as_they_run else _end_nodes)(run, clear, stamp)
        run.doing = "moving the cluster's directory"
        place = "" if chosen.as_they_run else leavers.end_place(stamp)
    except KeyboardInterrupt:
        state = f"interrupted while {run.doing}; what is done stays"
        flag = " --keep-postgres" if chosen.keep_postgres else ""
        again = target.command(f"destroy{flag} goes on from there")
        raise OutcomeUnknown(state, "", again, code=Exit.INTERRUPTED) from None
    return {name: place or where for name, where in moved.items()}


def _unreachable(problem: PghaError, target: Target, chosen: Plan, name: str) -> PghaError:
    if not isinstance(problem, Unreachable):
        return problem
    flag = " --keep-postgres" if chosen.keep_postgres else ""
    step = f"{problem.next_step}; when it is gone for good: {target.command(f'destroy{flag} --gone {name}')}"
    return Unreachable(problem.what, problem.because, step)


def _end_nodes(run: _Run, clear: Callable[[], int], stamp: str) -> Mapping[str, str]:
    """The primary's server stops last: so no standby takes over meanwhile."""
    chosen, found = run.chosen, run.leavers.found
    last = {name: one for name, one in found.items() if name == chosen.primary}
    for some in ({name: one for name, one in found.items() if name not in last}, last):
        each(some, lambda _name, one: one.halt())
        if not chosen.keep_postgres:
            each(some, lambda _name, one: one.stop_plain())
    if chosen.keep_postgres and chosen.primary:
        run.doing = "starting PostgreSQL by itself"
        for some in (last, {name: one for name, one in found.items() if name not in last}):
            each(some, lambda _name, one: one.run_plainly(chosen.primary))
    run.doing = "clearing the store"
    if not chosen.store_down:
        run.progress.step("", f"{clear()} keys of {chosen.cluster} removed from the store")
    run.doing = "stopping etcd"
    each(found, lambda _name, one: one.stop_member())
    run.doing = "moving the data aside"
    if chosen.keep_postgres:
        return each(found, lambda _name, one: _forget(one, stamp))
    return each(found, lambda _name, one: one.put_away(stamp))


def _leave_nodes(run: _Run, clear: Callable[[], int], stamp: str) -> Mapping[str, str]:
    """Watchdogs leave, the primary's last; then each server has its own files again, the primary's first."""
    chosen, found = run.chosen, run.leavers.found
    first = {name: one for name, one in found.items() if name == chosen.primary}
    others = {name: one for name, one in found.items() if name not in first}
    run.doing = "letting the servers go"
    for some in (others, first):
        each(some, lambda _name, one: one.leave())
    for some in (first, others):
        each(some, lambda _name, one: one.give_back(chosen.primary))
    each(found, lambda _name, one: one.clean_up(chosen.primary))
    run.doing = "clearing the store"
    run.progress.step("", f"{clear()} keys of {chosen.cluster} removed from the store")
    run.leavers.end_restarter()
    run.doing = "stopping etcd"
    each(found, lambda _name, one: one.stop_member())
    return each(found, lambda _name, one: _forget(one, stamp))


def _forget(one: Leaver, stamp: str) -> str:
    one.put_member_away(stamp)
    one.forget()
    return "where they were"


def clear_prefix(store: Store, clock: Clock, cluster: str) -> int:
    """Remove all keys of the cluster; how many there were. Raises OutcomeUnknown, StoreUnreachable."""
    prefix, removed, tries = records.prefix(cluster), 0, 0
    while True:
        try:
            found = store.read(prefix, deadline_s=clock.now_s() + STORE_S).entries
        except StoreDown as e:
            raise StoreUnreachable("the store gave no answer", e.why, "the same command, once more") from e
        if not found:
            return removed
        if tries > len(found) // BATCH + 10:
            left = ", ".join(sorted(found)[:5])
            raise OutcomeUnknown(f"keys of {cluster} come back", left, "a watchdog of it runs somewhere: stop it first")
        tries += 1
        some = sorted(found.items())[:BATCH]
        guards = [Guard(key, entry.revision) for key, entry in some]
        done = store.commit(guards, [Write(key, None) for key, _ in some], deadline_s=clock.now_s() + STORE_S)
        removed += len(some) if isinstance(done, Committed) else 0
