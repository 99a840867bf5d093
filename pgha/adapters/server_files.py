"""The files of a node's PostgreSQL: what must lie there before each start, what a promotion needs.

Standard library and `pgha.pg` only. Every write is durable before it returns. No policy.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
from collections.abc import Mapping
from functools import cache

from pgha.adapters.local import replace_file, sync_dir
from pgha.core.server import DataIdentity
from pgha.nodefile import NodeFile
from pgha.pg import conf, control, wal

RECORD_MAX = 1024  # a checkpoint record is about a hundred bytes
OWNED = ("primary_conninfo", "primary_slot_name", "synchronous_standby_names", "restore_command", "port")


def read_control(data_dir: str) -> control.RawControl | None:
    """Read again a few times: a server may be writing it at this moment."""
    for _ in range(3):
        try:
            with open(os.path.join(data_dir, "global", "pg_control"), "rb") as f:
                found = control.parse_raw(f.read(control.HEAD_BYTES))
        except OSError:
            return None
        if found is not None:
            return found
    return None


def identity_of(data_dir: str) -> DataIdentity | None:
    """What lies there; None when it is no usable data directory."""
    found = read_control(data_dir)
    try:
        there, version = os.stat(data_dir), os.stat(os.path.join(data_dir, "PG_VERSION"))
    except OSError:
        return None
    if found is None:
        return None
    return DataIdentity(there.st_dev, there.st_ino, found.system, version.st_mtime_ns, boot_id())


@cache
def boot_id() -> str:
    """Of this boot of the machine, or of the container; "" where the kernel does not tell."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
            return f.read().strip()
    except OSError:
        return ""


def _content(path: str) -> bytes:
    """Of a file; nothing when there is none."""
    try:
        with open(path, "rb") as f:
            return f.read()
    except FileNotFoundError:
        return b""


class ServerFiles:
    """Paths and file work for one node."""

    def __init__(self, node: NodeFile) -> None:
        self.node = node
        self.data = node.data_dir
        self.live_text = ""

    def path(self, *names: str) -> str:
        """A path inside the data directory."""
        return os.path.join(self.data, *names)

    def control(self) -> control.RawControl | None:
        """pg_control of the data directory, its checksum verified; None when there is no usable one."""
        return read_control(self.data)

    def end_of_record(self, timeline: int, start: int) -> int | None:
        """The LSN where the WAL record at `start` ends; None when the file can't be read."""
        try:
            size = self._segment_bytes()
            with open(self.path("pg_wal", wal.segment_name(timeline, start, size)), "rb") as f:
                f.seek(start % size)
                length = int.from_bytes(f.read(4), sys.byteorder)  # xl_tot_len
        except (OSError, ValueError):
            return None
        return wal.record_end(start, length, size) if 24 <= length <= RECORD_MAX else None

    def _segment_bytes(self) -> int:
        """The size of any WAL segment; they are all of one size."""
        names = [n for n in os.listdir(self.path("pg_wal")) if len(n) == 24]
        return os.path.getsize(self.path("pg_wal", max(names)))

    def still_starting(self) -> bool:
        """postmaster.pid says so: no connection would be taken (its line 8, src/include/utils/pidfile.h)."""
        try:
            with open(self.path("postmaster.pid"), encoding="ascii", errors="replace") as f:
                lines = f.read().splitlines()
        except OSError:
            return True
        return len(lines) < 8 or lines[7].strip() == "starting"

    def write_live(self, text: str) -> bool:
        """Replace the live settings; False when they were these already.

        Atomic, not durable: every start writes the sealed ones first, so nothing rests on what a crash leaves here.
        """
        if text == self.live_text:
            return False
        path = f"{self.node.state_dir}/{conf.LIVE}"
        with open(f"{path}.tmp", "w", encoding="utf-8") as f:
            f.write(text)
        os.rename(f"{path}.tmp", path)
        self.live_text = text
        return True

    def before_start(self, without: tuple[int, ...] = ()) -> None:
        """Everything that makes a start a sealed one (design, 5 "every start is sealed")."""
        self.live_text = ""
        self.write_live(conf.live_conf())
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{self.node.state_dir}/{conf.ADOPTED}")
        for path, text in self._texts().items():
            replace_file(path, text, 0o600)
        os.makedirs(self.node.socket_dir, mode=0o755, exist_ok=True)
        self._clean_auto_conf()
        self._drop_histories(without)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path("recovery.signal"))
        self.arm_standby()

    def write_main(self) -> None:
        """postgresql.conf, as the node's file has it."""
        replace_file(f"{self.node.state_dir}/{conf.MAIN}", conf.main_conf(self.node).encode(), 0o600)

    def _texts(self) -> Mapping[str, bytes]:
        """What the node file makes of the configuration, by path."""
        user, state = pwd.getpwuid(os.geteuid()).pw_name, self.node.state_dir
        adopted = f"{state}/{conf.ADOPTED}"
        runs_by = {adopted: conf.main_conf(self.node, running=True).encode()} if os.path.exists(adopted) else {}
        return {
            **runs_by,
            f"{state}/{conf.MAIN}": conf.main_conf(self.node).encode(),
            f"{state}/pg_hba.conf": conf.hba_conf(self.node).encode(),
            f"{state}/pg_ident.conf": conf.ident_conf(self.node, user).encode(),
        }

    def catch_up_with_node_file(self) -> bool:
        """For a server that runs already: configuration, and the way to whom it follows, as the node file now says.

        True when something changed and the server is to read it. Raises OSError.
        """
        stale = {path: text for path, text in self._texts().items() if _content(path) != text}
        for path, text in stale.items():
            replace_file(path, text, 0o600)
        live = _content(f"{self.node.state_dir}/{conf.LIVE}").decode(errors="replace")
        wanted = conf.followed_anew(self.node, live)
        return (wanted != live and self.write_live(wanted)) or bool(stale)

    def pid_in_file(self) -> int:
        """The postmaster that postmaster.pid names; 0 for none."""
        try:
            with open(self.path("postmaster.pid"), encoding="ascii", errors="replace") as f:
                first = f.readline().strip()
        except OSError:
            return 0
        return int(first) if first.isdecimal() else 0

    def touch(self, path: str) -> None:
        """An empty file."""
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))

    def arm_standby(self) -> None:
        """standby.signal lies there: whoever starts this directory gets a read-only server."""
        fd = os.open(self.path("standby.signal"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_dir(self.data)

    def _clean_auto_conf(self) -> None:
        """postgresql.auto.conf is read last and is copied by clones: what pgha owns must not stand there."""
        path = self.path("postgresql.auto.conf")
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as f:
                lines = f.readlines()
        except OSError:
            return
        kept = [x for x in lines if x.split("=", 1)[0].strip().lower() not in OWNED]
        if kept != lines:
            replace_file(path, "".join(kept).encode(errors="surrogateescape"), 0o600)

    def _drop_histories(self, given_up: tuple[int, ...]) -> None:
        """Empty history files beyond the own timeline are left from a claim without promotion: they would hide
        real timelines of those numbers (redteam 5). Those of timelines that were given up would be aimed at."""
        own = self._own_timeline()
        for name in self._histories():
            path, timeline = self.path("pg_wal", name), int(name[:8], 16)
            if timeline in given_up or (timeline > own and os.path.getsize(path) == 0):
                os.unlink(path)
        sync_dir(self.path("pg_wal"))

    def _own_timeline(self) -> int:
        """The highest timeline that this directory has WAL of, by its segment names."""
        found = [1]
        for name in os.listdir(self.path("pg_wal")):
            if len(name) == 24 and all(c in "0123456789ABCDEF" for c in name):
                found.append(int(name[:8], 16))
        return max(found)

    def _histories(self) -> list[str]:
        return [n for n in os.listdir(self.path("pg_wal")) if len(n) == 16 and n.endswith(".history")]

    def histories_told(self) -> tuple[int, ...]:
        """Timelines whose history file is there and no empty filler, ascending; none when they can't be read."""
        with contextlib.suppress(OSError):
            return tuple(sorted(int(n[:8], 16) for n in self._histories() if os.path.getsize(self.path("pg_wal", n))))
        return ()

    def fill_histories(self, own: int, epoch: int) -> None:
        """An empty history file for each missing number between, so that PostgreSQL takes `epoch` (design, 6)."""
        there = set(self._histories())
        missing = [n for n in map(control.history_name, range(own + 1, epoch)) if n not in there]
        for name in missing:
            fd = os.open(self.path("pg_wal", name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            os.fsync(fd)
            os.close(fd)
        if missing:
            sync_dir(self.path("pg_wal"))

    def forks(self, timeline: int) -> tuple[tuple[int, int], ...]:
        """Of this timeline, oldest first. Raises OSError, ValueError."""
        if timeline == 1:
            return ()
        with open(self.path("pg_wal", control.history_name(timeline)), encoding="ascii", errors="replace") as f:
            return control.parse_history(f.read())
