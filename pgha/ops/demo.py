"""The demo: a cluster on this machine in a directory of its own, made by bootstrap and removed without a trace.

Policy only: programs run through `Host`; processes are ended only when /proc shows that they are this demo's.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from pgha.errors import OutcomeUnknown, Refused, UsageError
from pgha.host import Host
from pgha.ops import newdata, restarter
from pgha.ops.bootstrap import bootstrap
from pgha.ops.bootstrap_run import Machine, Options, Outcome
from pgha.ops.connect import DEMO_PASSFILE, DEMO_ROLE
from pgha.ops.drill_role import NAME as DRILL_ROLE
from pgha.ops.fleet import Marker
from pgha.ops.local_nodes import LocalNode, hold_down, is_restarter, sort_out
from pgha.ops.preflight import read_marker
from pgha.ops.procs import Proc, end_all, living
from pgha.ops.progress import Progress

if TYPE_CHECKING:
    from pgha.inventory import Inventory

CLUSTER = "demo"
INVENTORY = "inventory.yaml"
READY = "ready"  # written when `demo up` has succeeded once
RESTART_EVERY_S = 5.0
SIZES = (1, 3, 4, 5, 6, 7)
FIRST_PORTS = {"postgres": 5501, "client": 2381, "peer": 2391}
STOP_S = 20.0
TERM_S = 5.0
ETCD_TERM_S = 1.0  # members that all end hand their leadership round for 5 s; what they hold is removed anyway

SEGMENTS_MB = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Wish:
    """What `demo up` is asked for. dir: absolute. bin_dir: of PostgreSQL's programs, "" for those that are found.

    wal_segment_mb: a small one keeps the demo small; hosts have PostgreSQL's default, 16.
    """

    dir: str
    nodes: int = 3
    flags: str = ""
    bin_dir: str = ""
    wal_segment_mb: int = 1


def demo_user() -> str:
    """Who runs the demo: oneself, or when root the account postgres if there is one, else nobody."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


def free_ports(host: Host, first: int, count: int) -> list[int]:
    """`count` ports in a row that are free, looked for from `first` in steps of 20. Raises Refused."""
    for base in range(first, first + 400, 20):
        ports = list(range(base, base + count))
        if all(host.port_taken("127.0.0.1", port) is None for port in ports):
            return ports
    raise Refused(f"no {count} free ports in a row", f"looked on 127.0.0.1 from {first} to {first + 400}")


def inventory_text(wish: Wish, user: str, host: Host) -> str:
    """The demo's inventory, with ports that are free now."""
    ports = {what: free_ports(host, first, wish.nodes) for what, first in FIRST_PORTS.items()}
    lines = ["# Written by `pgha demo up`: a cluster on this machine, for trying only.", f"cluster: {CLUSTER}"]
    clients = [f"host {role} {role} 127.0.0.1/32 scram-sha-256" for role in (DEMO_ROLE, DRILL_ROLE)]
    bin_dir = [f"  bin_dir: {wish.bin_dir}"] if wish.bin_dir else []
    lines += ["postgres:", f"  hba: [{', '.join(clients)}]", *bin_dir, "nodes:"]
    for i in range(wish.nodes):
        where = f"host: 127.0.0.1, port: {ports['postgres'][i]}"
        etcd = f"etcd_client_port: {ports['client'][i]}, etcd_peer_port: {ports['peer'][i]}"
        lines.append(f"  n{i + 1}: {{{where}, {etcd}}}")
    lines.append(f"local: {{dir: {wish.dir}, user: {user}}}")
    return "\n".join(lines) + "\n"


def _our_marker(root: str) -> Marker | None:
    """The marker of a demo; None when there is no directory or an empty one. Raises Refused for anything else."""
    marker = read_marker(root)
    if marker is None:
        if os.path.lexists(root) and (not os.path.isdir(root) or os.listdir(root)):
            raise Refused(f"{root} is not a demo of pgha", "it has no marker; nothing was touched", "give --dir")
        return None
    if not marker.demo:
        why = f"it holds cluster {marker.cluster}, made by bootstrap; nothing was touched"
        raise Refused(f"{root} is not a demo of pgha", why, "give another --dir")
    return marker


@dataclass(frozen=True, slots=True)
class Doors:
    """read: an inventory's text and its path to the inventory. machine: what bootstrap needs for it."""

    read: Callable[[str, str], Inventory]
    machine: Callable[[Inventory], Machine]


def up(wish: Wish, host: Host, doors: Doors, progress: Progress) -> Outcome:
    """Make the demo, or go on with an interrupted one. Raises Refused when it is up, or the directory is foreign."""
    if wish.nodes not in SIZES:
        sizes = ", ".join(map(str, SIZES))
        raise UsageError(f"--nodes {wish.nodes} is not possible", f"one of {sizes}; two can't outvote each other")
    if wish.wal_segment_mb not in SEGMENTS_MB:
        raise UsageError(f"--wal-segment {wish.wal_segment_mb} is not possible", f"one of {SEGMENTS_MB}")
    path, down = f"{wish.dir}/{INVENTORY}", f"pgha demo down{wish.flags}"
    made = _our_marker(wish.dir) is not None
    if made and os.path.exists(f"{wish.dir}/{READY}") and processes(wish.dir):
        raise Refused("the demo is up already", f"in {wish.dir}", f"{down}, or look at it: pgha list -i {path}")
    text = host.read(path) if made else None
    secret = newdata.password_in(host.read(f"{wish.dir}/{DEMO_PASSFILE}"), DEMO_ROLE) if made else None
    password = secret or newdata.new_password()
    text = text or inventory_text(wish, host.user, host)
    inventory = doors.read(text, path)
    options = Options(
        app=newdata.AppRole(DEMO_ROLE, password),
        files={INVENTORY: text, DEMO_PASSFILE: newdata.passfile_line(DEMO_ROLE, password)},
        demo=True,
        again=f"pgha demo up{wish.flags}",
        wal_segment_mb=wish.wal_segment_mb,
        restart_every_s=RESTART_EVERY_S,
        flags=f"-i {path} " if wish.flags else "",
    )
    outcome = bootstrap(inventory, doors.machine(inventory), options, progress)
    host.write(f"{wish.dir}/{READY}", "up\n")
    return outcome


# -- down ----------------------------------------------------------------------------------------------------


def _nodes(root: str) -> list[LocalNode]:
    """The nodes that were ever started: processes are started only after the plan was written."""
    try:
        return restarter.read_plan(root)[0]
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as e:
        raise Refused(f"{root} can't be taken down", str(e), f"look at {root}/{restarter.PLAN}") from e


def processes(root: str) -> list[Proc]:
    """Every living process of the demo, the restarter first."""
    there = living()
    found = [p for p in there if is_restarter(p, root)]
    for node in _nodes(root):
        found += [p for procs in sort_out(node, there).values() for p in procs]
    return found


def _stop_node(node: LocalNode, host: Host) -> None:
    """Orderly; what it leaves is ended afterwards."""
    argv = [*node.watchdog_argv(), "--stop", "--within", f"{STOP_S:g}"]
    host.run(argv, timeout_s=STOP_S + 5.0, cwd="/")


def _stop_servers(nodes: list[LocalNode], host: Host, progress: Progress) -> None:
    there = living()
    running = [n for n in nodes if sort_out(n, there)["guard"]]
    stopping = [threading.Thread(target=_stop_node, args=(node, host)) for node in running]
    for thread in stopping:
        thread.start()
    for node, thread in zip(running, stopping, strict=True):
        thread.join(STOP_S + 10.0)
        progress.step(node.name, "watchdog and server stopped")


def down(wish: Wish, host: Host, progress: Progress) -> bool:
    """End the demo's processes and remove its files; False when there was none. Again after an interruption: goes on.

    Raises Refused for a directory that is not a demo's, OutcomeUnknown when a process can't be ended.
    """
    root = wish.dir
    if _our_marker(root) is None:
        return False
    if host.user != (owner := pwd.getpwuid(os.stat(root).st_uid).pw_name):
        raise Refused(f"{root} belongs to {owner}", f"you would act as {host.user}", f"run it as {owner} or as root")
    with host.hold(root):
        _end_processes(wish, host, progress)
        _remove(root, _nodes(root))
    progress.step("", f"{root} removed")
    return True


def _end_processes(wish: Wish, host: Host, progress: Progress) -> None:
    root, nodes = wish.dir, _nodes(wish.dir)
    for node in nodes:
        if os.path.isdir(node.dir):
            hold_down(node)
    end_all([p for p in living() if is_restarter(p, root)], timeout_s=TERM_S)
    _stop_servers(nodes, host, progress)
    left = end_all([p for p in processes(root) if p.program != "etcd"], timeout_s=TERM_S)
    left += end_all(processes(root), timeout_s=ETCD_TERM_S)
    if left:
        names = ", ".join(f"{p.program} (pid {p.pid})" for p in left)
        raise OutcomeUnknown("not everything has ended", names, f"pgha demo down{wish.flags}, once more")
    progress.step("", "etcd stopped")


def _remove(root: str, nodes: list[LocalNode]) -> None:
    """Files last, the marker at the very end: an interrupted removal is still recognised and gone on with."""
    for node in nodes:
        if not node.socket_dir.startswith(root + "/"):
            shutil.rmtree(node.socket_dir, ignore_errors=True)
    plan = restarter.PLAN
    for name in sorted(os.listdir(root), key=lambda n: (n == ".pgha-local", n == plan)):
        path = f"{root}/{name}"
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
    os.rmdir(root)


def next_lines(wish: Wish, flags: str) -> list[str]:
    """What to type now."""
    return [
        "demo only: no TLS, one disk, one machine",
        "try:",
        f"  pgha {flags}list -w",
        f"  pgha {flags}switchover --to n2",
        f'  psql "$(pgha {flags}dsn)"',
        f"  pgha {flags}drill kill-postgres",
        f"  pgha demo down{wish.flags}",
    ]


def with_dir(wish: Wish, given: str | None) -> Wish:
    """The wish for another directory than the default; suggested commands then name it."""
    if given is None:
        return wish
    path = os.path.abspath(given)
    return replace(wish, dir=path, flags=f" --dir {path}")
