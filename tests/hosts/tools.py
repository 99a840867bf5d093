"""What the lab needs on the machine, brought by apt without upgrading or starting anything there.

systemd-nspawn must match its library: where installing its package would upgrade the machine's systemd, the two are
unpacked into the cache instead. May import `shell` and `cgroups`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hosts import cgroups
from tests.hosts.shell import LabError, must, run

CACHE = Path("/var/cache/pgha-hosts")
NEEDED = {  # program: Debian package
    "debootstrap": "debootstrap",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "nsenter": "util-linux",
    "mkfs.ext4": "e2fsprogs",
}
POLICY = Path("/usr/sbin/policy-rc.d")
APT_S = float(os.environ.get("PGHA_TEST_APT_S", "600"))


@dataclass(frozen=True, slots=True)
class Nspawn:
    """How to call systemd-nspawn."""

    program: str
    env: dict[str, str]


def why_not() -> str:
    """Why there can be no lab on this machine; "" when there can. What can't be found out is a reason too."""
    try:
        return _reason()
    except (LabError, OSError) as e:
        return f"test hosts need to look at the machine: {e}"[:300]


def _reason() -> str:
    if os.geteuid() != 0:
        return "test hosts need root"
    if shutil.which("apt-get") is None:
        return "test hosts need a Debian machine: there is no apt-get"
    if "overlay" not in Path("/proc/filesystems").read_text():
        return "test hosts need overlayfs"
    return cgroups.why_not() or _lacks_power()


def _lacks_power() -> str:
    """Being root is not enough in every container: a mount in namespaces of its own tells."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pgha-may-") as place:
        parts = {name: Path(place, name) for name in ("lower", "upper", "work", "merged")}
        for path in parts.values():
            path.mkdir()
        options = f"lowerdir={parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
        mount = ["mount", "-t", "overlay", "pgha-may", "-o", options, str(parts["merged"])]
        ran = run(["unshare", "--mount", "--net", "--pid", "--fork", *mount])
        return "" if ran.code == 0 else f"test hosts need namespaces and overlay mounts: {ran}"[:300]


@contextlib.contextmanager
def _nothing_starts() -> Iterator[None]:
    """While packages are installed: no service of theirs is started."""
    if POLICY.exists():
        yield
        return
    POLICY.write_text("#!/bin/sh\nexit 101\n")
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()


def apt_get(*words: str) -> None:
    """apt-get, quietly. Raises LabError."""
    must(["apt-get", "-q", "-y", "--no-install-recommends", *words], within_s=APT_S)


_updated: list[bool] = []


def apt_update() -> None:
    """The lists of packages as they are now; once a process."""
    if not _updated:
        apt_get("update")
        _updated.append(True)


def install() -> Nspawn:
    """Bring what is missing; says how to call systemd-nspawn. A second call finds everything there."""
    if said := why_not():
        raise LabError(said)
    missing = sorted({package for program, package in NEEDED.items() if shutil.which(program) is None})
    if missing:
        with _nothing_starts():
            apt_update()
            apt_get("install", "--no-upgrade", *missing)
    return _nspawn()


def _nspawn() -> Nspawn:
    found = shutil.which("systemd-nspawn")
    if found:
        return Nspawn(found, {})
    place = CACHE / "tools"
    program = place / "usr/bin/systemd-nspawn"
    if not program.exists():
        apt_update()
        _unpack(place, "systemd-container", "libsystemd-shared")
    library = next(place.glob("usr/lib/*/systemd"))
    return Nspawn(str(program), {"LD_LIBRARY_PATH": str(library)})


def _unpack(place: Path, *packages: str) -> None:
    """The files of packages, of no others, under `place`; it is there whole or not at all."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="unpack-") as scratch:
        for package in packages:
            candidate = must(["apt-cache", "policy", package]).split("Candidate:")[1].split()[0]
            ran = run(["apt-get", "-q", "download", f"{package}={candidate}"], within_s=APT_S, cwd=scratch)
            if ran.code != 0:
                raise LabError(f"{package} can't be had: {ran}")
        tree = Path(scratch, "tree")
        for deb in sorted(Path(scratch).glob("*.deb")):
            must(["dpkg-deb", "-x", deb, tree])
        tree.rename(place)
