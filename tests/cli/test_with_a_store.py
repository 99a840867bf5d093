"""The real command against a real etcd that holds a cluster: exit codes, refusals that write nothing, junk."""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pgha import records
from pgha.adapters.etcd import EtcdStore
from pgha.adapters.local import SystemClock
from pgha.cli import main as cli
from pgha.core.model import Leader, Member, Order, Tenure
from pgha.errors import Exit
from pgha.ports import Write
from tests.cli.command import Said, pgha
from tests.ops.cases import copy, leader, member, order
from tests.support.etcd_cluster import EtcdCluster

ROOT = "/pgha/shop/"
pytestmark = pytest.mark.loopback


class Shop:
    """A cluster `shop` that exists in the store alone, and a directory with its inventory."""

    def __init__(self, etcd: EtcdCluster, folder: Path) -> None:
        self.folder = folder
        self.store = EtcdStore(etcd.access, SystemClock())
        self.store.commit([], [Write(key, None) for key in self.entries()] or [], deadline_s=self._soon())
        endpoints = ", ".join(f"'{e}'" for e in etcd.access.endpoints)
        nodes = "".join(f"  n{i}: 192.0.2.1{i}\n" for i in (1, 2, 3))
        text = f"cluster: shop\nnodes:\n{nodes}etcd: {{endpoints: [{endpoints}]}}\n"
        (folder / "inventory.yaml").write_text(text)
        self.put("leader", records.dump_leader(leader()))
        for name in ("n1", "n2", "n3"):
            self.member(name)

    def _soon(self) -> float:
        return SystemClock().now_s() + 5.0

    def put(self, key: str, value: bytes | None) -> None:
        self.store.commit([], [Write(ROOT + key, value)], deadline_s=self._soon())

    def member(self, name: str, **changes: object) -> None:
        here: Member = member(name, written_at=time.time(), **changes)
        self.put(f"members/{name}", records.dump_member(here))

    def leader(self, value: Leader) -> None:
        self.put("leader", records.dump_leader(value))

    def order(self, value: Order | None) -> None:
        self.put("request", None if value is None else records.dump_order(value))

    def entries(self) -> dict[str, tuple[bytes, int]]:
        found = self.store.read(ROOT, deadline_s=self._soon())
        return {key: (entry.value, entry.revision) for key, entry in found.entries.items()}

    def run(self, *words: str, stdin: str = "") -> Said:
        return pgha(*words, cwd=self.folder, stdin=stdin)


@pytest.fixture(scope="module")
def etcd() -> Iterator[EtcdCluster]:
    with tempfile.TemporaryDirectory(prefix="pgha-cli-") as folder:
        Path(folder).chmod(0o755)
        cluster = EtcdCluster(Path(folder), members=1)
        cluster.start()
        yield cluster
        for each in cluster.members:
            cluster.kill(each)


@pytest.fixture
def shop(etcd: EtcdCluster, tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(etcd, tmp_path)
    yield shop
    shop.store.close()


def test_a_healthy_cluster_is_exit_0_with_nothing_on_stderr(shop: Shop) -> None:
    said = shop.run("list")
    assert (said.code, said.err) == (Exit.OK, "")
    assert said.out.startswith("shop  healthy  epoch 3  sync ANY 1 of 2  survives 0 more losses  store 1/1\n")


def test_json_is_one_document_and_nothing_else(shop: Shop) -> None:
    said = shop.run("list", "-o", "json")
    body = json.loads(said.out)
    assert (said.code, said.err) == (Exit.OK, "") and [n["role"] for n in body["nodes"]] == [
        "primary",
        "standby",
        "standby",
    ]


def test_global_options_are_taken_before_and_after_the_command(shop: Shop) -> None:
    before = shop.run("-i", "inventory.yaml", "-o", "json", "list")
    after = shop.run("list", "-i", "inventory.yaml", "-o", "json")
    assert json.loads(before.out)["verdict"] == json.loads(after.out)["verdict"] == "healthy"


def test_a_degraded_cluster_is_exit_10_and_one_without_a_primary_exit_11(shop: Shop) -> None:
    shop.member("n3", state="cloning")
    degraded = shop.run("list")
    shop.leader(leader(tenure=Tenure.RELEASED, reason="server crashed"))
    headless = shop.run("list")
    assert (degraded.code, headless.code) == (Exit.DEGRADED, Exit.NO_PRIMARY)
    assert "! n3: cloning" in degraded.out and "server crashed" in headless.out


@pytest.mark.parametrize("junk", [b"", b"\xff", b"[]", b'{"schema": 99}', b'{"schema":1,"epoch":-1}', b"[" * 9999])
@pytest.mark.parametrize("key", ["leader", "members/n2", "request", "config", "surprise/x"])
def test_junk_in_the_store_is_named_and_left_alone(
    shop: Shop, key: str, junk: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shop.put(key, junk)
    before = shop.entries()
    monkeypatch.chdir(shop.folder)  # in this process: there are many cases
    monkeypatch.delenv("PGHA_INVENTORY", raising=False)
    assert cli.run(["list"]) in (Exit.DEGRADED, Exit.NO_PRIMARY)
    assert f"key {key} is left alone" in capsys.readouterr().out
    allowed = Exit.OK if key in ("config", "surprise/x") else Exit.REFUSED
    assert cli.run(["switchover", "--to", "n2", "-y", "--dry-run"]) == allowed
    assert shop.entries() == before


REFUSED = {
    "to itself": (["--to", "n1"], Exit.REFUSED, "n1 is the primary already"),
    "to an unknown node": (["--to", "n4"], Exit.USAGE, "there is no node 'n4'"),
    "to an empty name": (["--to", ""], Exit.USAGE, "there is no node ''"),
    "to a lagging node": (["--to", "n2"], Exit.REFUSED, "17 MB behind, the limit is 16 MB"),
    "without an answer": (["--to", "n3"], Exit.DECLINED, "declined; nothing was changed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refused_switchover_leaves_store_and_files_as_they_were(shop: Shop, case: str) -> None:
    words, code, text = REFUSED[case]
    standbys = {
        copy("n2").standby_name(3): ("streaming", 0x5000000 - (17 << 20)),
        copy("n3").standby_name(3): ("streaming", 0x5000000),
    }
    shop.member("n1", standbys=standbys)
    before, files = shop.entries(), sorted(shop.folder.rglob("*"))
    said = shop.run("switchover", *words)
    assert said.code == code and text in said.err
    assert shop.entries() == before and sorted(shop.folder.rglob("*")) == files


def test_while_another_order_runs_the_second_operator_is_told_who_is_at_work(shop: Shop) -> None:
    shop.order(order(asked_at=time.time() - 3))
    before = shop.entries()
    said = shop.run("switchover", "--to", "n3", "-y")
    assert said.code == Exit.BUSY and "anna@desk" in said.err and shop.entries() == before


def test_dry_run_shows_the_plan_and_writes_nothing(shop: Shop) -> None:
    before = shop.entries()
    said = shop.run("switchover", "--dry-run")
    assert said.code == Exit.OK and "plan: n1 -> n2" in said.out and shop.entries() == before


def test_an_order_that_no_agent_takes_up_is_withdrawn(shop: Shop) -> None:
    said = shop.run("switchover", "--to", "n2", "-y")
    assert said.code == Exit.REFUSED and "no agent took it up" in said.err
    assert ROOT + "request" not in shop.entries()


def test_a_switchover_is_told_to_its_end(shop: Shop) -> None:
    """The agents' part is played here: accept, release, claim, hold, delete the order."""

    def agents() -> None:
        end = time.monotonic() + 10.0
        while ROOT + "request" not in (found := shop.entries()) and time.monotonic() < end:
            shop.store.wait(ROOT, 0, deadline_s=SystemClock().now_s() + 0.05)
        asked = records.parse_value("request", found[ROOT + "request"][0], records.parse_order)
        assert isinstance(asked, Order)
        for phase in ("accepted", "stopping", "handed"):
            shop.order(replace(asked, phase=phase))
        shop.leader(leader(holder=copy("n2"), epoch=4, sync=()))
        shop.order(None)

    playing = threading.Thread(target=agents)
    playing.start()
    said = shop.run("switchover", "--to", "n2", "-y")
    playing.join(10.0)
    assert said.code == Exit.OK and said.out.startswith("n2 is primary; ")
    assert said.err.startswith("plan: n1 -> n2  (cluster shop, epoch 3 -> 4)")


def test_the_connection_string_begins_with_the_present_primary(shop: Shop) -> None:
    assert shop.run("dsn", "--user", "app", "--dbname", "shop").out == (
        "postgresql://app@192.0.2.11:5432,192.0.2.12:5432,192.0.2.13:5432/shop"
        "?target_session_attrs=read-write&connect_timeout=3\n"
    )
    shop.member("n1", primary=False, state="streaming")
    shop.member("n3", primary=True, state="primary")
    shop.leader(leader(holder=copy("n3"), epoch=4, sync=()))
    assert shop.run("dsn").out.startswith("postgresql://192.0.2.13:5432,192.0.2.11:5432,")


def test_a_healthy_list_takes_at_most_six_tenths_of_a_second(shop: Shop) -> None:
    times: list[float] = []
    while len(times) < 8 and min(times, default=9.0) > 0.6:  # other tests may keep the machine busy for a moment
        began = time.monotonic()
        assert shop.run("list").code == Exit.OK
        times.append(time.monotonic() - began)
    assert min(times) <= 0.6, times
