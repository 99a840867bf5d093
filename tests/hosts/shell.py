"""Programs that the lab runs: argv lists, each with a deadline. May import the standard library only."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PLAIN = {"PATH": PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"} | {
    name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")
}


class LabError(AssertionError):
    """The lab could not do what was asked; says which program said what."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended and what it said."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit {self.code}: {(self.err or self.out).strip()[-1500:]}"


def run(
    argv: Sequence[str | Path],
    *,
    within_s: float = 60.0,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: str | Path = "/",
) -> Ran:
    """Run a program to its end, in a plain environment. Raises LabError when it takes longer, or is not there."""
    words = [str(word) for word in argv]
    feed: dict[str, object] = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    try:
        ran = subprocess.run(  # type: ignore[call-overload]  # one of stdin and input
            words,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=within_s,
            check=False,
            cwd=cwd,
            env={**PLAIN, **(env or {})},
            **feed,
        )
    except subprocess.TimeoutExpired as e:
        raise LabError(f"not within {within_s:g} s: {' '.join(words)[:400]}") from e
    except OSError as e:
        raise LabError(f"{words[0]}: {e}") from e
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def must(
    argv: Sequence[str | Path],
    *,
    within_s: float = 60.0,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """The same; gives what it wrote. Raises LabError when it ends with another code than 0."""
    ran = run(argv, within_s=within_s, stdin=stdin, env=env)
    if ran.code != 0:
        raise LabError(f"{' '.join(str(w) for w in argv)[:400]}: {ran}")
    return ran.out


def until(condition: Callable[[], bool], *, within_s: float, what: str, every_s: float = 0.02) -> float:
    """Wait for a condition; gives the seconds it took. Raises LabError with `what` when it does not come."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() > begun + within_s:
            raise LabError(f"not within {within_s:g} s: {what}")
        time.sleep(every_s)
    return time.monotonic() - begun
