"""The judge's process from the drill's side: started, given its task on stdin, asked and ended.

Standard library only. The password travels on stdin: never in an argument, never in the environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from types import TracebackType

from pgha.errors import PghaError


class JudgeGone(PghaError):
    """The judge ended or fell silent: nothing it would have said can be claimed."""


class JudgeProcess:
    """A running judge. Use it as a context: leaving it ends the process."""

    def __init__(self, task: Mapping[str, object]) -> None:
        """Start it and wait until it is ready (its writers begin at once). Raises JudgeGone.

        task: see pgha.ops.judge_main.
        """
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  # closed in `close`, with the process
        self._child = subprocess.Popen(
            [sys.executable, "-m", "pgha.ops.judge_main"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for the drill, which ends the judge after it has cleaned up
        )
        self._text = b""
        try:
            self._exchange(task, within_s=15.0)
        except BaseException:
            self.close()
            raise

    def now_s(self) -> float:
        """The judge's clock, CLOCK_MONOTONIC: a fault's `at_s` is read from it."""
        return time.clock_gettime(time.CLOCK_MONOTONIC)

    def order(self, do: str, *, within_s: float = 10.0, **fields: object) -> Mapping[str, object]:
        """One order and its reply (see pgha.ops.judge_main). Raises JudgeGone."""
        return self._exchange({"do": do, **fields}, within_s=within_s)

    def close(self) -> None:
        """End it: it ends by itself when stdin is closed, else it is killed."""
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None and stdout is not None
        with contextlib.suppress(OSError):
            stdin.close()
        try:
            self._child.wait(timeout=3.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        stdout.close()
        self._words.close()

    def _last_words(self) -> str:
        """The end of what it complained about; it is never given the password to print."""
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line), "") or f"exit {self._child.poll()}"

    def __enter__(self) -> JudgeProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _exchange(self, body: Mapping[str, object], *, within_s: float) -> Mapping[str, object]:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(json.dumps(body).encode() + b"\n")
            self._child.stdin.flush()
        except OSError as e:
            raise JudgeGone("the drill's judge has ended", e.strerror or "") from e
        reply = json.loads(self._line(time.clock_gettime(time.CLOCK_MONOTONIC) + within_s))
        if not isinstance(reply, dict) or "error" in reply:
            raise JudgeGone("the drill's judge refused its task", str(reply)[:200])
        return reply

    def _line(self, end_s: float) -> bytes:
        assert self._child.stdout is not None
        out = self._child.stdout.fileno()
        while b"\n" not in self._text:
            left = end_s - time.clock_gettime(time.CLOCK_MONOTONIC)
            if left <= 0 or not select.select([out], [], [], left)[0]:
                raise JudgeGone("the drill's judge does not answer", "no reply in time")
            chunk = os.read(out, 65536)
            if not chunk:
                raise JudgeGone("the drill's judge has ended", self._last_words())
            self._text += chunk
        line, _, self._text = self._text.partition(b"\n")
        return line


def save_lines(path: str, lines: Iterable[str]) -> None:
    """Write a history; what was there is replaced. Raises OSError."""
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(line + "\n" for line in lines)


def _environment() -> dict[str, str]:
    """Nothing that libpq would take as a default: a PGSERVICE or PGSSLMODE of the operator must not move the judge."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if os.path.basename(package) not in ("site-packages", "dist-packages"):
        kept["PYTHONPATH"] = package  # a checkout: the child must find this very pgha
    return kept
