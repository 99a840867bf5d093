"""`pgha init`: what it writes is an inventory, and it overwrites nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgha import inventory
from pgha.cli import main as cli
from pgha.errors import Exit

HOSTS = "192.0.2.11,192.0.2.12,192.0.2.13"


def test_what_is_written_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "shop.yaml"
    words = ["init", str(path), "--cluster", "shop", "--nodes", HOSTS, "--user", "admin", "--key", "~/.ssh/id"]
    assert cli.run(words) == Exit.OK
    assert f"next: pgha check -i {path}" in capsys.readouterr().out
    found = inventory.parse(path.read_text(), str(path))
    assert (found.cluster, [n.host for n in found.nodes]) == ("shop", HOSTS.split(","))
    assert (found.ssh.user, found.postgres.version) == ("admin", 15)


def test_every_option_in_its_comments_is_a_good_one(tmp_path: Path) -> None:
    path = tmp_path / "inventory.yaml"
    assert cli.run(["init", str(path), "--cluster", "shop", "--nodes", HOSTS]) == Exit.OK
    head, _, rest = path.read_text().partition("# -- what these lines")
    options = [line.removeprefix("# ") for line in rest.splitlines()[1:] if line.startswith("# ")]
    text = head.replace("postgres: 15\n", "") + "\n".join(options) + "\n"
    found = inventory.parse(text, "inventory.yaml")
    assert found.ha.failover_after_s == 6.0 and found.postgres.hba and found.supervisor == "cron"


def test_an_existing_file_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "inventory.yaml"
    path.write_text("mine\n")
    assert cli.run(["init", str(path), "--nodes", HOSTS]) == Exit.REFUSED
    assert path.read_text() == "mine\n" and "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "said"), [([], "no hosts were named"), (["--nodes", "a;b"], "nodes")])
def test_bad_answers_write_nothing(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "inventory.yaml"
    assert cli.run(["init", str(path), *words]) == Exit.USAGE
    assert not path.exists() and said in capsys.readouterr().err
