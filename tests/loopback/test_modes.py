"""What a commit promises, changed while clients write: strict, async, and a failover that gives something up."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.adapters.local import LocalHost
from pgha.core.model import Event, Tenure
from pgha.errors import Exit
from pgha.ops import demo, local_nodes
from pgha.ops.local_nodes import LocalNode
from tests.loopback import faults
from tests.loopback.cluster import Cluster, Said, pgha
from tests.loopback.writing import Writing, writing
from tests.support import programs
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]

SERVER = ("guard", "agent", "tool", "postgres")  # a node but for its etcd member: the store stays whole


def run(cluster: Cluster, *words: str) -> Said:
    """The command on this cluster."""
    return pgha("-i", cluster.target.where, *words)


def config(cluster: Cluster, *pairs: str) -> None:
    """Change settings, in force when it returns."""
    said = run(cluster, "config", "set", *pairs, "-y")
    assert said.code == Exit.OK, said.text


@pytest.fixture(autouse=True)
def _quorum_again(cluster: Cluster) -> Iterator[None]:
    """The next scenario begins with what every cluster has."""
    yield
    cluster.mend()
    cluster.await_status(lambda s: bool(s.leader), "there is a primary", within_s=60.0)
    run(cluster, "config", "set", "durability=quorum", "copies=0", "max_lag=16MB", "-y")


def go(node: LocalNode) -> None:
    """Its server and watchdog are gone at one moment, and stay away."""
    local_nodes.hold_down(node)
    faults.kill_at_once(node, *SERVER)


def event(cluster: Cluster) -> Event:
    """The record of the present epoch's take-over, once it is there."""
    seen = cluster.await_seen(
        lambda s: s.records.leader is not None and s.records.leader.epoch in s.records.history, "history is written"
    )
    assert seen.records.leader is not None
    return seen.records.history[seen.records.leader.epoch]


@contextlib.contextmanager
def deaf_standbys(cluster: Cluster) -> Iterator[None]:
    """The primary's WAL reaches nobody: its walsenders stand still."""
    names = [cluster.copy(n).standby_name(cluster.leader.epoch) for n in cluster.standbys]
    senders = [cluster.walsender(cluster.primary, name) for name in names]
    with faults.frozen(senders):
        yield


def renewals(cluster: Cluster, more: int) -> None:
    """Until the key was renewed so many more times."""
    wanted = cluster.leader.beat + more
    until(lambda: cluster.leader.beat >= wanted, within_s=20.0, what=f"{more} more renewals")


# -- strict -----------------------------------------------------------------------------------------------------


def test_strict_with_no_voter_left_commits_wait_and_go_on_when_one_is_back(cluster: Cluster, client: Writing) -> None:
    epoch, standbys = client.epoch, cluster.standbys
    config(cluster, "durability=strict")
    client.await_rows()
    for node in standbys:
        go(node)
    found = cluster.await_status(lambda s: s.verdict == "writes wait", "list says that writes wait")
    assert found.exit == Exit.NO_PRIMARY and any("durability strict: commits wait" in n for n in found.notes)
    assert "there is a primary" in run(cluster, "explain").text
    acked = client.acked
    renewals(cluster, 8)  # longer than a voter may be missing
    assert client.acked == acked, "nothing was acknowledged"
    assert all(rule.voters for rule in cluster.leader.sync)
    cluster.power_on(standbys[1])
    client.await_rows()
    cluster.power_on(standbys[0])
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word


def test_strict_a_primary_that_comes_back_alone_acknowledges_nothing(cluster: Cluster, client: Writing) -> None:
    config(cluster, "durability=strict")
    epoch, primary, standbys = client.epoch, cluster.primary, cluster.standbys
    for node in standbys:
        go(node)
    cluster.await_status(lambda s: s.verdict == "writes wait", "list says that writes wait")
    acked = client.acked
    faults.kill(faults.of(primary, "postgres"))
    cluster.await_seen(
        lambda s: s.records.leader is not None and s.records.leader.epoch > epoch
        and s.records.leader.tenure is Tenure.HELD,
        "the primary has claimed again",
    )  # fmt: skip
    renewals(cluster, 4)
    assert client.acked == acked and cluster.status().verdict == "writes wait"
    for node in standbys:
        cluster.power_on(node)
    client.await_epoch_after(epoch)
    cluster.await_healthy()
    assert client.verdict().is_clean


# -- async ------------------------------------------------------------------------------------------------------


def test_async_a_dead_primary_costs_at_most_what_is_said_and_there_is_one_writer(cluster: Cluster) -> None:
    config(cluster, "durability=async", "copies=0")
    old = cluster.primary
    with writing(cluster) as client:
        epoch = client.epoch
        assert cluster.leader.sync == () and cluster.sql(old, "SHOW synchronous_standby_names") == [[""]]
        with deaf_standbys(cluster):
            renewals(cluster, 3)
            shown = cluster.await_status(lambda s: bool(s.stakes), "list shows bytes at stake").stakes
            faults.power_off(old)
        assert client.await_epoch_after(epoch) != old.name
        assert shown is not None and 0 < event(cluster).loss_bytes <= 16 << 20
        assert any("began without" in r for r in cluster.status().remarks)
        assert "estimated loss" in run(cluster, "history").text
        cluster.power_on(old)
        until(lambda: cluster.status().exit == Exit.OK, within_s=60.0, what="healthy again", every_s=0.1)
        word = client.verdict()
        assert word.lost and word.two_writers == 0 and word.duplicates == 0, word


def test_async_who_lacks_more_than_max_lag_does_not_take_over_until_an_operator_says_so(cluster: Cluster) -> None:
    config(cluster, "durability=async", "copies=0", "max_lag=1kB")
    old = cluster.primary
    with writing(cluster) as client:
        epoch = client.epoch
        with deaf_standbys(cluster):
            client.await_rows(50)
            renewals(cluster, 3)
            go(old)
        cluster.await_seen(
            lambda s: all("max_lag is 1024" in s.records.members[n.name].problem for n in cluster.standbys),
            "both say that they are too far behind",
        )
        cluster.await_status(lambda s: s.exit == Exit.NO_PRIMARY, "nobody takes over")
        assert "too far behind to take over (max_lag)" in run(cluster, "explain").text
        said = run(cluster, "failover", "-y")
        assert said.code == Exit.WOULD_LOSE and "bytes of WAL known of" in said.text, said.text
        said = run(cluster, "failover", "--accept-data-loss", "-y")
        assert said.code == Exit.OK, said.text
        assert client.await_epoch_after(epoch) != old.name
        assert event(cluster).loss_bytes > 1024
        cluster.power_on(old)
        until(lambda: cluster.status().exit == Exit.OK, within_s=60.0, what="healthy again", every_s=0.1)
        assert forget_kept(old), "the old primary's directory is kept"
        word = client.verdict()
        assert word.lost and word.two_writers == 0, word


def test_quorum_to_async_and_back_under_a_writing_client_loses_nothing(cluster: Cluster, client: Writing) -> None:
    epoch, old = client.epoch, cluster.primary
    config(cluster, "durability=async", "copies=0")
    client.await_rows(50)
    config(cluster, "durability=quorum")
    client.await_rows(50)
    found = cluster.await_healthy()
    assert found.sync == "sync ANY 1 of 2"
    faults.kill(faults.of(old, "postgres"))
    client.await_epoch_after(epoch)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean, word


# -- a failover that gives something up -------------------------------------------------------------------------


def kept(node: LocalNode) -> list[Path]:
    """Directories that are never deleted."""
    return list(Path(node.data_dir).parent.glob(Path(node.data_dir).name + ".kept-*"))


def forget_kept(node: LocalNode) -> bool:
    """An operator has seen to them; whether there were any."""
    there = kept(node)
    for path in there:
        shutil.rmtree(path)
    return bool(there)


def rows_in(cluster: Cluster, node: LocalNode, folder: Path) -> int:
    """How many rows of the writing client lie in this directory, asked of a server of its own."""
    bin_dir = json.loads(Path(node.node_file_path).read_text())["bin_dir"]
    settings = {"data_directory": str(folder), "port": 1, "listen_addresses": "", "unix_socket_directories": ""}
    flags = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    (folder / "standby.signal").unlink(missing_ok=True)
    argv = [f"{bin_dir}/postgres", "--single", "-D", str(folder), "-c", f"config_file={node.state_dir}/postgresql.conf"]
    said = cluster.host.run([*argv, *flags, "pgha_drill"], timeout_s=60.0, stdin="SELECT count(*) FROM pgha_drill\n")
    assert 'count = "' in said.out, said
    return int(said.out.split('count = "')[1].split('"')[0])


def test_a_failover_with_a_loss_is_asked_for_and_the_directory_that_has_it_is_kept(cluster: Cluster) -> None:
    old, (other, target) = cluster.primary, cluster.standbys
    copy = cluster.copy(old)
    with writing(cluster) as client:
        epoch = client.epoch
        said = run(cluster, "failover", "--accept-data-loss", "-y")
        assert said.code == Exit.REFUSED and f"{old.name} is a healthy primary" in said.text, said.text
        go(other)
        go(target)
        cluster.await_status(lambda s: s.sync == "not replicated", "commits exist once")
        client.await_rows(50)
        renewals(cluster, 3)  # the key has shown what n1 alone has
        go(old)
        acked = client.acked
        cluster.power_on(target)
        cluster.await_seen(lambda s: s.records.members[target.name].rule == "R640_WAIT_SEALS", "it waits for seals")
        said = run(cluster, "failover", "-y")
        assert said.code == Exit.WOULD_LOSE and f"missing: {copy}" in said.text, said.text
        assert client.acked == acked and client.epoch == epoch
        said = run(cluster, "failover", "--accept-data-loss", "-y", "-o", "json")
        assert said.code == Exit.OK, said.text
        assert client.await_epoch_after(epoch) == target.name
        assert cluster.seen().records.order is None and event(cluster).loss_bytes > 0
        assert any(f"{copy} may hold commits" in r for r in cluster.status().remarks)
        cluster.power_on(other)
        cluster.power_on(old)
        cluster.await_healthy()
        (aside,) = kept(old)
        assert f".kept-{copy.data}-" in aside.name and cluster.copy(old) != copy
        assert any(aside.name in r for r in cluster.status().remarks), cluster.status().remarks
        word = client.verdict()
        assert word.lost and word.two_writers == 0 and word.duplicates == 0, word
    assert rows_in(cluster, old, aside) >= word.lost, "what was given up is all there"
    assert forget_kept(old)


def test_no_failover_by_hand_where_the_cluster_goes_on_by_itself(cluster: Cluster, client: Writing) -> None:
    epoch, old = client.epoch, cluster.primary
    go(old)
    said = run(cluster, "failover", "--accept-data-loss", "-y")
    assert said.code == Exit.REFUSED, said.text
    assert "by themselves" in said.text or "by itself" in said.text or "no failover by hand" in said.text
    client.await_epoch_after(epoch)
    cluster.power_on(old)
    cluster.await_healthy()
    assert client.verdict().is_clean


# -- a new cluster ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["strict", "async"])
def test_a_cluster_is_bootstrapped_with_another_promise(durability: str) -> None:
    """strict: the first primary comes up before it has a voter, and lets nothing through until it has one."""
    root = tempfile.mkdtemp(prefix="pgha-lb-", dir="/var/tmp")
    os.rmdir(root)
    user = demo.demo_user()
    wish = demo.Wish(dir=root, bin_dir=programs.chosen())
    text = demo.inventory_text(wish, user, LocalHost(user)) + f"ha: {{durability: {durability}, max_lag: 1MB}}\n"
    with tempfile.TemporaryDirectory(prefix="pgha-lb-") as folder:
        path = Path(folder, "inventory.yaml")
        path.write_text(text)
        try:
            said = pgha("-i", str(path), "bootstrap", within_s=110.0)
            assert said.code == Exit.OK, said.text
            found = pgha("-i", str(path), "list")
            wanted = "sync ANY 1 of 2" if durability == "strict" else "bytes at stake"
            assert found.code == Exit.OK and wanted in found.text, found.text
            assert f"durability={durability}" in pgha("-i", str(path), "config", "show").text
        finally:
            while left := demo.processes(root):
                faults.freeze(left)
                faults.kill(left)
            shutil.rmtree(root, ignore_errors=True)
