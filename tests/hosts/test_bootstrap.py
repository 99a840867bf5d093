"""From three prepared hosts to a cluster: timed, repeatable, resumable, and refused before anything is changed."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pgha.errors import Exit
from tests.hosts import network
from tests.hosts.cluster import CHECKOUT, HostCluster
from tests.hosts.lab import Lab
from tests.hosts.shell import PLAIN, Ran, run

BOOTSTRAP_S = 60.0
BUSY = (
    "import socket,time; s=socket.socket(); s.setsockopt(1,2,1); s.bind(('',{port})); s.listen(); "
    "print('on',flush=True); time.sleep(60)"
)


def inventory(lab: Lab, name: str, *, shift: int = 0, extra: str = "", **hosts: str) -> Path:
    """A cluster of this name on the lab's hosts, `shift` above the usual ports; `hosts`: other addresses."""
    lines = [f"cluster: {name}", f"postgres: {{version: 15, port: {5432 + shift}}}", "nodes:"]
    for host in lab.hosts.values():
        ports = f"etcd_client_port: {2379 + shift}, etcd_peer_port: {2380 + shift}"
        lines.append(f"  {host.name}: {{host: {hosts.get(host.name, host.address)}, {ports}}}")
    lines.append(f"ssh: {{user: {lab.user}, key: {lab.key}}}")
    path = lab.place / f"{name}.yaml"
    path.write_text("\n".join(lines) + "\n" + extra)
    return path


def environment(lab: Lab, home: Path | None = None) -> dict[str, str]:
    cache = os.environ.get("XDG_CACHE_HOME") or "/var/cache/pgha-hosts/operator"
    return {"HOME": str(home or lab.home), "PYTHONPATH": str(CHECKOUT), "XDG_CACHE_HOME": cache}


def argv(lab: Lab, path: Path, *words: str) -> list[str]:
    return network.within(lab.network.operator, [sys.executable, "-m", "pgha", *words, "-i", str(path)])


def pgha(lab: Lab, path: Path, *words: str, within_s: float = 120.0) -> Ran:
    return run(argv(lab, path, *words), within_s=within_s, env=environment(lab))


def interrupted(lab: Lab, path: Path, line: int, home: Path) -> tuple[int, str]:
    """Ctrl-C once bootstrap has told this many lines; gives its code and what it said."""
    env = {**PLAIN, **environment(lab, home)}
    told: list[str] = []
    with subprocess.Popen(
        argv(lab, path, "bootstrap", "-y"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=env
    ) as child:
        assert child.stderr is not None
        late = threading.Timer(90.0, child.kill)
        late.start()
        for text in child.stderr:
            told.append(text)
            if len(told) == line:
                child.send_signal(signal.SIGINT)
        child.wait(30.0)
        late.cancel()
    return child.returncode, "".join(told)


def traces(lab: Lab, name: str) -> Mapping[str, str]:
    """What of a cluster of this name is on each host."""
    places = ["/var/lib/pgha", "/etc/pgha", "/etc/cron.d", "/etc/systemd/system", "/var/lib/pgha-etcd"]
    script = 'find "$@" -maxdepth 1 2>/dev/null | grep -- "$0" | sort'
    return {h.name: h.run(["sh", "-c", script, name, *places]).out for h in lab.hosts.values()}


@contextlib.contextmanager
def listening(lab: Lab, name: str, port: int) -> Iterator[None]:
    """Somebody has this port on the host."""
    child = subprocess.Popen(
        lab.ssh_argv(name, ["python3", "-c", BUSY.format(port=port)]), stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout is not None and child.stdout.readline() == "on\n"
        yield
    finally:
        child.kill()
        child.wait(10.0)
        if child.stdout is not None:
            child.stdout.close()


def test_three_prepared_hosts_are_a_cluster_within_a_minute_and_again_nothing_changes(
    lab: Lab, request: pytest.FixtureRequest
) -> None:
    cluster = HostCluster(lab)
    request.addfinalizer(cluster.close)
    took_s = cluster.bootstrap()
    print(f"bootstrap of three prepared hosts: {took_s:.1f} s")
    assert took_s < BOOTSTRAP_S
    before = {h.name: h.must(["cat", "/var/lib/pgha/shop.journal"]) for h in lab.hosts.values()}
    guards = {name: cluster.pids(name, "guard") for name in lab.hosts}
    assert {len(found) for found in guards.values()} == {1}, guards
    again = cluster.pgha("bootstrap", "-y")
    assert again.code == 0, again.err
    assert before == {h.name: h.must(["cat", "/var/lib/pgha/shop.journal"]) for h in lab.hosts.values()}
    assert guards == {name: cluster.pids(name, "guard") for name in lab.hosts}
    for words in (("list",), ("explain",), ("history",), ("check",), ("switchover", "-y")):
        said = cluster.pgha(*words)
        assert said.code == 0, f"{words}: {said.out}{said.err}"
    for host in lab.hosts.values():
        secret = host.must(["stat", "-c", "%a %U", "/var/lib/pgha/shop/state/passfile"])
        assert secret.split() == ["600", "postgres"]


def test_everything_in_the_way_is_told_at_once_and_nothing_is_changed(lab: Lab) -> None:
    path = inventory(lab, "blocked", shift=100, n3="198.18.0.99")
    lab.host("n2").must(["mkdir", "-p", "/var/lib/pgha/blocked/data"])
    lab.host("n2").must(["touch", "/var/lib/pgha/blocked/data/thesis.tex"])
    before = traces(lab, "blocked")
    with listening(lab, "n1", 5532):
        said = pgha(lab, path, "bootstrap", "-y")
    assert said.code == Exit.UNREACHABLE
    assert "198.18.0.99:22 can't be reached by SSH" in said.err or "host key of 198.18.0.99 is unknown" in said.err
    assert "n1 (198.18.0.11): port 5532 for PostgreSQL is not free" in said.err and "python3" in said.err
    assert "n2 (198.18.0.12): /var/lib/pgha/blocked/data (the data directory) is not empty" in said.err
    assert traces(lab, "blocked") == before
    lab.host("n2").must(["rm", "-r", "/var/lib/pgha/blocked"])


def test_two_names_for_one_host_are_refused(lab: Lab) -> None:
    path = inventory(lab, "twice", shift=200)
    lab.host("n1").must(["ip", "address", "replace", "198.18.0.77/24", "dev", "eth0"])
    known = lab.known_hosts.read_text()
    try:
        line = next(line for line in known.splitlines() if "198.18.0.11 " in line)
        lab.known_hosts.write_text(known + line.replace("198.18.0.11", "198.18.0.77") + "\n")
        text = path.read_text().replace("198.18.0.12", "198.18.0.77")
        path.write_text(text)
        said = pgha(lab, path, "bootstrap", "-y")
        assert said.code == Exit.REFUSED and "n2 and n1 are the same machine" in said.err, said.err
    finally:
        lab.known_hosts.write_text(known)
        lab.host("n1").run(["ip", "address", "del", "198.18.0.77/24", "dev", "eth0"])


def test_interrupted_at_any_step_it_is_resumed_from_another_machine(lab: Lab, tmp_path: Path) -> None:
    path = inventory(lab, "again", shift=300)
    shutil.copytree(lab.home, tmp_path / "home")
    homes = (lab.home, tmp_path / "home")
    for turn, line in enumerate((3, 6, 9, 13, 17, 20)):
        code, told = interrupted(lab, path, line, homes[turn % 2])
        assert code == Exit.INTERRUPTED, told
        assert "goes on from there" in told or "interrupted" in told
    began = time.monotonic()
    said = pgha(lab, path, "bootstrap", "-y")
    assert said.code == 0, said.err
    print(f"resumed in {time.monotonic() - began:.1f} s")
    passwords = {h.must(["cat", "/var/lib/pgha/again/state/passfile"]) for h in lab.hosts.values()}
    markers = {h.must(["cat", "/var/lib/pgha/again/marker.json"]) for h in lab.hosts.values()}
    assert len(passwords) == len(markers) == 1
