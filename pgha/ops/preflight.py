"""Everything that could be in the way of a cluster on this machine, found in one pass, before anything is changed.

Reads the machine through `Host`, files and /proc; writes nothing.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from pgha.errors import Findings, PghaError, Refused
from pgha.host import Binaries, Host
from pgha.ops.fleet import Marker, Ready, new_marker, parse_marker
from pgha.ops.local_nodes import MARKER, LocalNode, load, sort_out
from pgha.ops.procs import Proc, living

if TYPE_CHECKING:
    from pgha.inventory import Inventory

TRY_S = 20.0
OUTSIDE = "python3 -m venv /opt/pgha && /opt/pgha/bin/pip install 'pgha[demo]', then run that pgha"


def read_marker(root: str) -> Marker | None:
    """The directory's marker, None when it has none. Raises Refused when it can't be understood."""
    path = f"{root}/{MARKER}"
    try:
        with open(path, encoding="utf-8") as f:
            return parse_marker(f.read(4096))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise Refused(f"{path} is not a marker of pgha", str(e), "look into the directory; pgha leaves it alone") from e


def check_dir(root: str, cluster: str, user: str, spared: frozenset[str] = frozenset()) -> Marker | None:
    """The directory is absent, empty, or ours. Raises Refused otherwise; gives its marker if it has one.

    spared: names in it that are not in the way.
    """
    if os.path.islink(root) or (os.path.exists(root) and not os.path.isdir(root)):
        raise Refused(f"{root} is not a directory", "a link or a file is in the way", "give another directory")
    if not os.path.isdir(root):
        return None
    owner = os.stat(root).st_uid
    if owner not in {os.geteuid(), pwd.getpwnam(user).pw_uid}:
        raise Refused(f"{root} belongs to another user", f"owner is uid {owner}", "give another directory")
    marker = read_marker(root)
    if marker is None and set(os.listdir(root)) - spared:
        raise Refused(f"{root} is not empty and not pgha's", f"it has no {MARKER}", "give another directory")
    if marker is not None and marker.cluster != cluster:
        raise Refused(f"{root} belongs to cluster {marker.cluster}", f"the inventory says {cluster}")
    return marker


def _tcp_owner(port: int) -> Proc | None:
    """The process that listens on this port, when /proc lets us see it."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table, encoding="ascii") as f:
                rows = [line.split() for line in f][1:]
        except OSError:
            continue
        inodes |= {r[9] for r in rows if r[3] == "0A" and int(r[1].rpartition(":")[2], 16) == port}
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for proc in living() if wanted else []:
        try:
            with os.scandir(f"/proc/{proc.pid}/fd") as fds:
                if any(_points_to(fd.path, wanted) for fd in fds):
                    return proc
        except OSError:
            continue
    return None


def _points_to(path: str, wanted: set[str]) -> bool:
    try:
        return os.readlink(path) in wanted
    except OSError:
        return False


def check_ports(nodes: list[LocalNode], host: Host) -> list[PghaError]:
    """A problem for each port of a process that does not run yet and that somebody else has."""
    problems: list[PghaError] = []
    there = living()
    for node in nodes:
        running = sort_out(node, there)
        ports = {} if running["postgres"] else {"PostgreSQL": node.port}
        if node.has_etcd and not running["etcd"]:
            ports |= {"etcd clients": node.etcd_client_port, "etcd peers": node.etcd_peer_port}
        for what, port in ports.items():
            why = host.port_taken(node.host, port)
            if why is None:
                continue
            owner = _tcp_owner(port)
            who = f": {owner.program} (pid {owner.pid})" if owner else ""
            fix = f"give {node.name} another port in the inventory, or stop what uses it"
            problems.append(Refused(f"{node.host}:{port} of {node.name} ({what}) is not free", why + who, fix))
    return problems


def check_interpreter(python: str, host: Host) -> list[PghaError]:
    """The node's user must be able to run this very Python and pgha."""
    ran = host.run([python, "-c", "import pgha.nodefile"], timeout_s=TRY_S)
    if ran.ok:
        return []
    return [Refused(f"{host.user} can't run {python} with pgha", _blocked(python) or ran.tail(), OUTSIDE)]


def _blocked(path: str) -> str:
    """The first folder on the way that others may not enter, as a reason."""
    parts = path.split("/")[1:-1]
    for i in range(len(parts)):
        folder = "/" + "/".join(parts[: i + 1])
        if os.path.isdir(folder) and not os.stat(folder).st_mode & stat.S_IXOTH:
            return f"{folder} is closed to other users (mode {stat.S_IMODE(os.stat(folder).st_mode):04o})"
    return ""


def _check_program(path: str, host: Host) -> tuple[list[PghaError], str]:
    """(problems, what `--version` said)."""
    ran = host.run([path, "--version"], timeout_s=TRY_S)
    if ran.ok:
        return [], ran.out
    return [Refused(f"{host.user} can't run {path}", _blocked(path) or ran.tail(), OUTSIDE)], ""


def etcd_warning(version: str) -> str:
    """What must be said of this etcd (the output of `etcd --version`), "" for nothing.

    Source: etcd's own announcement of 2022-03 on data inconsistency in 3.5.0 to 3.5.2.
    """
    found = re.search(r"etcd Version: (3\.5\.[0-2])$", version, re.MULTILINE)
    return f"etcd {found.group(1)} has known data bugs (3.5.0 to 3.5.2): for demos and tests only" if found else ""


def data_names(nodes: Iterable[LocalNode]) -> frozenset[str]:
    """What of the cluster's directory leads to data that were there before it."""
    return frozenset(os.path.relpath(n.data_dir, n.root).split("/", 1)[0] for n in nodes)


def preflight(
    inventory: Inventory, host: Host, binaries: Binaries, *, python: str, demo: bool, adopt: bool = False
) -> Ready:
    """All findings at once. Raises Findings (or the only one); gives what the steps need.

    adopt: servers of nodes may run there already.
    """
    nodes = load(inventory)
    problems: list[PghaError] = []

    def collect(ask: Callable[[], str]) -> str:
        try:
            return ask()
        except Findings as e:
            problems.extend(e.problems)
        except PghaError as e:
            problems.append(e)
        return ""

    if inventory.etcd.tls or inventory.etcd.user:
        problems.append(Refused("etcd with TLS or a user is not for nodes on one machine", "", "drop it"))
    marker: Marker | None = None
    try:
        spared = data_names(nodes) if adopt else frozenset[str]()
        marker = check_dir(nodes[0].root, inventory.cluster, host.user, spared)
    except PghaError as e:
        problems.append(e)
    programs: Mapping[str, str] = {"postgres": collect(binaries.postgres)}
    if any(n.has_etcd for n in nodes):
        programs = {**programs, "etcd": collect(binaries.etcd)}
    if programs["postgres"]:
        problems += _check_program(f"{programs['postgres']}/postgres", host)[0]
    warning = ""
    if programs.get("etcd"):
        unfit, version = _check_program(programs["etcd"], host)
        problems, warning = problems + unfit, etcd_warning(version)
    problems += check_interpreter(python, host)
    problems += check_ports(nodes, host)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise Findings(problems)
    chosen = marker or new_marker(inventory.cluster, demo=demo)
    warnings = (warning,) if warning else ()
    return Ready(tuple(nodes), programs["postgres"], programs.get("etcd", ""), chosen, marker is None, warnings, adopt)
