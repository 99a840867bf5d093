"""The real command in a process of its own, as an operator runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Said:
    """How it ended and what it said."""

    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    """Without what the tester's own shell might say about inventories and terminals."""
    drop = ("PGHA_", "COLUMNS", "NO_COLOR")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    return kept | {"PYTHONPATH": str(CHECKOUT)} | more


def pgha(*words: str, cwd: Path, stdin: str = "", timeout_s: float = 60.0, **env: str) -> Said:
    """Run it to its end."""
    argv = [sys.executable, "-m", "pgha", *words]
    ran = subprocess.run(
        argv,
        cwd=cwd,
        env=environment(**env),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Said(ran.returncode, ran.stdout, ran.stderr)
