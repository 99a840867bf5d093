"""SSH to a real host: the same cases as on this machine, host keys, and connections that stand still."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.adapters import ssh
from pgha.adapters.tunnel import Tunnels, split
from pgha.errors import Busy, Unreachable
from pgha.host import Host, Remote
from tests.hosts.lab import Lab
from tests.support.host_cases import CASES


@pytest.fixture(autouse=True)
def operator(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """We are the operator: in the lab's network, with its home."""
    monkeypatch.setenv("HOME", str(lab.home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    with lab.inside():
        yield


def login(lab: Lab, **changes: object) -> ssh.Login:
    found = {"host": lab.host("n1").address, "user": lab.user, "key": str(lab.key)} | changes
    return ssh.Login(**found)  # type: ignore[arg-type]  # names are checked by the dataclass


@pytest.fixture
def remote(lab: Lab) -> Iterator[Remote]:
    connection = ssh.connect(login(lab))
    yield connection
    connection.close()


@pytest.fixture(params=["postgres", "root", "admin"])
def host(remote: Remote, request: pytest.FixtureRequest) -> Host:
    return remote.as_user(request.param)


@pytest.mark.parametrize("case", CASES)
def test_a_host_over_ssh_does(case: str, host: Host) -> None:
    place = host.run(["mktemp", "-d"], timeout_s=10.0).out.strip()
    try:
        CASES[case](host, place)
    finally:
        host.remove_tree(place)


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_the_line_that_trusts_it(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(Unreachable, match=r"host key of .* is unknown") as refused:
        ssh.connect(login(lab))
    shown = lab.host("n1").must(["ssh-keygen", "-lf", "/etc/ssh/ssh_host_ed25519_key.pub"]).split()[1]
    assert shown in refused.value.because
    line = refused.value.next_step.rpartition("echo ")[2].rpartition(" >> ")[0].strip("'")
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_text(line + "\n")
    ssh.connect(login(lab)).close()


def test_a_changed_host_key_is_always_refused(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    lines = [line for line in lab.known_hosts.read_text().splitlines() if "n1," not in line]
    other = lines[0].split()[2]
    (tmp_path / ".ssh/known_hosts").write_text(f"{lab.host('n1').address} ssh-ed25519 {other}\n")
    with pytest.raises(Unreachable, match=r"host key of .* has changed") as refused:
        ssh.connect(login(lab))
    assert refused.value.because.count("SHA256:") == 2


def test_a_login_that_is_not_let_in_says_as_whom_and_with_what(lab: Lab) -> None:
    with pytest.raises(Unreachable, match="does not let us in") as refused:
        ssh.connect(login(lab, user="nobody"))
    assert "as nobody" in refused.value.because and str(lab.key) in refused.value.because


def test_a_host_that_is_off_is_told_within_seconds(lab: Lab) -> None:
    lab.cut("n1")
    began = time.monotonic()
    with pytest.raises(Unreachable, match="can't be reached by SSH"):
        ssh.connect(login(lab))
    assert time.monotonic() - began < 8.0


def test_a_host_that_stands_still_ends_the_command_in_time(lab: Lab, remote: Remote) -> None:
    host = remote.as_user("root")
    assert host.run(["true"], timeout_s=5.0).ok
    lab.freeze("n1")
    began = time.monotonic()
    with pytest.raises(Unreachable, match="is lost"):
        host.run(["true"], timeout_s=1.0)
    assert time.monotonic() - began < 12.0


def test_a_lock_ends_with_the_connection(lab: Lab) -> None:
    first, second = ssh.connect(login(lab)), ssh.connect(login(lab))
    with pytest.raises(Unreachable), first.as_user("root").hold("/var/lib"):
        first.close()
        deadline = time.monotonic() + 10.0
        while not _free(second, "/var/lib"):
            assert time.monotonic() < deadline
        first.as_user("root").run(["true"], timeout_s=1.0)
    second.close()


def _free(remote: Remote, path: str) -> bool:
    try:
        with remote.as_user("root").hold(path):
            return True
    except Busy:
        return False


def test_what_goes_over_standard_input_is_in_no_process_list(remote: Remote) -> None:
    secret, root = os.urandom(12).hex(), remote.as_user("root")
    script = "read -r first; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'; : \"$first\""
    ran = root.run(["sh", "-c", script], timeout_s=10.0, stdin=secret + "\n")
    assert ran.ok and "LC_ALL=C.UTF-8" in ran.out and secret not in ran.out


def test_a_host_carries_a_connection_to_what_only_it_reaches(lab: Lab) -> None:
    connection = ssh.connect(login(lab))
    here = Tunnels(lambda _host: connection, ["n1"]).local(["127.0.0.1:22"])
    with socket.create_connection(split(here[0]), timeout=10.0) as near:
        assert near.recv(100).startswith(b"SSH-2.0-")
    with pytest.raises(Unreachable, match="can't be reached through"):
        connection.stream("127.0.0.1", 1)
    connection.close()
