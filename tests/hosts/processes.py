"""Processes of the machine: started to outlive this one, found by their argv, ended. May import `shell`, `cgroups`."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.hosts import cgroups
from tests.hosts.shell import PATH, until

END_S = 20.0


def spawn(argv: Sequence[str], *, env: dict[str, str], output: int, keep: Sequence[int] = (), group: str = "") -> None:
    """Start a program that outlives this one, in a session of its own, never a child of this process.

    The program has nothing to read, `output` to write, and the open files of `keep`; `group`: its control group.
    """
    wrapped = ["setsid", "--fork", *argv]
    if group:
        files = [str(path) for path in cgroups.make(group)]
        launch = [sys.executable, "-I", str(Path(__file__).with_name("launch.py")), str(len(files)), *files]
        wrapped = ["setsid", "--fork", *launch, *argv]
    subprocess.run(
        wrapped,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        cwd="/",
        env={"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", **env},
        pass_fds=keep,
        timeout=END_S,
        check=True,
    )


def pids() -> list[int]:
    """All processes of the machine."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def argv_of(pid: int) -> list[bytes]:
    """A process' argv; empty when it is gone or only waits to be collected."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
    return []


def with_word(word: str) -> int:
    """The process that has this word in its argv; 0 when there is none."""
    wanted = word.encode()
    return next((pid for pid in pids() if wanted in argv_of(pid)), 0)


def space_of(pid: int) -> str:
    """The process namespace it lives in; "" when it is gone."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/pid")
    return ""


def first_child(pid: int) -> int:
    """The child that is number 1 of a process namespace of its own; 0 when there is none."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            for line in Path(f"/proc/{child}/status").read_text().splitlines():
                if line.startswith("NSpid:") and line.split()[-1] == "1":
                    return int(child)
    return 0


def send(pid: int, number: signal.Signals) -> None:
    """A signal; nothing happens when the process is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def end(them: Sequence[int]) -> None:
    """SIGKILL, and wait until they are gone. Raises LabError."""
    for pid in them:
        send(pid, signal.SIGKILL)
    until(lambda: not any(argv_of(pid) for pid in them), within_s=END_S, what=f"{list(them)} are gone")
