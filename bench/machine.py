"""On what the bench runs: without it a figure says nothing."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path

from pgha.adapters.binaries import find_etcd
from tests.support.programs import postgres_bin


def _first_line(argv: list[str]) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    return (done.stdout or done.stderr).split("\n")[0].strip()


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def facts() -> dict[str, str]:
    """Name to text, in the order to show."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cores": str(os.cpu_count()),
        "cpu": _cpu(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "postgresql": _first_line([f"{postgres_bin()}/postgres", "--version"]),
        "etcd": _first_line([find_etcd(None), "--version"]),
        "load": " ".join(f"{x:.2f}" for x in os.getloadavg()),
    }
