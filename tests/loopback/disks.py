"""A disk of its own for one node: a file with ext4 in it, that can be full, and frozen. Needs root, a loop device."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.ops import local_nodes
from pgha.ops.local_nodes import LocalNode
from tests.loopback import faults
from tests.loopback.cluster import Cluster
from tests.support.postgres_pair import until

SIZE_MB = 256
TOOLS = ("mkfs.ext4", "mount", "umount", "fsfreeze")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=60, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


class Disk:
    """A mounted one."""

    def __init__(self, mount: Path) -> None:
        self.mount = mount
        self._frozen = False

    def fill(self) -> None:
        """Not a byte is left."""
        with open(self.mount / "ballast", "wb", buffering=0) as f, contextlib.suppress(OSError):
            while True:
                f.write(b"x" * 65536)
        with open(self.mount / "ballast", "ab", buffering=0) as f, contextlib.suppress(OSError):
            while True:
                f.write(b"x")

    def free(self) -> None:
        """There is room again."""
        (self.mount / "ballast").unlink()

    def freeze(self) -> None:
        """Whoever writes waits, and can't be killed meanwhile."""
        _run("fsfreeze", "-f", str(self.mount))
        self._frozen = True

    def thaw(self) -> None:
        """It goes on."""
        if self._frozen:
            _run("fsfreeze", "-u", str(self.mount))
            self._frozen = False


@contextlib.contextmanager
def disk_of(cluster: Cluster, node: LocalNode, *, with_state: bool) -> Iterator[Disk]:
    """The node's data directory (and state directory) lie on a disk of their own while the block runs."""
    if os.geteuid() != 0 or not all(shutil.which(tool) for tool in TOOLS) or not os.path.exists("/dev/loop-control"):
        pytest.skip("needs root and loop devices")
    moved = [Path(node.data_dir), *([Path(node.state_dir)] if with_state else [])]
    image, mount = Path(node.dir, "disk.img"), Path(node.dir, "disk")
    _stop(cluster, node)
    with image.open("wb") as f:
        f.truncate(SIZE_MB << 20)
    _run("mkfs.ext4", "-q", "-m", "0", str(image))
    mount.mkdir()
    _run("mount", "-o", "loop", str(image), str(mount))
    account = pwd.getpwnam(node.user)
    os.chown(mount, account.pw_uid, account.pw_gid)
    disk = Disk(mount)
    try:
        for path in moved:
            shutil.move(path, mount / path.name)
            path.symlink_to(mount / path.name)
        _own(mount, account)
        cluster.power_on(node)
        cluster.await_healthy()
        yield disk
    finally:
        disk.thaw()
        (mount / "ballast").unlink(missing_ok=True)
        _stop(cluster, node)
        for path in moved:
            path.unlink()
            shutil.move(mount / path.name, path)
            _own(path, account)
        until(lambda: _unmounted(mount), within_s=10.0, what="nothing uses the disk", every_s=0.2)
        mount.rmdir()
        image.unlink()
        cluster.power_on(node)


def _own(top: Path, account: pwd.struct_passwd) -> None:
    """What was copied by root is the node's again."""
    for folder, _, names in os.walk(top):
        for name in (folder, *(os.path.join(folder, n) for n in names)):
            os.chown(name, account.pw_uid, account.pw_gid, follow_symlinks=False)


def _unmounted(mount: Path) -> bool:
    return subprocess.run(["umount", str(mount)], check=False, capture_output=True, timeout=30).returncode == 0


def _stop(cluster: Cluster, node: LocalNode) -> None:
    """The node's watchdog and server, in order; its etcd member goes on."""
    local_nodes.hold_down(node)
    ran = cluster.host.run([*node.watchdog_argv(), "--stop"], timeout_s=30.0)
    assert ran.ok, ran.err
    until(lambda: not faults.of(node, "guard", "agent", "postgres"), within_s=10.0, what="it is stopped")
