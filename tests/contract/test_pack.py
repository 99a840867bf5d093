"""What is carried to a host: enough for the watchdog and the command line, nothing else, the same for the same code."""

from __future__ import annotations

import io
import platform
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from pgha.adapters import pack
from pgha.adapters.pack import pack_for


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes, Path]:
    cache = tmp_path_factory.mktemp("cache")
    return *pack_for(platform.python_version(), platform.machine(), str(cache)), cache


def test_it_runs_the_watchdog_and_the_command_line_from_nothing_else(
    made: tuple[str, bytes, Path], tmp_path: Path
) -> None:
    subprocess.run(["tar", "-xzf", "-", "-C", str(tmp_path)], input=made[1], check=True)
    code = (
        f"import sys; sys.path[:] = [{str(tmp_path)!r}, *(p for p in sys.path if 'packages' not in p)]; "
        "import pgha.watchdog.agent_main, psycopg, etcd3.etcdrpc, grpc, typer, rich.console; "
        "from pgha.cli.main import run; print(pgha.__file__); sys.exit(run(['version']))"
    )
    ran = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(tmp_path))


def test_it_brings_its_byte_code_and_belongs_to_root(made: tuple[str, bytes, Path]) -> None:
    with tarfile.open(fileobj=io.BytesIO(made[1])) as archive:
        members = archive.getmembers()
    assert all((m.uid, m.gid, m.mode & 0o022) == (0, 0, 0) and m.isfile() for m in members)
    names = [m.name for m in members]
    assert any(n.startswith("pgha/watchdog/__pycache__/guard.") for n in names)
    assert not any(
        n.startswith(("/", "..")) or n.split("/")[0] in ("fabric", "paramiko", "cryptography", "pip") for n in names
    )


def test_the_same_code_has_the_same_name_and_is_packed_once(made: tuple[str, bytes, Path]) -> None:
    name, data, cache = made
    (stored,) = cache.iterdir()
    stored.write_bytes(b"as it was stored")
    assert pack_for(platform.python_version(), platform.machine(), str(cache)) == (name, b"as it was stored")
    stored.write_bytes(data)


def test_wheels_for_another_python_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(minor: str, machine: str, pins: list[str], folder: Path) -> None:
        asked.append(minor)
        folder.mkdir()
        with zipfile.ZipFile(folder / "psycopg-1-py3-none-any.whl", "w") as wheel:
            wheel.writestr("psycopg/__init__.py", "")

    monkeypatch.setattr(pack, "_download", download)
    first = pack_for("3.99.1", "x86_64", str(tmp_path))
    assert pack_for("3.99.2", "x86_64", str(tmp_path)) == first and asked == ["3.99"]
    with tarfile.open(fileobj=io.BytesIO(first[1])) as archive:
        assert "psycopg/__init__.py" in archive.getnames()
