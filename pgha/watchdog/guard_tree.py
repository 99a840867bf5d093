"""Which processes belong to a server, which of them may still run, and how to end them all.

Used by the guard, and by the agent once its guard is dead. Standard library only; of pgha only the guard's own files.
Reads nothing of another process that can block on its memory or on a disk (no cmdline, no stat of its directory).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection

from pgha.watchdog.guard_os import now_s

_SIGKILL_BIT = 1 << (signal.SIGKILL - 1)
_PF_EXITING = 0x4
_SERVER_NAMES = ("postgres", "postmaster")
_PAUSE_S = 0.002
_HAS_CHILDREN_FILES = os.path.exists("/proc/thread-self/children")  # CONFIG_PROC_CHILDREN


class Status:
    """What /proc/PID/stat says: name, parent, process group, owner, and whether it may still run its own code.

    One short line, read in 10 us; /proc/PID/status says the same in 1.5 kB.
    """

    __slots__ = ("group", "may_run", "name", "parent", "uid")

    def __init__(self, text: str, uid: int) -> None:
        head, tail = text.rsplit(") ", 1)
        self.name = head.split("(", 1)[1]
        fields = tail.split()  # from the third field of proc(5) on
        self.parent, self.group, self.uid = int(fields[1]), int(fields[2]), uid
        exiting = bool(int(fields[6]) & _PF_EXITING) and fields[17] == "1"  # its only thread left user space for good
        # Field 31: SIGKILL is put before each thread. With it a task never returns to user space, however long its
        # I/O takes.
        self.may_run = not (fields[0] in "ZX" or exiting or int(fields[28]) & _SIGKILL_BIT)

    @property
    def is_server(self) -> bool:
        """Is it a process of PostgreSQL? Backends change their title, never this name."""
        return self.name in _SERVER_NAMES


def status_of(pid: int) -> Status | None:
    """The status of a process, None when there is none."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return Status(os.read(fd, 4096).decode("utf-8", "replace"), os.fstat(fd).st_uid)
    except OSError:  # ended meanwhile
        return None
    finally:
        os.close(fd)


def children_of(pid: int) -> list[int]:
    """Pids of all children (of all threads), zombies included; empty when there is no such process.

    The kernel may leave one out when another one of them ends meanwhile (proc(5)): look again before trusting "none".
    """
    if not _HAS_CHILDREN_FILES:
        return _children_by_scan(pid)
    found: list[int] = []
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    for tid in threads:
        try:
            found += [int(child) for child in _text(f"/proc/{pid}/task/{tid}/children").split()]
        except OSError:  # that thread has ended
            continue
    return found


def descendants_of(pid: int, spared: Collection[int]) -> list[int]:
    """Children, their children and so on, without the process groups led by a pid in `spared`."""
    found: list[int] = []
    todo = children_of(pid)
    while todo:
        child = todo.pop()
        if not _of_group(child, spared):
            found.append(child)
            todo += children_of(child)
    return found


def servers_in(directory: str, spared: Collection[int] = ()) -> list[int]:
    """Pids of PostgreSQL's processes whose working directory this is (all of a server's have it).

    An operator's shell there is left out: it can't write for the server, and must not be killed.
    directory: as the kernel prints it (os.path.realpath).
    """
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if os.readlink(f"/proc/{name}/cwd") != directory:
                continue
        except OSError:  # gone, or not ours
            continue
        status = status_of(int(name))
        if status is not None and status.is_server and not _of_group(int(name), spared):
            found.append(int(name))
    return found


def tree_of(data_dir: str, uid: int) -> list[int]:
    """Pids of the processes of this user that work for a server in `data_dir` and may still run."""
    states = {pid: status_of(pid) for pid in servers_in(os.path.realpath(data_dir))}
    return [pid for pid, status in states.items() if status is not None and status.may_run and status.uid == uid]


def kill_all(members: Callable[[], list[int]]) -> None:
    """SIGKILL everybody that `members` lists: parents are stopped first (they fork), and killed last.

    One pass. Who was forked meanwhile is found by the next one.
    """
    pids = members()
    heads = _heads(pids)
    for pid in heads:
        send(pid, signal.SIGSTOP)
    if heads:
        pids = members()
    for pid in sorted(pids, key=lambda p: p in heads):
        send(pid, signal.SIGKILL)


def kill_tree_by_directory(data_dir: str, deadline_s: float) -> bool:
    """End a server whose guard is dead. True once none of its processes may run; False at the deadline (BOOTTIME)."""
    uid = os.getuid()
    while tree_of(data_dir, uid):
        if now_s() >= deadline_s:
            return False
        kill_all(lambda: tree_of(data_dir, uid))
        time.sleep(_PAUSE_S)
    return True


def await_leavers(directory: str, deadline_s: float) -> None:
    """Until no server process is left in the directory, killed ones included, or the deadline.

    They may not run any more, but keep the old shared memory in use until they are gone, and PostgreSQL refuses to
    start beside it. directory: as the kernel prints it.
    """
    while servers_in(directory) and now_s() < deadline_s:
        time.sleep(_PAUSE_S)


def send(pid: int, signum: int) -> bool:
    """Send a signal; false when the process is gone or not ours."""
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def send_group(leader: int, signum: int) -> None:
    """Send a signal to a process group; nothing happens when it is empty."""
    try:
        os.killpg(leader, signum)
    except (ProcessLookupError, PermissionError):
        return


def remove_stale_pid_file(data_dir: str) -> int:
    """Remove postmaster.pid when its pid is no PostgreSQL process that works there. Gives that pid, 0 if none was.

    After a power-off the number may belong to any process of the same user, and PostgreSQL would not start.
    A process whose directory can't be seen (another user's server) keeps the file. Raises OSError.
    """
    path = os.path.join(data_dir, "postmaster.pid")
    try:
        first = _text(path).split("\n", 1)[0].strip()
    except FileNotFoundError:
        return 0
    pid = int(first) if first.isdigit() else 0
    if pid == 0 or _works_in(pid, os.path.realpath(data_dir)):
        return 0
    os.unlink(path)
    return pid


def is_running_server(pid: int) -> bool:
    """A process of PostgreSQL that may still run."""
    status = status_of(pid)
    return status is not None and status.is_server and status.may_run


def _works_in(pid: int, directory: str) -> bool:
    if not is_running_server(pid):
        return False
    try:
        return os.readlink(f"/proc/{pid}/cwd") == directory
    except FileNotFoundError:
        return False
    except PermissionError:
        return True


def _heads(pids: list[int]) -> set[int]:
    """Those which are the parent of another one."""
    states = (status_of(pid) for pid in pids)
    return {status.parent for status in states if status is not None} & set(pids)


def _of_group(pid: int, leaders: Collection[int]) -> bool:
    if pid in leaders:
        return True
    try:
        return bool(leaders) and os.getpgid(pid) in leaders
    except OSError:
        return False


def _children_by_scan(pid: int) -> list[int]:
    states = ((int(name), status_of(int(name))) for name in os.listdir("/proc") if name.isdigit())
    return [child for child, status in states if status is not None and status.parent == pid]


def _text(path: str) -> str:
    """A file's text; a process's own name may be no UTF-8."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 65536).decode("utf-8", "replace")
    finally:
        os.close(fd)
