"""What every test shares: the order of the stages, the switch for golden files, hypothesis profiles, the header."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import golden

# gRPC's fork handlers end a child with SIGBUS now and then before it execs (seen with subprocess' user=). pgha switches
# them off before it imports gRPC; a test module that imports it first must not switch them on for the whole run.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

TESTS = Path(__file__).resolve().parent

# Quick ones first, so that a mistake is known early. Within a stage the order is random (pytest-randomly).
STAGES = (
    ".",
    "core",
    "inventory",
    "pg",
    "model",
    "sim",
    "ops",
    "contract",
    "watchdog",
    "cli",
    "drill",
    "loopback",
    "hosts",
)

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--rewrite`: golden files take what the code gives now; read the diff before it is committed."""
    parser.addoption("--rewrite", action="store_true", help="rewrite golden files instead of comparing with them")


def pytest_configure(config: pytest.Config) -> None:
    """Hand the switch to `tests.support.golden`, which also knows it from the environment."""
    if config.getoption("--rewrite"):
        os.environ[golden.REWRITE] = "1"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by stage; a stable sort, so each stage keeps its random order."""
    items.sort(key=_stage)


def _stage(item: pytest.Item) -> int:
    inside = item.path.relative_to(TESTS).parts
    name = inside[0] if len(inside) > 1 else "."
    return STAGES.index(name) if name in STAGES else len(STAGES)


def pytest_report_header() -> list[str]:
    """Which PostgreSQL and etcd the machine has of its own (else the wheels are used)."""
    servers = sorted(str(p.parent) for p in Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    return [f"PostgreSQL: {', '.join(servers) or 'wheel'}; etcd: {shutil.which('etcd') or 'wheel'}; uid {os.geteuid()}"]
