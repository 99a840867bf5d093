"""Shell completion: clusters, nodes, faults and settings from files alone, in the time between two keys."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pgha.nodefile import NodeFile, Peer, StoreAccess, dump
from tests.cli.command import pgha

SHOP = "cluster: shop\nnodes: {db1: 192.0.2.11, db2: 192.0.2.12, other: 192.0.2.13}\n"


def complete(folder: Path, *words: str) -> list[str]:
    """What bash is offered for the last word."""
    line = " ".join(["pgha", *words])
    said = pgha(
        cwd=folder, _PGHA_COMPLETE="complete_bash", COMP_WORDS=line, COMP_CWORD=str(len(words)), HOME=str(folder)
    )
    assert (said.code, said.err) == (0, ""), said
    return said.out.split()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "inventory.yaml").write_text(SHOP)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("swi",), ["switchover"]),
        (("switchover", "--to", ""), ["db1", "db2", "other"]),
        (("explain", "db"), ["db1", "db2"]),
        (("restart", "db1", ""), ["db2", "other"]),
        (("logs", "db2", "d"), ["db1"]),
        (("reinit", "o"), ["other"]),
        (("remove", ""), ["db1", "db2", "other"]),
        (("resume", "--holder-down", "db2"), ["db2"]),
        (("failover", "--to", "x"), []),
        (("destroy", "--confirm", ""), ["shop"]),
        (("drill", "kill-p"), ["kill-postgres"]),
        (("config", "set", "work_"), ["work_mem="]),
        (("config", "ro"), ["rollback"]),
    ],
)
def test_words_are_completed_from_the_inventory(shop: Path, words: tuple[str, ...], expected: list[str]) -> None:
    assert complete(shop, *words) == expected


def test_the_inventory_on_the_command_line_counts_wherever_it_stands(shop: Path) -> None:
    (shop / "two.yaml").write_text("cluster: two\nnodes: {east: 192.0.2.21, west: 192.0.2.22, hub: 192.0.2.23}\n")
    assert complete(shop, "-i", "two.yaml", "explain", "") == ["east", "west", "hub"]
    assert complete(shop, "explain", "-i", "two.yaml", "w") == ["west"]


def test_on_a_node_its_own_file_is_enough(tmp_path: Path) -> None:
    node = NodeFile(
        cluster="shop", node="n1", state_dir="/s", data_dir="/d", socket_dir="/r", bin_dir="/b",
        store=StoreAccess(("192.0.2.11:2379",)), nodes={"n1": Peer("192.0.2.11", 5432), "n2": Peer("192.0.2.12", 5432)},
    )  # fmt: skip
    (tmp_path / "node.json").write_text(dump(node))
    assert complete(tmp_path, "explain", "--node", "node.json", "") == ["n1", "n2"]


@pytest.mark.parametrize("text", ["", "cluster: [", "cluster: shop\nnodez: []\n", "\x00"])
def test_what_can_not_be_read_completes_to_nothing_and_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "inventory.yaml").write_text(text)
    assert complete(tmp_path, "explain", "") == []


def test_a_completion_takes_at_most_a_sixth_of_a_second_and_loads_no_client(shop: Path) -> None:
    times: list[float] = []
    while len(times) < 8 and min(times, default=9.0) > 0.15:  # other tests may keep the machine busy for a moment
        began = time.monotonic()
        assert complete(shop, "switchover", "--to", "o") == ["other"]
        times.append(time.monotonic() - began)
    assert min(times) <= 0.15, times


@pytest.mark.parametrize(
    ("shell", "says"), [("bash", "local IFS"), ("zsh", "#compdef pgha"), ("fish", "--command pgha")]
)
def test_every_shell_has_its_script(shell: str, says: str, tmp_path: Path) -> None:
    said = pgha(cwd=tmp_path, _PGHA_COMPLETE=f"source_{shell}")
    assert said.code == 0 and f"_PGHA_COMPLETE=complete_{shell}" in said.out and says in said.out, said
