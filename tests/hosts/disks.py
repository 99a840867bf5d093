"""A disk of its own for a directory of a host: a file with ext4 in it, that can be full and frozen.

It is put in while the host is off, and stays until the host is removed. May import `lab`, `shell`.
"""

from __future__ import annotations

import contextlib

from tests.hosts.lab import Lab
from tests.hosts.shell import must, run

SIZE_MB = 512


class Disk:
    """What lies at `path` of the host is on it."""

    def __init__(self, lab: Lab, node: str, path: str) -> None:
        host = lab.host(node)
        lab.power_off(node)
        host.mount()
        self.mount = host.disk / path.lstrip("/")
        image = lab.place / f"{node}{path.replace('/', '-')}.img"
        with image.open("wb") as file:
            file.truncate(SIZE_MB << 20)
        must(["mkfs.ext4", "-q", "-m", "0", image])
        aside = self.mount.with_name(self.mount.name + ".aside")
        self.mount.rename(aside)
        self.mount.mkdir()
        host.add_disk(image, path)
        run(["rm", "-rf", self.mount / "lost+found"])
        must(["cp", "-a", f"{aside}/.", self.mount], within_s=120.0)
        must(["rm", "-rf", aside])
        lab.boot(node)

    def fill(self) -> None:
        """Not a byte is left."""
        for size in (65536, 1):
            with (self.mount / "ballast").open("ab", buffering=0) as file, contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass

    def free(self) -> None:
        """There is room again."""
        (self.mount / "ballast").unlink(missing_ok=True)

    def freeze(self) -> None:
        """Whoever writes waits, and can't be killed meanwhile."""
        must(["fsfreeze", "-f", self.mount])

    def thaw(self) -> None:
        """It goes on; nothing when it does already."""
        run(["fsfreeze", "-u", self.mount])
