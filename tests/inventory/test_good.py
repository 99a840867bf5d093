"""What is right comes back as values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgha import inventory, inventory_forms
from pgha.errors import Findings
from pgha.inventory import EtcdSpec, HaSpec, Inventory, LocalSpec, NodeSpec, PostgresSpec, Secret, SshSpec

THREE = "cluster: shop\npostgres: 15\nnodes: [192.0.2.11, 192.0.2.12, 192.0.2.13]\n"
FULL = """
cluster: shop
supervisor: systemd
postgres:
  version: 16
  port: 5433
  data_dir: /srv/postgres/data
  bin_dir: /opt/postgres/bin
  parameters: {jit: false, max_connections: 300, random_page_cost: 1.10, work_mem: 64MB, search_path: '', Log.x: no}
  hba:
    - hostssl app all 192.0.2.0/24 scram-sha-256
    - 'host  "trust" all 192.0.2.0 255.255.255.0 md5 # trust nobody'
    - local all postgres peer map=admins
nodes:
  db1: {host: DB1.Example.org, priority: 100, data_dir: /srv/postgres/one}
  db2: {host: "2001:DB8:0::2", port: 6000, nofailover: true, etcd_client_port: 1, etcd_peer_port: 2}
  3: 192.0.2.13
  db4: 192.0.2.14
etcd: {nodes: [db2, 3, db4], bin_dir: /opt/etcd, user: pgha, password: generate}
ssh: {user: admin, key: ~/.ssh/my key, sudo: false, port: 2222}
ha: {failover_after: 2min, durability: strict, copies: 3, max_lag: 512kB}
""".replace("Log.x", "log.x")


def parse(text: str) -> Inventory:
    """The inventory, or the findings as a readable failure."""
    try:
        return inventory.parse(text, "inventory.yaml")
    except Findings as e:
        raise AssertionError("\n".join(e.lines())) from e


def test_three_lines_are_a_whole_cluster() -> None:
    names = ("node-192-0-2-11", "node-192-0-2-12", "node-192-0-2-13")
    nodes = tuple(NodeSpec(name, f"192.0.2.1{number}", 5432) for number, name in enumerate(names, 1))
    expected = Inventory("shop", PostgresSpec(version=15), nodes, EtcdSpec(nodes=names))
    assert parse(THREE) == expected
    assert expected.ssh == SshSpec("", "", sudo=True, port=22)
    assert expected.ha == HaSpec(6.0, "quorum", 0)
    assert (expected.supervisor, expected.local) == ("cron", None)


def test_everything_comes_back_as_it_was_written() -> None:
    parameters = {
        "jit": "off",
        "max_connections": "300",
        "random_page_cost": "1.10",
        "work_mem": "64MB",
        "search_path": "",
        "log.x": "no",
    }
    hba = (
        "hostssl app all 192.0.2.0/24 scram-sha-256",
        'host  "trust" all 192.0.2.0 255.255.255.0 md5 # trust nobody',
        "local all postgres peer map=admins",
    )
    place = "/srv/postgres/data"
    assert parse(FULL) == Inventory(
        cluster="shop",
        postgres=PostgresSpec(16, 5433, place, "/opt/postgres/bin", parameters, hba),
        nodes=(
            NodeSpec("db1", "db1.example.org", 5433, "/srv/postgres/one", 100),
            NodeSpec("db2", "2001:db8::2", 6000, place, 0, nofailover=True, etcd_client_port=1, etcd_peer_port=2),
            NodeSpec("3", "192.0.2.13", 5433, place),
            NodeSpec("db4", "192.0.2.14", 5433, place),
        ),
        etcd=EtcdSpec(("db2", "3", "db4"), user="pgha", password=Secret("generate"), bin_dir="/opt/etcd"),
        ssh=SshSpec("admin", "~/.ssh/my key", sudo=False, port=2222),
        ha=HaSpec(120.0, "strict", 3, 512 << 10),
        supervisor="systemd",
    )


def test_an_existing_store_is_named_by_its_endpoints() -> None:
    text = THREE + (
        "etcd:\n  endpoints: [E1.example.org:2379, https://192.0.2.9:2379/, 'https://[2001:DB8::1]:2379']\n"
        "  ca: ~/ca.pem\n  cert: /etc/c.pem\n  key: /etc/k.pem\n  user: u\n  password: file:/run/secrets/e\n"
    )
    etcd = parse(text).etcd
    assert etcd.endpoints == ("e1.example.org:2379", "192.0.2.9:2379", "[2001:db8::1]:2379")
    assert (etcd.nodes, etcd.tls, etcd.password) == ((), True, Secret("file", "/run/secrets/e"))
    assert not parse(THREE).etcd.tls


@pytest.mark.parametrize(("count", "members"), [(1, 1), (3, 3), (4, 3), (5, 5), (6, 5), (9, 5)])
def test_the_store_runs_on_the_first_one_three_or_five(count: int, members: int) -> None:
    nodes = [f"db{n}.example.org" for n in range(count)]
    assert parse(f"cluster: shop\nnodes: [{', '.join(nodes)}]\n").etcd.nodes == tuple(f"db{n}" for n in range(members))


def test_two_nodes_are_fine_with_a_store_elsewhere() -> None:
    assert len(parse("cluster: shop\nnodes: [db1, db2]\netcd: {endpoints: [e:1]}\n").nodes) == 2


def test_local_nodes_share_the_loopback_address() -> None:
    nodes = "".join(
        f"  n{n}: {{host: 127.0.0.1, port: 544{n}, etcd_client_port: 239{n}, etcd_peer_port: 240{n}}}\n"
        for n in range(3)
    )
    found = parse(f"cluster: demo\nnodes:\n{nodes}local: {{dir: /srv/demo, user: postgres}}\n")
    assert found.local == LocalSpec("/srv/demo", "postgres")
    assert found.nodes[2] == NodeSpec("n2", "127.0.0.1", 5442, etcd_client_port=2392, etcd_peer_port=2402)


def test_a_one_node_cluster_needs_nothing_more() -> None:
    assert parse("cluster: no\nnodes: {yes: h}\n") == Inventory(
        "no", PostgresSpec(), (NodeSpec("yes", "h", 5432),), EtcdSpec(("yes",))
    )


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("5000ms", 5), ("6.5s", 6.5), ("5min", 300), ("0.05h", 180)])
def test_durations_have_units(text: str, seconds: float) -> None:
    assert parse(THREE + f"ha: {{failover_after: {text}}}\n").ha.failover_after_s == pytest.approx(seconds)


@pytest.mark.parametrize("path", ["/srv/pg/data", "/home/anna/pg", "/var/lib/postgresql/15/main", "/mnt/a+b@c_d-e.f/x"])
def test_a_directory_of_its_own_is_accepted(path: str) -> None:
    assert parse(THREE.replace("15", f"{{data_dir: {path}}}")).nodes[0].data_dir == path


@pytest.mark.parametrize("length", [1, 40])
def test_names_may_have_up_to_forty_characters(length: int) -> None:
    assert parse(f"cluster: {'c' * 63}\nnodes: {{{'n' * length}: h}}\n").nodes[0].name == "n" * length


def test_a_value_that_keeps_the_promise_is_accepted_where_its_opposite_is_not() -> None:
    lines = "fsync: on, full_page_writes: TRUE, synchronous_commit: remote_apply, wal_level: logical, archive_mode: on"
    found = parse(THREE.replace("15", f"{{parameters: {{{lines}}}}}")).postgres.parameters
    assert found["full_page_writes"] == "on" and found["synchronous_commit"] == "remote_apply"


@pytest.mark.parametrize("written", ["env:PGHA_ETCD", "file:/run/secrets/etcd", "generate"])
def test_a_secret_shows_itself_as_bullets(written: str) -> None:
    found = parse(THREE + f"etcd: {{user: pgha, password: {written}}}\n")
    assert found.etcd.password is not None
    shown = f"{found} {found.etcd.password!r} {found.etcd.password}"
    assert "•" in shown and "PGHA_ETCD" not in shown and "/run/secrets" not in shown
    form, _, source = written.partition(":")
    assert (found.etcd.password.form, found.etcd.password.source) == (form, source)


def test_the_file_may_come_from_another_editor() -> None:
    raw = b"\xef\xbb\xbf" + THREE.replace("\n", "\r\n").encode()
    assert inventory.decode(raw, "x") == THREE
    assert parse(inventory.decode(raw, "x")) == parse(THREE)


def test_values_can_be_compared_and_changed() -> None:
    found = parse(THREE)
    assert replace(found, cluster="other") != found
    assert inventory_forms.is_loopback("127.9.9.9") and not inventory_forms.is_loopback("db1.example.org")
