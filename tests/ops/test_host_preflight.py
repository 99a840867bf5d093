"""What is in the way on hosts, from their facts: every finding named with its number and the line that fixes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pgha import host_facts
from pgha.host_facts import Listener
from pgha.ops import host_nodes, host_preflight
from pgha.ops.fleet import Marker
from pgha.ops.host_preflight import Seen
from tests.ops.host_cases import BARE, MARKER, PREPARED, TEXT, holds, hosts, wanted, with_facts
from tests.support import golden


def taken(port: int, who: str) -> dict[str, Seen]:
    return with_facts("n1", listeners=(Listener("192.0.2.11", port),), owners={port: who})


CASES: dict[str, tuple[Callable[[], dict[str, Seen]], str]] = {
    "port of PostgreSQL": (
        lambda: taken(5432, "postgres (pid 9)"),
        "n1 (192.0.2.11): port 5432 for PostgreSQL is not free",
    ),
    "port of etcd": (lambda: taken(2379, "etcd (pid 9)"), "port 2379 for etcd's clients is not free"),
    "port of etcd's members": (lambda: taken(2380, "x (pid 9)"), "port 2380 for etcd's members is not free"),
    "data": (
        lambda: with_facts("n2", paths=holds("/var/lib/pgha/shop/data", "PG_VERSION base")),
        "n2 (192.0.2.12): /var/lib/pgha/shop/data (the data directory) is not empty",
    ),
    "etcd's data": (
        lambda: with_facts("n2", paths=holds("/var/lib/pgha-etcd/shop", "member")),
        "(etcd's data) is not empty",
    ),
    "a node file": (
        lambda: with_facts("n2", paths={"/etc/pgha/shop.json": replace(holds("x", "")["x"], kind="regular file")}),
        "/etc/pgha/shop.json is there already",
    ),
    "no systemd": (lambda: with_facts("n3", systemd=False), "n3 (192.0.2.13) is not run by systemd"),
    "no apt": (
        lambda: with_facts("n3", etcd="", apt=False, release={"ID": "fedora", "VERSION_ID": "41"}),
        "n3 (192.0.2.13) lacks etcd-server",
    ),
    "old Python": (lambda: with_facts("n3", python="3.9.2"), "has Python 3.9.2"),
    "bad etcd": (lambda: with_facts("n3", etcd_version="3.5.1"), "has etcd 3.5.1"),
    "no account": (lambda: with_facts("n3", accounts=()), "has no user postgres"),
    "no room": (lambda: with_facts("n1", room_kb={"/": 1000}), "no room on /"),
    "same machine": (lambda: with_facts("n2", machine=f"{1:032x}"), "n2 and n1 are the same machine"),
    "clock": (
        lambda: {n: replace(s, skew_s=400.0 if n == "n2" else 0.0) for n, s in hosts().items()},
        "the clock is wrong",
    ),
    "two clusters": (
        lambda: {
            n: replace(s, marker=MARKER if n == "n1" else Marker("shop", "cd34"))
            for n, s in hosts().items()
            if n != "n3"
        },
        "the hosts belong to different clusters of this name",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_in_the_way_is_named_once_with_its_fix(case: str) -> None:
    make, expected = CASES[case]
    problems = host_preflight.judge(wanted(), make()).problems
    assert len(problems) == 1 and expected in problems[0].what
    assert problems[0].because and problems[0].next_step


def test_every_finding_as_it_is_told() -> None:
    lines = []
    for case, (make, _) in CASES.items():
        verdict = host_preflight.judge(wanted(), make())
        lines += [f"-- {case}", *(line for problem in verdict.problems for line in problem.lines())]
    golden.check("\n".join(lines) + "\n", "host-findings.txt", beside=__file__)


def test_findings_of_all_hosts_come_in_one_pass() -> None:
    found = hosts() | {"n1": CASES["port of PostgreSQL"][0]()["n1"], "n2": CASES["data"][0]()["n2"]}
    found["n3"] = CASES["no systemd"][0]()["n3"]
    assert len(host_preflight.judge(wanted(), found).problems) == 3


def test_prepared_hosts_have_nothing_in_the_way() -> None:
    verdict = host_preflight.judge(wanted(), hosts())
    assert not verdict.problems and not verdict.warnings and not any(verdict.missing.values())
    assert (verdict.version, verdict.bin_dir, verdict.etcd) == (15, "/usr/lib/postgresql/15/bin", "/usr/bin/etcd")


def test_what_bare_hosts_lack_is_installed_and_no_finding() -> None:
    verdict = host_preflight.judge(wanted(), hosts(facts=BARE))
    assert not verdict.problems
    assert set(verdict.missing["n1"]) == {"python3", "postgresql-15", "etcd-server", "cron"}


def test_a_node_without_a_member_gets_no_etcd() -> None:
    text = TEXT.replace("n3: 192.0.2.13", "n3: 192.0.2.13, n4: 192.0.2.14")
    verdict = host_preflight.judge(wanted(text), hosts(text, facts=BARE))
    assert "etcd-server" not in verdict.missing["n4"] and "etcd-server" in verdict.missing["n3"]


def test_what_an_earlier_run_made_is_not_in_the_way() -> None:
    busy = with_facts(
        "n1",
        listeners=tuple(Listener("192.0.2.11", p) for p in (5432, 2379, 2380)),
        paths=holds("/var/lib/pgha/shop/data", "PG_VERSION"),
    )
    busy["n1"] = replace(busy["n1"], marker=MARKER)
    assert not host_preflight.judge(wanted(), busy).problems


@pytest.mark.parametrize(
    ("release", "version"), [({"ID": "debian", "VERSION_ID": "13"}, 17), ({"ID": "ubuntu", "VERSION_ID": "24.04"}, 16)]
)
def test_where_nobody_says_which_version_the_distributions_is_taken(release: dict[str, str], version: int) -> None:
    text = TEXT.replace("postgres: 15\n", "")
    seen = hosts(text, replace(BARE, release=release))
    verdict = host_preflight.judge(wanted(text), seen)
    assert verdict.version == version and f"postgresql-{version}" in verdict.missing["n1"]


def test_mixed_versions_are_refused_unless_the_inventory_says_which() -> None:
    mixed = with_facts("n2", postgres={"/usr/lib/postgresql/17/bin": 17})
    plain = TEXT.replace("postgres: 15\n", "")
    (problem,) = host_preflight.judge(wanted(plain), mixed).problems
    assert (
        problem.what == "the hosts have different major versions of PostgreSQL"
        and problem.next_step == "write postgres: 17"
    )
    assert host_preflight.judge(wanted(), mixed).missing["n2"] == ("postgresql-15",)


def test_a_port_of_another_address_is_free() -> None:
    facts = replace(PREPARED, listeners=(Listener("127.0.0.1", 5432),))
    assert facts.taken("192.0.2.11", 5432) is None and facts.taken("127.0.0.1", 5432) == "in use"
    assert facts.taken("db1.example.org", 5432) == "in use", "a name may stand for any address"
    assert replace(PREPARED, listeners=(Listener("", 5432),)).taken("192.0.2.11", 5432) == "in use"


# -- the facts' script and its answer ------------------------------------------------------------------------


def test_kernel_tables_of_sockets_are_read() -> None:
    tables = (
        "  sl  local_address rem_address   st\n"
        "   0: 0B02000A:1538 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 1\n"
        "   1: 0100007F:0016 00000000:0000 01 00000000:00000000 00:00000000 00000000  0 0 2\n"
        "   0: 00000000000000000000000000000000:0016 0:0000 0A\n"
        "   0: 0000000000000000FFFF00000B02000A:094B 0:0000 0A\n"
    )
    assert host_facts.listening(tables) == (Listener("10.0.2.11", 5432), Listener("", 22), Listener("10.0.2.11", 2379))


@pytest.mark.parametrize("text", ["", "motd\n", "@@pgha facts 1\n@@release\n", "@@end\n"])
def test_an_answer_that_is_not_whole_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        host_facts.parse(text)


# -- units and cron ------------------------------------------------------------------------------------------


def test_units_and_cron_lines_as_they_are_written() -> None:
    node = hosts()["n1"].node
    argv = ["/usr/bin/etcd", "--name", "n1", "--data-dir", node.etcd_dir]
    parts = {
        node.etcd_unit: host_nodes.etcd_unit(node, argv),
        node.unit: host_nodes.stop_unit(node),
        f"{node.unit} (supervisor: systemd)": host_nodes.service_unit(node),
        node.cron_path: host_nodes.cron_text(node),
    }
    golden.check("\n".join(f"== {name}\n{text}" for name, text in parts.items()), "host-files.txt", beside=__file__)


def test_systemd_reads_hostile_words_as_they_are() -> None:
    assert host_nodes.words(['a "b"', "50%", "$HOME", "back\\slash", "new\nline"]) == (
        '"a \\"b\\"" "50%%" "$$HOME" "back\\\\slash" "new\\nline"'
    )
