"""Help, usage, where the inventory is looked for, and how every run ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer

from pgha import render
from pgha.cli import main as cli
from pgha.cli import places, sources
from pgha.cli.options import Choice
from pgha.errors import Exit, PghaError, Refused
from pgha.nodefile import NodeFile, Peer, StoreAccess, dump
from tests.cli.command import CHECKOUT, environment, pgha

SILENT = "cluster: shop\nnodes: [192.0.2.11, 192.0.2.12, 192.0.2.13]\netcd: {endpoints: ['127.0.0.1:1']}\n"


def test_help_names_every_command_and_imports_none_of_them() -> None:
    code = (
        "import sys; from pgha.cli.main import run; run(['--help']); print([m for m in sys.modules if m[:4] == 'pgha'])"
    )
    ran = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert all(f"  {name} " in ran.stdout for name in cli.COMMANDS)
    loaded = set(ran.stdout.splitlines()[-1].replace("'", "").strip("[]").split(", "))
    assert loaded == {"pgha", "pgha.cli", "pgha.cli.main", "pgha.cli.options", "pgha.errors"}


def test_help_takes_at_most_a_sixth_of_a_second() -> None:
    times: list[float] = []
    while len(times) < 8 and min(times, default=9.0) > 0.15:  # other tests may keep the machine busy for a moment
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "pgha", "--help"], env=environment(), capture_output=True, check=True)
        times.append(time.monotonic() - began)
    assert min(times) <= 0.15, times


@pytest.mark.parametrize(
    "command",
    [
        *cli.COMMANDS,
        "demo up",
        "demo down",
        "config show",
        "config set",
        "config edit",
        "config history",
        "config rollback",
    ],
)
def test_every_command_has_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([*command.split(), "--help"]) == Exit.OK
    text = capsys.readouterr().out
    assert f"Usage: pgha {command}" in text
    assert "Example" in text or command == "demo"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "no such command 'nonsense'"),
        (["list", "--bad"], "no such option: --bad"),
        (["-o", "xml", "list"], "'xml'"),
        (["list", "extra"], "unexpected extra argument"),
        (["demo", "sideways"], "no such command"),
        (["demo", "up", "--nodes", "many"], "'many' is not a valid int"),
    ],
)
def test_wrong_usage_is_exit_2_in_the_error_form(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(words) == Exit.USAGE
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: ") and said in lines[0] and lines[-1].startswith("next: pgha")


def test_a_wrong_word_is_answered_with_the_help_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["switchover", "--too", "n2"])
    assert "next: pgha switchover --help" in capsys.readouterr().err


def test_no_arguments_give_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == Exit.USAGE
    assert capsys.readouterr().err.startswith("Usage: pgha [OPTIONS] COMMAND [ARGS]...\n\n")


def _crash(_words: object, message: str) -> None:
    raise ZeroDivisionError(message)


def test_a_bug_is_exit_1_with_its_traceback_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sources, "target_of", lambda choice: _crash(choice, "of what?"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert cli.run(["list"]) == Exit.BUG
    said = capsys.readouterr().err
    (kept,) = tmp_path.iterdir()
    assert said.startswith("error: bug: ZeroDivisionError: of what?") and str(kept) in said
    assert "in _crash" in kept.read_text() and "Traceback" not in said


def test_with_debug_the_traceback_is_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sources, "target_of", lambda choice: _crash(choice, "of what?"))
    assert cli.run(["--debug", "list"]) == Exit.BUG
    assert "in _crash" in capsys.readouterr().err


def _raise(problem: BaseException) -> None:
    raise problem


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (Refused("no", "because", "do"), Exit.REFUSED),
        (PghaError("half", code=Exit.PARTIAL), Exit.PARTIAL),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
        (typer.Exit(11), Exit.NO_PRIMARY),
    ],
)
def test_each_end_has_its_code(problem: BaseException, code: Exit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "target_of", lambda _choice: _raise(problem))
    assert cli.run(["list"]) == code


def test_an_interruption_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sources, "target_of", lambda _choice: _raise(KeyboardInterrupt()))
    cli.run(["list"])
    assert capsys.readouterr().err == "error: interrupted\n"


def test_asked_for_json_an_error_is_a_document_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sources, "target_of", lambda _choice: _raise(Refused("no", "because", "do")))
    assert cli.run(["list", "-o", "json"]) == Exit.REFUSED
    body = json.loads(capsys.readouterr().out)
    assert body["error"] == {"code": "REFUSED", "exit": 4, "lines": ["error: no", "because: because", "next: do"]}


def test_control_characters_in_an_error_do_not_reach_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    render.error(Refused("a\x1b[2Jb"))
    assert capsys.readouterr().err == "error: a?[2Jb\n"


def test_a_closed_pipe_is_no_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    argv = [sys.executable, "-m", "pgha", "version"]
    ran = subprocess.run(
        argv, env=environment(), cwd=tmp_path, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert ran.stderr == "" and ran.returncode in (0, 1, -signal.SIGPIPE)


# -- where the inventory comes from --------------------------------------------------------------------------


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No inventory anywhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PGHA_INVENTORY", raising=False)
    monkeypatch.setattr(places, "SYSTEM_DIR", str(tmp_path / "etc"))
    monkeypatch.setattr(places, "demo_dir", lambda: str(tmp_path / "demo"))
    (tmp_path / "etc").mkdir()
    (tmp_path / "demo").mkdir()
    return tmp_path


def test_places_are_looked_at_in_their_order(
    nowhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = []
    for name in ("demo/inventory.yaml", "etc/shop.json", "etc/shop.yaml", "inventory.yaml"):
        (nowhere / name).write_text(SILENT)
        found.append(sources.find(Choice()))
    assert "using the demo's" in capsys.readouterr().err
    demo, node, system = (f"{nowhere}/{name}" for name in ("demo/inventory.yaml", "etc/shop.json", "etc/shop.yaml"))
    assert found == [(demo, ""), (node, ""), (system, ""), ("inventory.yaml", "")]
    monkeypatch.setenv("PGHA_INVENTORY", "/from/env.yaml")
    assert sources.find(Choice()) == ("/from/env.yaml", "")
    assert sources.find(Choice(inventory="mine.yaml")) == ("mine.yaml", "-i mine.yaml ")


def test_without_any_the_places_are_named(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["list"]) == Exit.USAGE
    said = capsys.readouterr().err
    assert "PGHA_INVENTORY, ./inventory.yaml" in said and "pgha demo up" in said


def test_several_clusters_on_one_machine_must_be_told_apart(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.yaml", "b.yaml"):
        (nowhere / "etc" / name).write_text(SILENT)
    assert cli.run(["list"]) == Exit.USAGE
    assert "a.yaml" in capsys.readouterr().err


def test_on_a_node_its_own_file_will_do(nowhere: Path) -> None:
    node = NodeFile(
        cluster="shop",
        node="n1",
        state_dir="/s",
        data_dir="/d",
        socket_dir="/r",
        bin_dir="/b",
        store=StoreAccess(("192.0.2.11:2379",)),
        nodes={"n1": Peer("192.0.2.11", 5432), "n2": Peer("192.0.2.12", 5432)},
    )
    (nowhere / "etc/shop.json").write_text(dump(node))
    target = sources.target_of(Choice())
    assert (target.cluster, [n.name for n in target.nodes]) == ("shop", ["n1", "n2"])
    assert sources.target_of(Choice(node="etc/shop.json")).flags == "--node etc/shop.json "


@pytest.mark.parametrize("text", ["", "cluster: [", "cluster: shop\nnodez: []\n", "\x00", "a: " + "x" * (1 << 20)])
def test_a_bad_inventory_is_exit_2(nowhere: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (nowhere / "inventory.yaml").write_text(text)
    assert cli.run(["list"]) == Exit.USAGE
    assert "inventory.yaml" in capsys.readouterr().err


def test_a_bad_node_file_is_exit_2(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (nowhere / "node.json").write_text('{"schema": 1}')
    assert cli.run(["list", "--node", "node.json"]) == Exit.USAGE
    assert "is not a node file of pgha" in capsys.readouterr().err


def test_bootstrap_wants_an_inventory_not_a_nodes_file(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (nowhere / "etc/shop.json").write_text("{}")
    assert cli.run(["bootstrap"]) == Exit.USAGE
    assert "this command needs the inventory" in capsys.readouterr().err


def test_a_silent_store_is_exit_9_within_its_time_and_every_node_has_its_row(tmp_path: Path) -> None:
    (tmp_path / "inventory.yaml").write_text(SILENT)
    began = time.monotonic()
    said = pgha("list", cwd=tmp_path)
    assert said.code == Exit.STORE and time.monotonic() - began < 4.0
    assert said.out.count(" unknown ") == 3 and "store unreachable" in said.out


def test_no_module_of_the_command_line_names_this_checkout() -> None:
    assert str(CHECKOUT) not in "".join(p.read_text() for p in (CHECKOUT / "pgha").rglob("*.py"))


class Terminal(io.StringIO):
    """One that is 40 columns wide."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_no_line_is_cut_within_a_word_and_a_command_stays_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    long = "the standbys first, one after another, and the primary last"
    said = PghaError("no", long, "pgha restart --rolling --pending --inventory shop.yaml")
    lines = render.fitted([f"  {long}", *said.lines()], Terminal())
    assert lines[0] == "  the standbys first, one after another," and lines[1] == "      and the primary last"
    assert lines[-1] == "next: pgha restart --rolling --pending --inventory shop.yaml"
    assert render.fitted([f"  {long}\x1b"], io.StringIO()) == [f"  {long}?"]
