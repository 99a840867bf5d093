"""How many walsenders a postmaster has, by the titles of its children.

For the end of a shutdown, when no connection is taken any more. Standard library only.
"""

from __future__ import annotations


def walsenders(postmaster: int) -> int | None:
    """None when it can't be told (a kernel without CONFIG_PROC_CHILDREN, no such process).

    A title begins with what the process is (ps_status.c), perhaps after cluster_name. The kernel may leave a child out
    when another one of them ends meanwhile (proc(5)): "none" is looked at twice.
    """
    try:
        return _count(postmaster) or _count(postmaster)
    except OSError:
        return None


def _count(postmaster: int) -> int:
    with open(f"/proc/{postmaster}/task/{postmaster}/children", "rb") as f:
        children = f.read().split()
    return sum(b"walsender " in _title(int(child)) for child in children)


def _title(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read(200)
    except OSError:  # it has ended
        return b""
