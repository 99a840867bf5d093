"""From an inventory to a running cluster. Each step: done already? do, verify. So a second run resumes.

The steps speak to `Fleet`, `Host` and `ports.Store`: nodes on this machine and hosts over SSH go the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from pgha import nodefile
from pgha.errors import Exit, PghaError, RolledBack
from pgha.ops import adopting, etcd_changes, etcd_members, newdata, newstore, status, store_login
from pgha.ops.bootstrap_run import Machine, Options, Outcome, Run
from pgha.ops.fleet import Fleet, Place
from pgha.ops.founding import first_data
from pgha.ops.host_fleet import HostFleet
from pgha.ops.local_fleet import LocalFleet
from pgha.ops.node_files import node_file_of
from pgha.ops.preflight import preflight
from pgha.ops.progress import Progress
from pgha.ops.target import from_inventory, store_access

if TYPE_CHECKING:
    from pgha.inventory import Inventory

LOOK_S = 0.2


def fleet_of(
    inventory: Inventory, machine: Machine, options: Options, progress: Progress, *, adopt: bool = False
) -> Fleet:
    """Look at the nodes' machines: past preflight, nothing changed. Raises Findings, or the only problem.

    adopt: servers that run there already are to be taken over.
    """
    if inventory.local is not None:
        python, demo = machine.python, options.demo
        ready = preflight(inventory, machine.host, machine.binaries, python=python, demo=demo, adopt=adopt)
        files, every_s = dict(options.files), options.restart_every_s
        return LocalFleet(ready, machine.host, machine.keep, progress, machine.python, files, every_s)
    assert machine.distant is not None, "the CLI gives it"
    return HostFleet.look(inventory, machine.distant, progress, adopt=adopt)


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
    run = Run(inventory, machine, options, progress, fleet, target)
    progress.step("", f"preflight passed; PostgreSQL from {ready.bin_dir}" + (f", {ready.etcd}" if ready.etcd else ""))
    for warning in ready.warnings:
        progress.step("", warning)
    try:
        run.doing = "making the directories"
        with fleet.hold():
            fleet.lay_out()
            run.store = machine.open_store(store_access(inventory))
            if options.new_store:
                newstore.clear_the_way(run)
            begin = adopting.take if options.adopt is not None else first_data
            for step in (_passwords, _etcd, begin, _node_files, _start, _tighten):
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
    inventory: Inventory, machine: Machine, progress: Progress, steps: tuple[Callable[[Run], None], ...]
) -> None:
    options = Options()
    fleet = fleet_of(inventory, machine, options, progress)
    run = Run(inventory, machine, options, progress, fleet, from_inventory(inventory, ""))
    try:
        with fleet.hold():
            for step in steps:
                step(run)
    finally:
        fleet.close()


# -- files ---------------------------------------------------------------------------------------------------


def _passwords(run: Run) -> None:
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


def _node_files(run: Run) -> None:
    run.doing = "writing the node files"

    def put(node: Place) -> None:
        text = nodefile.dump(node_file_of(run, node))
        if run.fleet.put_node_file(node, text):
            run.progress.step(node.name, "node file written")

    run.fleet.each(put)


# -- the store -----------------------------------------------------------------------------------------------


def _member_argvs(run: Run) -> dict[str, list[str]]:
    """etcd's command lines, by node."""
    members, token = [n for n in run.ready.nodes if n.has_etcd], run.token or run.ready.marker.ident
    argv = etcd_members.member_argv
    return {n.name: argv(run.ready.etcd, n, members, token, run.fleet.member_tls(n)) for n in members}


def _etcd(run: Run) -> None:
    run.doing = "starting etcd"
    argvs = _member_argvs(run)
    open_members = run.machine.open_members
    if not run.ready.fresh and not run.options.new_store and open_members is not None:
        etcd_changes.let_in(
            run.fleet,
            lambda: open_members(store_access(run.inventory)),
            run.machine.clock,
            argvs,
            run.progress,
        )
    run.fleet.start_store(argvs)
    _with_accounts(run, lambda accounts, login: store_login.prepare(accounts, login, run.machine.clock))
    health = etcd_members.await_healthy(run.store, run.machine.clock, members=len(argvs) or 1)
    run.progress.step("", f"etcd healthy, {len(health.members)} members")


# -- processes -----------------------------------------------------------------------------------------------


def _start(run: Run) -> None:
    run.doing = "starting the watchdogs"
    run.fleet.start()


def _tighten(run: Run) -> None:
    """What every node has to be ready for before any may ask for it."""
    run.doing = "asking for TLS and logins"
    if run.fleet.tighten():
        _node_files(run)
        _start(run)
    _with_accounts(run, lambda accounts, _login: store_login.require(accounts, run.machine.clock))


def _with_accounts(run: Run, work: Callable[[store_login.StoreAccounts, store_login.Login], str]) -> None:
    """On the users of the cluster's own etcd, where it has any."""
    login, opened = run.fleet.login(), run.machine.open_accounts
    if login is not None and opened is not None:
        with closing(opened(store_access(run.inventory))) as accounts:
            run.progress.step("", work(accounts, login))


def _await_healthy(run: Run) -> status.Status:
    clock = run.machine.clock
    end, told = clock.now_s() + run.options.healthy_s, ""
    while True:
        seen = status.gather(run.store, clock, run.inventory.cluster, timeout_s=2.0)
        found = status.judge(run.target, seen)
        alone = run.options.adopt is not None and len(run.inventory.nodes) == 1
        if found.exit == Exit.OK or (alone and found.exit == Exit.DEGRADED):
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
