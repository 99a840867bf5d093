"""Hosts for bootstrap, through stand-ins: looking changes nothing, findings come together, the plan is said."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import pytest

from pgha.errors import Exit, Findings, PghaError, Refused, Unreachable
from pgha.host import Host, Identity, Ran, Remote
from pgha.ops.host_fleet import Distant, HostFleet
from pgha.ops.host_secure import Authority
from pgha.ops.host_steps import Pack
from pgha.ops.progress import Silent
from tests.ops.host_cases import TEXT, wanted
from tests.support import golden

ANSWER = """motd: welcome
@@pgha facts 1
@@release
ID=debian
VERSION_ID="12"
@@machine
{machine}
@@hostname
host
@@arch
x86_64
@@now
1000.0
@@glibc
glibc 2.36
@@python
{python}
@@accounts
postgres:x:105:109::/var/lib/postgresql:/bin/bash
@@manager
systemd
@@apt
/usr/bin/apt-get
@@postgres
{postgres}
@@etcd
/usr/bin/etcd\tetcd Version: 3.4.23
@@units
cron.service loaded active running Regular background program processing daemon
@@sockets
  sl  local_address rem_address   st
{sockets}
@@owners
LISTEN 0 244 0.0.0.0:5432 0.0.0.0:* users:(("postgres",pid=812,fd=5))
@@locales
C.utf8
@@room
/dev/sda1 100000000 1 50000000 1% /
@@pgha
@@paths
/var/lib/pgha/shop/data\tabsent//\t
@@end
"""
TAKEN = "   0: 00000000:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000 105 0 1"


@dataclass
class StandIn:
    """One host: answers looks, notes everything else. Is its own Remote and Host."""

    address: str
    answer: str
    sudo: str = ""
    talks: str = ""
    reach: dict[str, str] = field(default_factory=dict)
    user: str = "admin"
    done: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)  # of commands that hold these words, instead of 0
    outs: dict[str, str] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)  # may be shared: which host ran what, in order

    def as_user(self, user: str) -> Host:
        return self

    def send(self, user: str, argv: Sequence[str], data: bytes, *, timeout_s: float) -> Ran:
        self.done.append(" ".join(argv))
        return Ran(0)

    def close(self) -> None:
        pass

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "", cwd: str = "/") -> Ran:
        if argv[0] == "printf":
            return Ran(1, err=self.sudo) if self.sudo else Ran(0, self.talks + "pgha")
        if "@@%s" in stdin:
            return Ran(0, self.answer)
        if "/dev/tcp" in stdin:
            said = {target: self.reach.get(target, f"{target}\t1\tConnection refused") for target in argv[3:]}
            return Ran(0, "\n".join(said.values()) + "\n")
        self.done.append(" ".join(argv))
        self.told.append((self.address, " ".join(argv)))
        code = next((code for words, code in self.codes.items() if words in self.done[-1]), 0)
        return Ran(code, next((out for words, out in self.outs.items() if words in self.done[-1]), ""))

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        self.done.append(f"write {path}")

    def make_dir(self, path: str, mode: int = 0o700) -> None:
        self.done.append(f"mkdir {path}")

    def spawn(self, argv: Sequence[str], *, cwd: str, log_file: str) -> int:
        self.done.append(f"spawn {argv}")
        return 1

    def hold(self, path: str) -> AbstractContextManager[None]:
        return nullcontext()

    def holds_something(self, path: str) -> bool:
        return False

    def remove_tree(self, path: str) -> None:
        self.done.append(f"rm {path}")

    def move_dir(self, source: str, target: str) -> None:
        self.done.append(f"mv {source}")

    def identity(self, path: str) -> Identity:
        return Identity(1, 2, 3)

    def port_taken(self, host: str, port: int) -> str | None:
        return None


POSTGRES = "/usr/lib/postgresql/15/bin\tpostgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"


def answer(number: int, *, python: str = "3.11.2", postgres: str = POSTGRES, sockets: str = "") -> str:
    return ANSWER.format(machine=f"{number:032x}", python=python, postgres=postgres, sockets=sockets)


def three() -> dict[str, StandIn]:
    return {f"192.0.2.1{i}": StandIn(f"192.0.2.1{i}", answer(i)) for i in (1, 2, 3)}


def distant(hosts: dict[str, StandIn]) -> Distant:
    def connect(address: str) -> Remote:
        if address not in hosts:
            raise Unreachable(f"{address}:22 can't be reached by SSH", "no answer within 5 s", f"ssh {address} true")
        return hosts[address]

    return Distant(
        authority=Authority(lambda _c: ("", ""), lambda _a, _h: ("", ""), lambda _a, _c, _h: True),
        connect=connect,
        keep=lambda _host, _path: pytest.fail("nothing is remembered"),
        pack=lambda _python, _machine: Pack("0.1", b""),
        wall_s=lambda: 1000.0,
        who="anna@desk",
    )


def look(hosts: dict[str, StandIn]) -> HostFleet:
    return HostFleet.look(wanted(TEXT), distant(hosts), Silent())


def test_looking_changes_nothing_and_the_plan_is_said() -> None:
    hosts = three()
    hosts["192.0.2.12"].answer = answer(2, python="", postgres="")
    hosts["192.0.2.13"].files["/var/lib/pgha/shop/marker.json"] = (
        '{"schema": 1, "cluster": "shop", "ident": "ab12", "demo": false}'
    )
    fleet = look(hosts)
    assert not any(host.done for host in hosts.values())
    assert fleet.ready.marker.ident == "ab12" and not fleet.ready.fresh
    golden.check("\n".join(fleet.plan()) + "\n", "host-plan.txt", beside=__file__)


def test_findings_of_unreachable_and_reachable_hosts_come_together_and_nothing_is_changed() -> None:
    hosts = three()
    del hosts["192.0.2.13"]
    hosts["192.0.2.11"].answer = answer(1, sockets=TAKEN)
    hosts["192.0.2.12"].sudo = "sudo: a password is required"
    with pytest.raises(Findings) as found:
        look(hosts)
    said = "\n".join(found.value.lines())
    assert found.value.code == Exit.UNREACHABLE and len(found.value.problems) == 3
    assert "n1 (192.0.2.11): port 5432 for PostgreSQL is not free" in said and "postgres (pid 812)" in said
    assert "n2 (192.0.2.12): can't become root without a password" in said and "/etc/sudoers.d/pgha" in said
    assert "192.0.2.13:22 can't be reached" in said
    assert not any(host.done for host in hosts.values())


def test_a_login_shell_that_talks_is_refused() -> None:
    hosts = three()
    hosts["192.0.2.11"].talks = "Welcome!\n"
    with pytest.raises(Refused, match="the login shell talks"):
        look(hosts)


def test_a_port_between_the_nodes_that_gives_no_answer_is_named_with_a_rule_that_opens_it() -> None:
    hosts = three()
    hosts["192.0.2.11"].reach["192.0.2.12:2380"] = "192.0.2.12:2380\t124\t"
    with pytest.raises(Refused, match=r"n1 can't reach 192.0.2.12:2380 of n2 \(etcd's members\)") as refused:
        look(hosts)
    assert "no answer within 3 s" in refused.value.because
    assert "ip saddr 192.0.2.11 tcp dport 2380 accept" in refused.value.next_step


THEIRS = "198.51.100.7:2379", "[2001:db8::7]:2379"
THEIR_TEXT = TEXT + f"etcd: {{endpoints: ['http://{THEIRS[0]}', 'http://{THEIRS[1]}']}}\n"


def test_an_etcd_that_no_endpoint_leads_to_from_a_node_is_in_the_way_and_one_silent_endpoint_a_warning() -> None:
    hosts = three()
    up, down = (target.replace("[", "").replace("]", "") for target in THEIRS)
    for host in hosts.values():
        host.reach |= {up: f"{up}\t0\t", down: f"{down}\t0\t"}
    assert HostFleet.look(wanted(THEIR_TEXT), distant(hosts), Silent()).ready.warnings == ()
    del hosts["192.0.2.12"].reach[down]
    (warning,) = HostFleet.look(wanted(THEIR_TEXT), distant(hosts), Silent()).ready.warnings
    assert warning == f"n2 does not reach all endpoints of the store: {down}: Connection refused"
    hosts["192.0.2.12"].reach[up] = f"{up}\t124\t"
    with pytest.raises(Refused, match="n2 reaches no endpoint of the store") as refused:
        HostFleet.look(wanted(THEIR_TEXT), distant(hosts), Silent())
    assert f"{up}: no answer within 3 s; {down}: Connection refused" in refused.value.because
    assert "correct etcd.endpoints" in refused.value.next_step


def test_an_answer_cut_short_is_refused() -> None:
    hosts = three()
    hosts["192.0.2.11"].answer = hosts["192.0.2.11"].answer[:300]
    with pytest.raises(Refused, match="its answer is not understood"):
        look(hosts)


def test_another_clusters_marker_is_refused() -> None:
    hosts = three()
    hosts["192.0.2.11"].files["/var/lib/pgha/shop/marker.json"] = '{"schema": 1, "cluster": "other", "ident": "x"}'
    with pytest.raises(PghaError, match="belongs to cluster other"):
        look(hosts)


def running(hosts: dict[str, StandIn], primary: str, told: list[tuple[str, str]]) -> None:
    """On each the watchdog holds its lock; one node's server is no standby."""
    for address, host in hosts.items():
        host.told = told
        host.codes, host.outs = {"flock -n": 75}, {"pg_is_in_recovery": "f\n" if address == primary else "t\n"}
        host.files["/etc/pgha/shop.json"] = "{}"


def replaced(told: Sequence[tuple[str, str]]) -> list[str]:
    return [address for address, words in told if words.endswith("--restart")]


def test_watchdogs_are_replaced_one_after_another_and_the_primarys_last() -> None:
    hosts, told = three(), list[tuple[str, str]]()
    running(hosts, "192.0.2.11", told)
    fleet = look(hosts)
    for node in fleet.ready.nodes:
        assert fleet.put_node_file(node, "{...}")
    fleet.start()
    assert replaced(told) == ["192.0.2.12", "192.0.2.13", "192.0.2.11"]
    at = {address: [i for i, one in enumerate(told) if one[0] == address] for address in hosts}
    began = {address: min(i for i in at[address] if told[i][1].endswith("--restart")) for address in hosts}
    assert max(at["192.0.2.12"]) < began["192.0.2.13"] and max(at["192.0.2.13"]) < began["192.0.2.11"]
    fleet.start()
    assert len(replaced(told)) == 3, "they go by what is there now"


def test_an_agent_that_does_not_come_up_on_a_standby_leaves_the_primarys_alone() -> None:
    hosts, told = three(), list[tuple[str, str]]()
    running(hosts, "192.0.2.11", told)
    hosts["192.0.2.12"].codes["sh -s -- /etc/pgha/shop.json"] = 1
    fleet = look(hosts)
    for node in fleet.ready.nodes:
        fleet.put_node_file(node, "{...}")
    with pytest.raises(PghaError, match="n2: the watchdog is not replaced"):
        fleet.start()
    assert replaced(told) == ["192.0.2.12"]
