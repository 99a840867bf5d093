"""What the hosts' disks are made of: trees that are built once, kept in the cache, below every host's own overlay.

*bare*: a debootstrap tree as a cloud image has it (systemd, sshd, sudo, cron, python3, iproute2; no PostgreSQL, no
etcd, no module venv). *prepared*: the machine's own root, and on each host's disk a copy of a layer that adds what is
missing (PostgreSQL, etcd, sshd, cron, sudo, venv) and hides what is not of the distribution.
May import `shell`, `tools`, `sources`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hosts import sources
from tests.hosts.shell import LabError, must, run
from tests.hosts.tools import APT_S, CACHE, Nspawn

RECIPE = "4"  # a tree of another recipe is built anew
ADMIN = "admin"
PROXY = "198.18.0.1:3142"
OURS = (
    "systemd,systemd-sysv,dbus,libpam-systemd,openssh-server,sudo,cron,python3,iproute2,iputils-ping,procps,netbase,"
    "ca-certificates"
)
ADDED = (
    *OURS.split(","),
    "postgresql",
    "etcd-server",
    "etcd-client",
    "python3-venv",
)
# Of the machine's root a prepared host sees the distribution's directories; these of them it sees empty.
SEEN = ("bin", "boot", "etc", "lib", "lib32", "lib64", "libx32", "sbin", "usr", "var")
BARE_MOUNTS = ("dev", "home", "media", "mnt", "opt", "proc", "root", "run", "srv", "sys", "tmp")
EMPTY = (
    "etc/postgresql",
    "etc/pgha",
    "usr/local/bin",
    "usr/local/sbin",
    "usr/local/lib",
    "var/cache",
    "var/lib/etcd",
    "var/lib/pgha",
    "var/lib/postgresql",
    "var/log",
    "var/tmp",
)
# Nothing of these may run by itself on a host: time and network are the machine's, downloads would disturb.
MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "console-getty.service",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "man-db.timer",
    "systemd-modules-load.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-networkd-wait-online.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
)
DISABLED = ("postgresql.service", "etcd.service", "haproxy.service", "pgbouncer.service", "docker.service")


@dataclass(frozen=True, slots=True)
class Tree:
    """What lies below a host's disk, and what its own layer begins as (overlayfs takes no layer inside another)."""

    lower: Path
    seed: Path | None = None


def tree(kind: str, nspawn: Nspawn) -> Tree:
    """The tree for `prepared`, `bare` (the machine's release) or `bare-RELEASE`; built when the cache has none.

    Raises LabError when it can't be built.
    """
    found = sources.of_machine()
    with _building():
        if kind == "prepared":
            status = Path("/var/lib/dpkg/status").read_bytes()
            place = _built(kind, found, status, lambda at: _build_prepared(at, found, nspawn))
            return Tree(Path("/"), place)
        head, _, release = kind.partition("-")
        if head != "bare":
            raise LabError(f"no such kind of host: {kind}: there are prepared, bare, bare-RELEASE")
        if release and release != sources.main_suite(found):
            found = sources.for_release(found, release)
        place = _built(kind, found, b"", lambda at: _build_bare(at, found))
        return Tree(place)


@contextlib.contextmanager
def _building() -> Iterator[None]:
    """One builder at a time on this machine."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _built(kind: str, found: list[sources.Source], more: bytes, build: Callable[[Path], None]) -> Path:
    """The tree from the cache; built when there is none, whole or not at all; older ones nobody uses are removed."""
    recipe = repr((RECIPE, OURS, ADDED, SEEN, EMPTY, MASKED, DISABLED, found)).encode()
    stamp = hashlib.sha256(recipe + more).hexdigest()[:12]
    place = CACHE / "trees" / f"{kind}.{stamp}"
    if place.exists():
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    in_use = Path("/proc/self/mountinfo").read_text()
    for old in place.parent.glob(f"{kind}.*"):
        if str(old) not in in_use:
            shutil.rmtree(old)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".making-") as scratch:
        made = Path(scratch, "tree")
        build(made)
        made.rename(place)
    return place


def _build_bare(at: Path, found: list[sources.Source]) -> None:
    suite, mirror = sources.main_suite(found), sources.main_mirror(found)
    keys = ["--keyring", "/usr/share/keyrings/debian-archive-keyring.gpg"]
    must(["debootstrap", "--variant=minbase", f"--include={OURS}", *keys, suite, at, mirror], within_s=APT_S)
    # the security suite's versions, as a fresh image has them
    (at / "etc/apt/sources.list").write_text("".join(f"deb {s.uri} {s.suite} main\n" for s in found))
    shutil.copy("/etc/resolv.conf", at / "etc/resolv.conf")
    for words in (["update"], ["upgrade"], ["clean"]):
        must(["chroot", at, "apt-get", "-q", "-y", *_date_options(), *words], within_s=APT_S)
    _finish(at, found)


def _build_prepared(at: Path, found: list[sources.Source], nspawn: Nspawn) -> None:
    scratch = at.parent
    merged, work = scratch / "merged", scratch / "work"
    for folder in (at, merged, work):
        folder.mkdir(mode=0o755)
    _hide(at)
    layers = f"lowerdir=/,upperdir={at},workdir={work}"
    must(["mount", "-t", "overlay", "pgha-hosts-build", "-o", layers, merged])
    try:
        (merged / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n")
        (merged / "usr/sbin/policy-rc.d").chmod(0o755)
        create = merged / "etc/postgresql-common/createcluster.d/none.conf"
        create.parent.mkdir(parents=True, exist_ok=True)
        create.write_text("create_main_cluster = false\n")
        base = [nspawn.program, "--quiet", "--register=no", "--keep-unit", "--as-pid2", "--pipe", "--capability=all"]
        base += ["--link-journal=no", "--resolv-conf=copy-host", f"--directory={merged}"]
        base += ["--setenv=DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y", "--no-install-recommends"]
        for words in (["update"], ["install", *ADDED], ["clean"]):
            must([*base, *words], within_s=APT_S, env=nspawn.env)
        _finish(merged, found)
    finally:
        must(["umount", merged])
    merged.rmdir()
    shutil.rmtree(work)


def _hide(at: Path) -> None:
    """The layer's beginning: what is not of the distribution is not there, or empty."""
    for name in os.listdir("/"):
        if name in BARE_MOUNTS:
            _opaque(at, name)
        elif name not in SEEN:
            os.mknod(at / name, 0o600 | 0o020000, 0)  # overlayfs' mark for "deleted": a character device 0/0
    for name in EMPTY:
        if Path("/", name).is_dir():
            _opaque(at, name)
    for name in ("tmp", "var/tmp"):
        (at / name).chmod(0o1777)
    (at / "root").chmod(0o700)
    (at / "var/log/journal").mkdir()


def _opaque(at: Path, name: str) -> None:
    """An empty directory that hides the machine's; its parents keep the machine's owners and modes."""
    for parent in reversed(Path(name).parents):
        if parent.parts and not (at / parent).exists():
            (at / parent).mkdir()
            _like(at / parent, Path("/", parent))
    (at / name).mkdir(exist_ok=True)
    _like(at / name, Path("/", name))
    os.setxattr(at / name, "trusted.overlay.opaque", b"y")


def _like(mine: Path, model: Path) -> None:
    found = model.stat()
    os.chown(mine, found.st_uid, found.st_gid)
    mine.chmod(found.st_mode & 0o7777)


def _date_options() -> list[str]:
    """How apt treats dates on this machine, for a tree of the same packages."""
    said = must(["apt-config", "dump", "Acquire::Check-Valid-Until"]) + must(
        ["apt-config", "dump", "Acquire::Check-Date"]
    )
    return [f"-o{line.split()[0]}=false" for line in said.splitlines() if line.split()[1:] == ['"false";']]


def _finish(at: Path, found: list[sources.Source]) -> None:
    """As the first boot of a cloud image leaves it: a user with a key and sudo, no keys of its own yet."""
    if run(["chroot", at, "id", ADMIN]).code != 0:
        must(["chroot", at, "useradd", "--create-home", "--shell", "/bin/bash", ADMIN])
    sudoers = at / "etc/sudoers.d/90-admin"
    sudoers.write_text(f"{ADMIN} ALL=(ALL) NOPASSWD:ALL\n")
    sudoers.chmod(0o440)
    (at / "etc/default/locale").write_text("")
    (at / "etc/ssh/sshd_config.d/50-cloud.conf").write_text("PasswordAuthentication no\nPermitRootLogin no\n")
    for unit in MASKED:
        link = at / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    for unit in DISABLED:
        for wants in (at / "etc/systemd/system").glob("*.wants"):
            (wants / unit).unlink(missing_ok=True)
    for key in (at / "etc/ssh").glob("ssh_host_*"):
        key.unlink()
    for name in ("etc/machine-id", "var/lib/dbus/machine-id", "etc/resolv.conf", "usr/sbin/policy-rc.d", "etc/fstab"):
        (at / name).unlink(missing_ok=True)
    (at / "etc/fstab").write_text("")
    (at / "etc/resolv.conf").write_text("# no resolver: names are in /etc/hosts\n")
    apt = at / "etc/apt"
    for old in (apt / "sources.list.d").glob("*"):
        old.unlink()
    for old in (at / "var/lib/apt/lists").glob("*_*"):
        old.unlink()
    (apt / "sources.list").write_text(sources.sources_list(found))
    dates = "".join(f"{option[2:].replace('=', ' ')};\n" for option in _date_options())
    (apt / "apt.conf.d/90lab").write_text(f'Acquire::http::Proxy "http://{PROXY}";\n{dates}')
