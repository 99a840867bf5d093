"""The logs of all nodes in one stream: every writer's lines are understood, by time, and nobody is held up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgha.adapters.local import lines_of
from pgha.errors import Unreachable, UsageError
from pgha.ops import log_lines, logs, procs
from pgha.ops.log_lines import LogLine
from pgha.ops.logs import Place, Stream, Trouble
from pgha.ops.story import Log
from pgha.render_logs import Painter
from tests.support.postgres_pair import until

T0 = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def written(at: float, event: str = "handed", **facts: object) -> str:
    """A line of a watchdog."""
    seconds = int(at - T0)
    time = f"2023-11-14T22:{13 + (20 + seconds) // 60:02d}:{(20 + seconds) % 60:02d}.{int(at % 1 * 1000):03d}Z"
    return json.dumps({"time": time, "boot_s": 1.0, "event": event, **facts})


SAID: dict[str, tuple[str, str, float | None, str]] = {
    "an agent, in history's words": ("watchdog", written(T0, target="n2"), T0, "hands over to n2"),
    "an agent, in its own": ("watchdog", written(T0, "names", rule="n1+1/n2"), T0, "names rule=n1+1/n2"),
    "a guard": ("guard", written(T0 + 1, "server started"), T0 + 1, "its server starts"),
    "a traceback": ("watchdog", '  File "x.py"', None, '  File "x.py"'),
    "a torn line": ("watchdog", '{"time": "2023-', None, '{"time": "2023-'),
    "PostgreSQL": ("postgresql", "2023-11-14 22:13:20.500 GMT [7] LOG:  ready", T0 + 0.5, "[7] LOG:  ready"),
    "its second line": ("postgresql", "\tDETAIL: x", None, "\tDETAIL: x"),
    "etcd": ("etcd", '{"level":"warn","ts":"2023-11-14T22:13:20.25Z","caller":"a.go:1","msg":"slow","took":"2s"}',
             T0 + 0.25, "warn slow took=2s"),
    "etcd, through the journal": ("etcd", f"{T0:.0f}.125 n1 etcd[9]: " + '{"level":"info","ts":1700000000.5,"msg":"x"}',
                                  T0 + 0.5, "x"),
    "systemd of etcd": ("etcd", f"{T0:.0f}.125000 n1 systemd[1]: Started etcd.", T0 + 0.125, "Started etcd."),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_each_writers_lines_are_understood(case: str) -> None:
    piece, raw, at, says = SAID[case]
    line = log_lines.parse("n1", piece, raw)
    assert (line.at, line.says, line.raw) == (at, says, raw)


def readers(**texts: list[str] | Exception) -> logs.Reader:
    """A node each: its lines, or why it can't be read."""

    def read(node: str) -> Iterator[str]:
        found = texts[node]
        if isinstance(found, Exception):
            raise found
        yield from found

    return read


def given(stream: Stream) -> tuple[list[tuple[str, float | None]], list[Trouble]]:
    found = list(stream.read())
    lines = [(x.node, x.at) for x in found if isinstance(x, LogLine)]
    return lines, [x for x in found if isinstance(x, Trouble)]


def test_lines_of_all_nodes_come_by_time_and_those_without_one_stay_with_theirs() -> None:
    text = readers(
        n1=[f"watchdog\t{written(T0 + 2)}", "watchdog\t  more of it", f"watchdog\t{written(T0 + 9)}"],
        n2=["guard\ttorn", f"guard\t{written(T0 + 1)}", f"guard\t{written(T0 + 5)}", "else\tx", "no tab"],
    )
    lines, troubles = given(Stream(["n1", "n2"], text, T0))
    assert lines == [("n2", T0 + 1), ("n1", T0 + 2), ("n1", T0 + 2), ("n2", T0 + 5), ("n1", T0 + 9)] and not troubles
    assert given(Stream(["n1", "n2"], text, T0 + 4))[0] == [("n2", T0 + 5), ("n1", T0 + 9)]


def test_a_dead_host_is_named_once_and_the_others_are_shown() -> None:
    dead = Unreachable("192.0.2.13:22 can't be reached by SSH", "no answer within 5 s", "ssh n3")
    lines, troubles = given(Stream(["n1", "n3"], readers(n1=[f"guard\t{written(T0)}"], n3=dead), 0.0))
    assert lines == [("n1", T0)]
    assert troubles == [Trouble("n3", "192.0.2.13:22 can't be reached by SSH: no answer within 5 s")]


def test_a_host_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "LATE_S", 0.3)
    never = threading.Event()

    def read(node: str) -> Iterator[str]:
        if node == "n2":
            never.wait(30.0)
        yield f"guard\t{written(T0)}"

    lines, troubles = given(Stream(["n1", "n2"], read, 0.0))
    never.set()
    assert lines == [("n1", T0)] and [t.node for t in troubles] == ["n2"]


def test_followed_lines_come_by_time_and_a_lost_node_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "HOLD_S", 0.2)
    monkeypatch.setattr(logs, "AGAIN_S", 0.05)
    late = threading.Event()

    def read(node: str) -> Iterator[str]:
        if node == "n3":
            raise Unreachable("n3 can't be reached")
        yield f"guard\t{written(T0 + (1 if node == 'n1' else 0))}"
        late.wait(30.0)

    stream = Stream(["n1", "n2", "n3"], read, 0.0).follow()
    found = [next(stream) for _ in range(3)]
    late.set()
    assert [x.node for x in found if isinstance(x, LogLine)] == ["n2", "n1"]
    assert [x for x in found if isinstance(x, Trouble)] == [Trouble("n3", "n3 can't be reached")]


def test_files_are_read_with_the_one_rotated_away_and_a_missing_one_is_told(tmp_path: Path) -> None:
    for name, text in (("watchdog.log.1", written(T0)), ("watchdog.log", written(T0 + 1)), ("guard.log", written(T0))):
        (tmp_path / name).write_text(text + "\n")
    places = {"n1": Place(str(tmp_path)), "n2": Place(str(tmp_path / "none"))}

    def read(node: str) -> Iterator[str]:
        return lines_of(logs.argv(places[node], follow=False, since=0.0), keep_open=False)

    found = logs.whole(["n1", "n2"], read)
    assert found["n1"] == Log(f"{written(T0)}\n{written(T0 + 1)}", written(T0))
    assert "can't be read" in found["n2"].problem


def test_following_sees_what_is_written_also_past_a_rotation_and_leaves_no_process(tmp_path: Path) -> None:
    log, etcd = tmp_path / "watchdog.log", tmp_path / "etcd.log"
    log.write_text(written(T0) + "\n")
    etcd.write_text('{"level":"info","ts":"2023-11-14T22:13:20Z","msg":"ready"}\n')
    lines = lines_of(logs.argv(Place(str(tmp_path), "", str(etcd)), follow=True, since=0.0), keep_open=True)

    def until_said(piece: str, words: str) -> None:
        assert any(line.startswith(f"{piece}\t") and words in line for line in lines)

    first = {next(lines).partition("\t")[0] for _ in range(2)}
    assert first == {"watchdog", "etcd"}
    log.rename(tmp_path / "watchdog.log.1")
    log.write_text(written(T0 + 3, "handed", target="n3") + "\n")
    until_said("watchdog", '"n3"')
    (tmp_path / "postgresql.log").write_text("2023-11-14 22:13:20.500 GMT [7] LOG:  ready\n")
    until_said("postgresql", "ready")
    assert isinstance(lines, Iterator)
    getattr(lines, "close")()  # noqa: B009  # a generator's
    left: Callable[[], bool] = lambda: not [p for p in procs.living() if str(tmp_path) in " ".join(p.argv)]  # noqa: E731
    until(left, within_s=5.0, what="its processes have ended")


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600.0), ("90s", 90.0), ("1.5h", 5400.0), ("2d", 172800.0)])
def test_how_far_back(text: str, seconds: float) -> None:
    assert logs.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "ten m", "-5m", "5 minutes"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        logs.seconds_of(text)


def test_a_node_has_a_colour_on_a_terminal_and_none_elsewhere() -> None:
    line = LogLine(T0, "n2", "guard", "its server\x1b[2J starts", "")
    plain, coloured = Painter(["n1", "n2"], colour=False).text(line), Painter(["n1", "n2"], colour=True).text(line)
    assert plain.startswith("2023-11-14 22:13:20.000  n2  guard       its server") and "\x1b" not in plain
    assert "\x1b[33mn2  guard     \x1b[0m" in coloured and "\x1b[2J" not in coloured
