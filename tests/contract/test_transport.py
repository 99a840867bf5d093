"""The port to a machine: this one by system calls, and by the very command lines that go over SSH; the same cases.

Over SSH to a real host they run in tests/hosts/test_transport.py.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pgha.adapters.local import JsonKeep, LocalHost
from pgha.adapters.ssh import command_line
from pgha.adapters.ssh_host import CommandHost, HostKeep
from pgha.errors import Busy
from pgha.host import Host, Ran
from tests.support.etcd_cluster import USER
from tests.support.host_cases import CASES
from tests.support.other_user import work_dir

ROOT = os.geteuid() == 0
ME = USER if ROOT else pwd.getpwuid(os.geteuid()).pw_name


class ShellRunner:
    """Gives the command line to a login shell of this machine, as sshd does."""

    address = "this machine"

    def execute(self, user: str, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"", cwd: str = "/") -> Ran:
        become = ["runuser", "-u", user, "--"] if ROOT else []
        line = command_line(argv, become, timeout_s=timeout_s, cwd=cwd)
        ran = subprocess.run(["sh", "-c", line], input=stdin, capture_output=True, timeout=timeout_s + 10, check=False)
        if ran.returncode in (124, 137):
            return Ran(-9, late=True)
        return Ran(ran.returncode, ran.stdout.decode(), ran.stderr.decode())

    @contextlib.contextmanager
    def hold(self, user: str, path: str, within_s: float) -> Iterator[None]:
        argv = ["flock", "-n", "-E", "75", path, "sh", "-c", "echo held; exec cat"]
        become = ["runuser", "-u", user, "--"] if ROOT else []
        line = command_line(argv, become, timeout_s=within_s, cwd="/")
        with subprocess.Popen(["sh", "-c", line], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as held:
            assert held.stdout is not None and held.stdin is not None
            if held.stdout.readline() != b"held\n":
                raise Busy("somebody else is at work")
            yield
            held.stdin.close()


HOSTS: dict[str, Callable[[], Host]] = {
    "this machine": lambda: LocalHost(ME),
    "command lines": lambda: CommandHost(ME, ShellRunner()),
}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]()


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(work_dir(tmp_path, ME))


@pytest.mark.parametrize("case", CASES)
def test_every_host_does(case: str, host: Host, place: str) -> None:
    CASES[case](host, place)


def test_a_nodes_memory_is_the_same_file_whoever_writes_it(host: Host, place: str) -> None:
    path = f"{place}/memory.json"
    far, near = HostKeep(host, path), JsonKeep(path)
    assert far.load() == {}
    far.save({"cluster": "a"})
    assert near.load() == {"cluster": "a"}
    far.save({"cluster": "b"})
    far.save({"cluster": "c"})
    near = JsonKeep(path)
    assert near.load() == far.load() == {"cluster": "c"}
    near.save({"cluster": "d"})
    assert HostKeep(host, path).load() == {"cluster": "d"}


def test_a_lock_taken_one_way_is_seen_the_other_way(place: str) -> None:
    near, far = HOSTS["this machine"](), HOSTS["command lines"]()
    with near.hold(place), pytest.raises(Busy), far.hold(place):
        pass
    with far.hold(place), pytest.raises(Busy), near.hold(place):
        pass
