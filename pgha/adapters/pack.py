"""pgha and what a node needs of it, as one compressed tar for a host's Python: nothing is downloaded by the host.

When the host has this machine's kind of Python (minor version, processor), the installed packages are packed as they
are; else wheels for it are fetched here with pip. Byte code is compiled here, once, and never checked against its
source: both come and go together.
Standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import platform
import py_compile
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pgha
from pgha.errors import Refused

# What runs on a node: the watchdog's clients of PostgreSQL and etcd, and the command line. Not fabric, not YAML.
ROOTS = ("psycopg", "psycopg-binary", "cslab-etcd3", "typer")
NEVER = frozenset({"pygments", "pip", "setuptools"})  # rich loads Pygments only to colour source code
PIP_S = 300.0
FORMAT = 1


def pack_for(python: str, machine: str, cache: str) -> tuple[str, bytes]:
    """(name, compressed tar) for hosts with this Python version and processor. Raises Refused when it can't be made.

    cache: a directory of ours for what was made before.
    """
    minor = ".".join(python.split(".")[:2])
    same = minor == f"{sys.version_info[0]}.{sys.version_info[1]}" and machine == platform.machine()
    if same:
        files = _installed()
    else:
        files = _wheels(minor, machine, Path(cache))
    files |= {f"pgha/{path.relative_to(_PACKAGE)}": path.read_bytes() for path in sorted(_PACKAGE.rglob("*.py"))}
    digest = hashlib.sha256(f"{FORMAT} {minor} {machine}".encode())
    for name in sorted(files):
        digest.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    label = f"{pgha.__version__}-{digest.hexdigest()[:12]}"
    stored = Path(cache) / f"{label}.tar.gz"
    if not stored.exists():
        stored.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        half = stored.with_name(f"{label}.{os.getpid()}.tmp")
        half.write_bytes(_tar(files, compiled=same))
        half.replace(stored)
    return label, stored.read_bytes()


_PACKAGE = Path(pgha.__file__).parent


def _installed() -> dict[str, bytes]:
    """The files of our own packages, by their place in site-packages."""
    files: dict[str, bytes] = {}
    for name in _closure():
        dist = importlib.metadata.distribution(name)
        for entry in dist.files or ():
            path = Path(str(dist.locate_file(entry)))
            outside = entry.parts[0] == ".." or "__pycache__" in entry.parts or entry.suffix in (".pyc", ".pyi")
            if not outside and "tests" not in entry.parts and path.is_file():
                files[entry.as_posix()] = path.read_bytes()
    return files


def _closure() -> list[str]:
    """The packages of ROOTS with what they need. Raises Refused when one is missing."""
    found: dict[str, None] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop(0)
        if name in found or name in NEVER:
            continue
        try:
            wanted = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            if name in ROOTS:
                raise Refused(
                    f"{name} is not installed here", "it is carried to the hosts", "install pgha anew"
                ) from None
            continue  # needed elsewhere only (another Python, another system)
        found[name] = None
        waiting += [_name(text) for text in wanted if "extra ==" not in text]
    return sorted(found)


def _name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", match[0]).lower() if match else ""


def _wheels(minor: str, machine: str, cache: Path) -> dict[str, bytes]:
    """The same packages as wheels for another Python, fetched by pip here once: a second run asks no index."""
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in _closure()]
    kept = cache / f"wheels-{minor}-{machine}-{hashlib.sha256(' '.join(pins).encode()).hexdigest()[:12]}"
    if not kept.is_dir():
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="wheels-") as scratch:
            folder = Path(scratch) / "whole"
            _download(minor, machine, pins, folder)
            with contextlib.suppress(OSError):  # another run was first
                folder.rename(kept)
    return {name: data for wheel in sorted(kept.glob("*.whl")) for name, data in _unzip(wheel)}


def _download(minor: str, machine: str, pins: list[str], folder: Path) -> None:
    """By pip. Raises Refused."""
    platforms = [f"--platform=manylinux{tag}_{machine}" for tag in ("_2_28", "_2_17", "2014", "_2_34")]
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", "--no-deps"]
    argv += [f"--dest={folder}", f"--python-version={minor}", *platforms, *pins]
    try:
        ran = subprocess.run(argv, capture_output=True, text=True, timeout=PIP_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Refused(f"no wheels for Python {minor} on {machine}", str(e), "python3 -m ensurepip") from e
    if ran.returncode:
        why = ran.stderr.strip().splitlines()[-1:] or ["pip failed"]
        raise Refused(f"no wheels for Python {minor} on {machine}", why[0], "make pip work here, or use that Python")


def _unzip(wheel: Path) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if not name.endswith(("/", ".pyi")) and ".data/" not in name and ".." not in name.split("/"):
                yield name, archive.read(name)


def _tar(files: dict[str, bytes], *, compiled: bool) -> bytes:
    """Everything belongs to root and may be read by everybody; the same files give the same bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as archive:
        for name in sorted(files):
            _add(archive, name, files[name])
            if compiled and name.endswith(".py"):
                code = _compiled(name, files[name])
                if code is not None:
                    _add(archive, importlib.util.cache_from_source(name), code)
    return out.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), 0o755 if name.endswith(".so") else 0o644
    archive.addfile(entry, io.BytesIO(data))


def _compiled(name: str, source: bytes) -> bytes | None:
    """Byte code that is never checked against the source."""
    with tempfile.TemporaryDirectory(prefix="pgha-pyc-") as folder:
        path, made = Path(folder) / "source.py", Path(folder) / "made.pyc"
        path.write_bytes(source)
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        try:
            py_compile.compile(str(path), str(made), dfile=name, doraise=True, invalidation_mode=mode)
        except py_compile.PyCompileError:
            return None  # a template, or code for a newer Python
        return made.read_bytes()
