"""The lab itself: hosts are real, faults are real, and nothing is left. Measured times are printed (pytest -s, -rP)."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hosts.conftest import NAMES
from tests.hosts.lab import Lab, Spec
from tests.hosts.packets import arrives, connects
from tests.hosts.shell import run, until

pytestmark = pytest.mark.timeout(300)

CHECKOUT = Path(__file__).resolve().parents[2]
PAIRS = list(itertools.permutations((*NAMES, "operator"), 2))


def test_three_hosts_boot_with_names_machine_ids_and_boot_ids_of_their_own(lab: Lab) -> None:
    begun = time.monotonic()
    lab.power_off(*NAMES)
    off_s = time.monotonic() - begun
    lab.boot(*NAMES)
    print(f"three hosts: off after {off_s:.2f} s, up after {time.monotonic() - begun - off_s:.2f} s")
    assert [lab.host(name).state() for name in NAMES] == ["running"] * 3
    assert [lab.ssh(name, ["hostname"]).out.strip() for name in NAMES] == list(NAMES)
    for file in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id", "/etc/ssh/ssh_host_ed25519_key.pub"):
        assert len({lab.ssh(name, ["cat", file]).out for name in NAMES}) == 3, file


def test_a_prepared_host_has_the_programs_and_nothing_of_the_machine_around_it(lab: Lab) -> None:
    host = lab.host("n1")
    for program in ("/usr/bin/etcd", "/usr/bin/pg_lsclusters", "/usr/bin/python3", "/usr/sbin/cron"):
        assert host.run(["test", "-x", program]).code == 0, program
    assert host.must(["pg_lsclusters", "-h"]) == ""
    listening = {line.split()[3] for line in host.must(["ss", "-Hltn"]).splitlines()}
    assert listening == {"0.0.0.0:22", "[::]:22"}
    hidden = ["/opt", "/srv", "/usr/local/bin", "/var/lib/postgresql", "/root", f"/home/{lab.user}"]
    assert host.must(["find", *hidden, "-mindepth", "1", "-not", "-path", "*/.*"]) == ""


def test_the_admin_logs_in_with_a_key_and_may_do_everything_with_sudo(lab: Lab) -> None:
    begun = time.monotonic()
    assert lab.ssh("n1", ["id", "-un"]).out.strip() == lab.user
    print(f"a login and a command: {time.monotonic() - begun:.2f} s")
    assert lab.ssh("n1", ["sudo", "-n", "id", "-un"]).out.strip() == "root"
    words = ["a b", "$(id)", "q'\"", "x\ny", ";"]
    assert lab.ssh("n1", ["printf", "%s|", *words]).out == "".join(word + "|" for word in words)


def test_root_a_foreign_key_and_a_changed_host_key_are_refused(lab: Lab, tmp_path: Path) -> None:
    config = ["ssh", "-F", str(lab.ssh_config)]
    assert "Permission denied" in lab.operator([*config, "-l", "root", "n1", "true"]).err
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"])
    pinned = ["-o", f"UserKnownHostsFile={lab.known_hosts}", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes"]
    strange = ["ssh", "-F", "/dev/null", *pinned, "-i", str(tmp_path / "key"), f"{lab.user}@{lab.host('n1').address}"]
    assert "Permission denied" in lab.operator([*strange, "true"]).err
    swapped = tmp_path / "known_hosts"
    swapped.write_text(lab.known_hosts.read_text().replace("n1,", "nx,").replace("n2,", "n1,"))
    refused = lab.operator([*config, "-o", f"UserKnownHostsFile={swapped}", "n1", "true"])
    assert refused.code == 255 and "HOST IDENTIFICATION HAS CHANGED" in refused.err


def test_cron_fires_within_61_s_in_an_environment_without_a_locale(lab: Lab) -> None:
    host = lab.host("n1")
    line = "* * * * * admin env > /tmp/fired.new; mv /tmp/fired.new /tmp/fired\n"
    host.must(["tee", "/etc/cron.d/lab-test"], stdin=line)
    try:
        took_s = until(
            lambda: host.run(["test", "-e", "/tmp/fired"]).code == 0, within_s=61.0, what="cron", every_s=0.2
        )
    finally:
        host.must(["rm", "/etc/cron.d/lab-test"])
    found = host.must(["cat", "/tmp/fired"]).splitlines()
    print(f"cron fired after {took_s:.1f} s: {' '.join(sorted(found))}")
    assert "LOGNAME=admin" in found and "PATH=/usr/bin:/bin" in found
    assert not [word for word in found if word.startswith(("LANG", "LC_"))]


def test_power_off_is_silent_and_the_disk_keeps_what_was_written(lab: Lab) -> None:
    lab.host("n1").must(["tee", "/var/lib/kept"], stdin="kept")
    boot_id = lab.host("n1").must(["cat", "/proc/sys/kernel/random/boot_id"])
    assert connects(lab, "n2", "n1", 22, listen=False) == "connected"
    begun = time.monotonic()
    lab.power_off("n1")
    print(f"power off: {time.monotonic() - begun:.2f} s")
    assert lab.host("n1").state() == "off"
    assert connects(lab, "n2", "n1", 22, listen=False) in ("silence", "OSError")  # no answer, or no route after a while
    begun = time.monotonic()
    lab.boot("n1")
    print(f"boot: {time.monotonic() - begun:.2f} s")
    assert lab.host("n1").must(["cat", "/var/lib/kept"]) == "kept"
    assert lab.host("n1").must(["cat", "/proc/sys/kernel/random/boot_id"]) != boot_id


def test_a_killed_host_says_no_goodbye_and_a_rebooted_one_ends_its_services_in_order(lab: Lab) -> None:
    unit = "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=true\nExecStop=touch /var/lib/stopped\n"
    host = lab.host("n2")
    host.must(["tee", "/etc/systemd/system/goodbye.service"], stdin=unit + "[Install]\nWantedBy=multi-user.target\n")
    host.must(["systemctl", "enable", "--now", "goodbye"])
    lab.power_off("n2")
    lab.boot("n2")
    assert host.run(["test", "-e", "/var/lib/stopped"]).code != 0
    begun = time.monotonic()
    lab.reboot("n2")
    print(f"reboot: {time.monotonic() - begun:.2f} s")
    assert host.run(["test", "-e", "/var/lib/stopped"]).code == 0


def test_a_cut_host_hears_nobody_and_is_heard_by_nobody_until_it_is_healed(lab: Lab) -> None:
    assert all(arrives(lab, *pair) for pair in PAIRS)
    lab.cut("n1")
    heard = {pair for pair in PAIRS if arrives(lab, *pair)}
    assert heard == {pair for pair in PAIRS if "n1" not in pair}
    begun = time.monotonic()
    lab.heal("n1")
    print(f"healed after {time.monotonic() - begun:.2f} s")
    assert all(arrives(lab, *pair) for pair in PAIRS)


@pytest.mark.parametrize("pair", [("n1", "n2"), ("n3", "operator"), ("operator", "n2")])
def test_what_is_blocked_one_way_still_comes_the_other_way(lab: Lab, pair: tuple[str, str]) -> None:
    lab.block(*pair, one_way=True)
    assert {p for p in PAIRS if not arrives(lab, *p)} == {pair}
    lab.block(*pair)
    assert {p for p in PAIRS if not arrives(lab, *p)} == {pair, pair[::-1]}
    lab.heal()
    assert arrives(lab, *pair) and arrives(lab, *pair[::-1])


def test_a_blocked_port_is_silent_at_both_ends_and_the_others_are_not(lab: Lab) -> None:
    lab.block("n1", "n2", ports=[2379, 2380])
    assert connects(lab, "n1", "n2", 2379) == connects(lab, "n2", "n1", 2380) == "silence"
    for pair, port in ((("n1", "n2"), 5432), (("n1", "n3"), 2379), (("n3", "n2"), 2379)):
        assert connects(lab, *pair, port) == "connected"
    lab.heal()
    assert connects(lab, "n1", "n2", 2379) == "connected"


def test_a_frozen_host_does_nothing_and_goes_on_where_it_was(lab: Lab) -> None:
    host = lab.host("n3")
    script = "while :; do date +%s%N > /run/tick.new; mv /run/tick.new /run/tick; sleep 0.02; done"
    host.must(["systemd-run", "--unit=ticking", "sh", "-c", script])
    tick = Path(f"/proc/{host.pid}/root/run/tick")
    until(tick.exists, within_s=5.0, what="it ticks")
    lab.freeze("n3")
    frozen, begun = tick.read_text(), time.monotonic()
    until(lambda: time.monotonic() > begun + 0.5, within_s=2.0, what="half a second has passed")
    assert tick.read_text() == frozen
    assert connects(lab, "n1", "n3", 22, listen=False) == "connected"  # its kernel answers, nobody speaks
    lab.thaw("n3")
    until(lambda: tick.read_text() > frozen, within_s=5.0, what="it ticks again")
    host.must(["systemctl", "stop", "ticking"])


def test_the_only_way_out_is_the_proxy_and_it_leads_to_packages_alone(lab: Lab) -> None:
    host = lab.host("n1")
    assert "default" not in host.must(["ip", "route"])
    proxy = host.must(["apt-config", "dump", "Acquire::http::Proxy"]).split('"')[1]
    asks = "import urllib.request as u, sys; u.install_opener(u.build_opener(u.ProxyHandler({'http': sys.argv[1]})));"
    asks += " u.urlopen(sys.argv[2], timeout=10)"
    for address in ("http://packages.invalid/", "http://127.0.0.1/"):
        assert "403" in host.run(["python3", "-I", "-c", asks, proxy, address]).err
    host.must(["apt-get", "-q", "update"], within_s=120.0)
    assert connects(lab, "n1", "operator", int(proxy.rpartition(":")[2]), listen=False) == "connected"


@pytest.mark.parametrize("kind", ["bare", "bare-trixie"])
def test_a_bare_host_has_neither_postgresql_nor_etcd_and_installs_them_through_the_proxy(lab: Lab, kind: str) -> None:
    begun = time.monotonic()
    lab.add(Spec("b1", kind))
    print(f"{kind} host, tree included where the cache had none: {time.monotonic() - begun:.1f} s")
    try:
        assert lab.host("b1").state() == "running"
        assert lab.ssh("b1", ["which", "etcd", "initdb", "pg_lsclusters", "pgha", "pip"]).out == ""
        assert lab.ssh("b1", ["python3", "-c", "import ensurepip"]).code != 0
        install = [
            "sudo",
            "DEBIAN_FRONTEND=noninteractive",
            "apt-get",
            "-q",
            "-y",
            "--no-install-recommends",
            "install",
        ]
        assert lab.ssh("b1", ["sudo", "apt-get", "-q", "update"], within_s=120.0).code == 0
        begun = time.monotonic()
        done = lab.ssh("b1", [*install, "etcd-server"], within_s=240.0)
        print(f"etcd installed in {time.monotonic() - begun:.1f} s")
        assert done.code == 0, done
        assert "etcd Version" in lab.ssh("b1", ["etcd", "--version"]).out
        assert lab.ssh("b1", ["getent", "hosts", "n1"]).out.split()[0] == lab.host("n1").address
    finally:
        lab.remove("b1")


def test_nothing_is_left_after_down_nor_after_a_run_that_was_killed_while_its_hosts_booted() -> None:
    other = Lab("gone")
    argv = [sys.executable, "-m", "tests.hosts", "--lab", "gone", "up", "a=prepared", "b=prepared"]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as making:
        until(lambda: any("disk" in line for line in other.left_behind()), within_s=120.0, what="a host is there")
        making.kill()
    assert other.left_behind()
    begun = time.monotonic()
    other.down()
    print(f"cleaned after {time.monotonic() - begun:.2f} s")
    assert other.left_behind() == []
    other.up([Spec("a")])
    other.freeze("a")
    other.down()
    assert other.left_behind() == []
