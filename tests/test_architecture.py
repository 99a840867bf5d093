"""The law of the house: layers, doors, sizes, lazy imports. The tables are in `tests/house.py`.

Each rule is shown to bite on a small planted source, and not to bite on its legitimate twin.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import house, house_walk
from tests.conftest import STAGES

CHECKOUT = Path(__file__).resolve().parent.parent
HEAD = '"""A module."""\nfrom __future__ import annotations\n'


def test_the_package_keeps_the_rules_of_the_house() -> None:
    breaches = house_walk.package_breaches(CHECKOUT / "pgha")
    assert not breaches, "\n" + "\n".join(breaches)


@pytest.mark.parametrize("part", ["tests", "bench"])
def test_code_beside_the_package_has_a_readable_size_and_nothing_left_for_later(part: str) -> None:
    breaches = house_walk.size_breaches(CHECKOUT / part)
    assert not breaches, "\n" + "\n".join(breaches)


def test_every_folder_of_tests_is_a_package_and_has_its_stage() -> None:
    folders = {path.parent for path in (CHECKOUT / "tests").rglob("*.py")}
    assert not [str(folder) for folder in folders if not (folder / "__init__.py").exists()]
    with_tests = {path.relative_to(CHECKOUT / "tests").parts[0] for path in (CHECKOUT / "tests").glob("*/**/test_*.py")}
    assert with_tests <= set(STAGES)


PLANTED = {
    "core knows nothing of the ports": ("core/vote.py", "import pgha.ports", "core may not import ports"),
    "from-imports count": ("records.py", "from pgha.errors import Refused", "records may not import errors"),
    "so do sub-packages taken from pgha": ("ops/plan.py", "from pgha import cli", "ops may not import cli"),
    "lazy imports count": ("core/vote.py", "def _f() -> None:\n    import pgha.pg", "core may not import pg"),
    "the watchdog knows no inventory": (
        "watchdog/act.py",
        "import pgha.inventory",
        "watchdog may not import inventory",
    ),
    "a new part needs a place": ("misc.py", "import os", "misc is no layer"),
    "ops take ports, not adapters": ("ops/plan.py", "import pgha.adapters.ssh", "name an adapter"),
    "the guard is standard library": ("watchdog/guard.py", "import psycopg", "standard library only"),
    "the guard knows no core": ("watchdog/guard_tree.py", "import pgha.core.model", "standard library only"),
    "fabric has one door": ("ops/bootstrap.py", "import fabric", "fabric only through"),
    "etcd3 stubs too": ("watchdog/act.py", "from etcd3.etcdrpc import rpc_pb2", "etcd3 only through"),
    "psycopg too": ("ops/status.py", "def _f() -> None:\n    import psycopg", "psycopg only through"),
    "an unknown library has none": ("cli/main.py", "import requests", "requests has no door"),
    "no subprocess in ops": ("ops/demo.py", "import subprocess", "subprocess only through"),
    "no clock in core": ("core/lease.py", "import time", "time only through"),
    "no chance in core": ("core/lease.py", "import random", "random only through no file"),
    "the wall clock is for showing": ("adapters/etcd.py", "import time\nx = time.time()", "time.time only in"),
    "also when passed on": ("adapters/etcd.py", "from time import time as t\nx = [t]", "time.time only in"),
    "datetime is a wall clock": ("ops/a.py", "from datetime import datetime\nx = datetime.now()", "datetime.now only"),
    "monotonic stands still in suspend": (
        "watchdog/guard.py",
        "import time\nx = time.monotonic",
        "time.monotonic only",
    ),
    "signals have doors": ("ops/a.py", "import os\nos.kill(1, 9)", "os.kill only in"),
    "open has doors": ("records.py", "x = open('f')", "open only in"),
    "pathlib is no way round": ("ops/a.py", "def _f(p: object) -> None:\n    p.write_text('x')", ".write_text() only"),
    "print has doors": ("watchdog/act.py", "print('x')", "print only in"),
    "no shell": ("adapters/local.py", "import subprocess\nsubprocess.run('ls', shell=True)", "no shell"),
    "no Any": ("core/model.py", "from typing import Any\nx: Any = 1", "typing.Any only in no file"),
    "nothing is caught blindly": ("ops/a.py", "try:\n    pass\nexcept Exception:\n    pass", "catches everything"),
    "bare except neither": (
        "ops/a.py",
        "def f() -> None:\n    'F.'\n    try:\n        pass\n    except:\n        pass",
        "f catch",
    ),
    "hidden in a tuple neither": (
        "ops/a.py",
        "try:\n    pass\nexcept (OSError, Exception):\n    pass",
        "catches everything",
    ),
    "public functions have a docstring": ("ops/a.py", "def f() -> None: ...", "f is public"),
    "public methods too": ("ops/a.py", "class C:\n    'C.'\n    def f(self) -> None: ...", "f is public"),
    "nothing is unfinished": ("ops/a.py", "x = 1  # TODO later", "do it now"),
    "nor announced": (
        "ops/a.py",
        "def _f() -> None:\n    raise NotImplementedError",
        "NotImplementedError only in no file",
    ),
    "functions end": ("ops/a.py", "def _f() -> None:\n" + "    x = 1\n" * 60, "_f: 61 lines"),
    "files end": ("ops/a.py", "x = 1\n" * 399, "401 lines"),
}


@pytest.mark.parametrize("case", PLANTED)
def test_each_rule_bites(case: str, tmp_path: Path) -> None:
    here, source, expected = PLANTED[case]
    breaches = _breaches(tmp_path, here, HEAD + source)
    assert any(expected in breach for breach in breaches), breaches


LEGITIMATE = {
    "ports know the core": ("ports.py", "import pgha.core.model"),
    "the version is everybody's": ("ops/a.py", "from pgha import __version__"),
    "the roots name adapters": ("watchdog/agent_main.py", "import pgha.adapters.etcd"),
    "a door is open to its own": ("adapters/etcd.py", "import etcd3.etcdrpc\nimport grpc"),
    "the guard has children": ("watchdog/guard.py", "import os\nimport signal\nos.kill(1, signal.SIGKILL)"),
    "the wall clock may be shown": ("render.py", "import datetime\nx = datetime.datetime.now"),
    "a method called open is no file": ("ops/a.py", "def _f(p: list[int]) -> None:\n    p.open()"),
    "a function of exactly the limit": ("ops/a.py", "def _f() -> None:\n" + "    x = 1\n" * 59),
    "a file of exactly the limit": ("ops/a.py", "x = 1\n" * 398),
    "tidying up and raising again": ("ops/a.py", "try:\n    pass\nexcept BaseException:\n    x = 1\n    raise"),
    "named exceptions": ("ops/a.py", "try:\n    pass\nexcept (OSError, ValueError):\n    pass"),
}


@pytest.mark.parametrize("case", LEGITIMATE)
def test_what_is_allowed_is_left_alone(case: str, tmp_path: Path) -> None:
    here, source = LEGITIMATE[case]
    assert _breaches(tmp_path, here, HEAD + source) == []


def test_a_module_without_a_docstring_or_lazy_annotations_is_named(tmp_path: Path) -> None:
    breaches = _breaches(tmp_path, "ops/a.py", "x = 1\ny = 2\n")
    assert [b for b in breaches if "says its duty" in b] and [b for b in breaches if "__future__" in b]


def test_a_listed_loop_may_catch_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = HEAD + "def _loop() -> None:\n    try:\n        pass\n    except Exception:\n        pass\n"
    monkeypatch.setattr(house, "CATCH_ALL", {("ops/a.py", "_loop")})
    assert _breaches(tmp_path, "ops/a.py", source) == []
    assert _breaches(tmp_path, "ops/b.py", source), "the list names the file"


def test_every_door_in_the_tables_leads_to_a_part_of_the_package() -> None:
    patterns = {p for table in (house.IMPORTS, house.NAMES) for doors in table.values() for p in doors} | {*house.ROOTS}
    strange = [p for p in patterns if house_walk._layer(p.split("*")[0]) not in house.LAYERS]
    assert not strange


@pytest.mark.parametrize("module", house.START)
def test_starting_loads_nothing_heavy(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not there yet")
    loaded = _modules_after(f"import {module}")
    heavy = sorted({name.split(".")[0] for name in loaded} & set(house.START[module]))
    assert not heavy, f"import {module} loads {', '.join(heavy)}: import them inside the functions that need them"


def test_the_start_up_check_sees_what_is_loaded() -> None:
    assert "yaml" in _modules_after("import yaml")


def _breaches(tmp_path: Path, here: str, source: str) -> list[str]:
    path = tmp_path / "pgha" / here
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    return house_walk.package_breaches(tmp_path / "pgha")


def _modules_after(statement: str) -> set[str]:
    """What a fresh interpreter has loaded after this statement."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))
