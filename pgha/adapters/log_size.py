"""Logs of programs that keep their file open (PostgreSQL, etcd on one machine) are kept bounded: copied, then emptied.

A rename would not do: the program would go on writing into the renamed file. What is written between the end of the
copy and the cut, a moment, is lost. Their file must be open for appending. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time

LIMIT_BYTES = 64 << 20
KEPT = 3
EVERY_S = 30.0


def bound(path: str, limit_bytes: int = LIMIT_BYTES, kept: int = KEPT) -> bool:
    """Beyond the limit the file becomes `.1` (`.1` becomes `.2`, ...) and is emptied; true when that was done.

    Raises OSError, not for a missing file.
    """
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    if there.st_size <= limit_bytes:
        return False
    for number in range(kept - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            os.replace(f"{path}.{number}", f"{path}.{number + 1}")
    fresh = f"{path}.1.tmp"
    with open(path, "rb") as source, open(fresh, "wb", opener=_private) as target:
        shutil.copyfileobj(source, target)
        os.replace(fresh, f"{path}.1")
        os.truncate(path, 0)
    return True


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def keep_bounded(path: str) -> None:
    """For ever, in a thread of its own: a disk that hangs keeps nobody else. A full one can't take the copy."""
    while True:
        with contextlib.suppress(OSError):
            bound(path)
        time.sleep(EVERY_S)
