"""Copies of the data directory: made beside it, put in its place, the one before kept aside until the node streams.

Every step can be interrupted and gone on with: a directory that a rewind has left half done is noted durably before
the rewind touches it, and a swap that was cut short is finished at the next start. Tablespaces of a copy lie in
directories of their own below the source's location, so that the old copy's stay whole.

Standard library and `pgha.pg` only. No policy.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict

from pgha.adapters.local import replace_file, sync_dir
from pgha.adapters.server_files import identity_of
from pgha.core.server import DataIdentity
from pgha.nodefile import NodeFile

TORN = "rewinding.json"  # in the state directory: the directory that a rewind has begun with and not ended
ROOM_SPARE = 64 << 20  # WAL that is written during the clone, bytes
ROOM_SPARE_PART = 0.05


class Copies:
    """The directories of one node, beside `data_dir`."""

    def __init__(self, node: NodeFile) -> None:
        self.node, self.data = node, node.data_dir
        self._torn = f"{node.state_dir}/{TORN}"
        self._leaf = re.compile(rf"pgha-{re.escape(node.node)}-[0-9a-f]{{6}}")

    # -- a rewind in place: half done it is no copy of anything ----------------------------------------------

    def identity(self) -> DataIdentity | None:
        """What lies in the data directory; None when nothing usable is there, or a rewind was cut short there."""
        found = identity_of(self.data)
        return None if found is None or self._is_torn(found) else found

    def _is_torn(self, found: DataIdentity) -> bool:
        try:
            with open(self._torn, encoding="ascii") as f:
                return DataIdentity(**json.load(f)).is_same(found)
        except FileNotFoundError:
            return False
        except (OSError, ValueError, TypeError):
            return True  # written and then damaged: what it named is not known, so nothing here is trusted

    def begin_rewind(self) -> None:
        """From here on the directory is not to be started or measured. Raises OSError."""
        found = identity_of(self.data)
        if found is None:
            raise OSError("there is no usable data directory to rewind")
        replace_file(self._torn, json.dumps(asdict(found)).encode(), 0o600)

    def end_rewind(self) -> None:
        """pg_rewind has done all it does: a server that comes up there completes it (see Memory.catch_up)."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._torn)
        sync_dir(self.node.state_dir)

    # -- tablespaces -----------------------------------------------------------------------------------------

    def base(self, location: str) -> str:
        """Where a tablespace's copies lie: the location without a directory that pgha made in it (for any node)."""
        parent, leaf = os.path.split(location.rstrip("/"))
        return parent if re.fullmatch(r"pgha-[a-z0-9-]{1,40}-[0-9a-f]{6}", leaf) else location.rstrip("/")

    def mapping(self, locations: Iterable[str], tag: str) -> dict[str, str]:
        """For each of the source's locations the directory of this copy."""
        leaf = f"pgha-{self.node.node}-{tag}"
        return {location: f"{self.base(location)}/{leaf}" for location in locations}

    # -- room ------------------------------------------------------------------------------------------------

    def room_problem(self, data_bytes: int, spaces: Mapping[str, int]) -> str:
        """Why a second copy does not fit; "" when it does. spaces: bytes by the tablespace's location."""
        needs: dict[int, tuple[int, str]] = {}
        for path, size in ((os.path.dirname(self.data), data_bytes), *((self.base(p), n) for p, n in spaces.items())):
            there = _existing(path)
            device = os.stat(there).st_dev
            before, first = needs.get(device, (ROOM_SPARE, there))
            needs[device] = before + size + int(size * ROOM_SPARE_PART), first
        for need, path in needs.values():
            free = shutil.disk_usage(path).free
            if free < need:
                return f"not enough room for a clone in {path}: {_mb(need)} needed, {_mb(free)} free"
        return ""

    # -- a clone: beside, then in its place ------------------------------------------------------------------

    def new_dir(self, tag: str, locations: Iterable[str] = ()) -> str:
        """A name beside the data directory; leftovers of interrupted clones are removed, there and in tablespaces."""
        self.drop_unfinished(locations)
        return f"{self.data}.new-{tag}"

    def drop_unfinished(self, locations: Iterable[str] = ()) -> None:
        """What interrupted clones left: beside the data directory, and in these and its own tablespaces."""
        for path in self._beside("new"):
            shutil.rmtree(path)
        used = {t for path in (self.data, *self._beside("old"), *self._beside("kept")) for t in _links(path)}
        places = {self.base(p) for p in (*locations, *used)}
        for place in places:
            for name in os.listdir(place) if os.path.isdir(place) else ():
                path = os.path.join(place, name)
                if self._leaf.fullmatch(name) and path not in used:
                    shutil.rmtree(path)

    def swap_in(self, fresh: str, tag: str, keep: str = "") -> None:
        """The fresh directory takes the data directory's name; what was there is kept aside.

        keep: a data id: for ever, under this name; else until the node streams.
        """
        if os.path.isdir(self.data) and not os.listdir(self.data):
            os.rmdir(self.data)
        if os.path.exists(self.data):
            os.rename(self.data, f"{self.data}.kept-{keep}-{tag}" if keep else f"{self.data}.old-{tag}")
        os.rename(fresh, self.data)
        sync_dir(os.path.dirname(self.data))

    def finish_swap(self) -> bool:
        """A swap that was cut short between its two renames is finished; True when there was one."""
        if os.path.lexists(self.data):
            return False
        for aside in (*self._beside("old"), *self._beside("kept")):
            fresh = f"{self.data}.new-{aside.rpartition('-')[2]}"
            if os.path.isdir(fresh):
                os.rename(fresh, self.data)
                sync_dir(os.path.dirname(self.data))
                return True
        return False

    def kept(self) -> tuple[str, ...]:
        """The names of the directories beside it that are never deleted."""
        return tuple(os.path.basename(path) for path in self._beside("kept"))

    def drop_old(self) -> None:
        """Old copies go once the node streams again, with what they had in tablespaces."""
        used = {t for path in (self.data, *self._beside("kept")) for t in _links(path)}
        for path in self._beside("old"):
            version = _version(path)
            for target in _links(path) if version else ():
                if target not in used:
                    self._drop_space(target, version)
            shutil.rmtree(path, ignore_errors=True)

    def _drop_space(self, target: str, version: str) -> None:
        """A directory that pgha made goes whole; of one that the operator made, PostgreSQL's own part."""
        if self._leaf.fullmatch(os.path.basename(target)):
            shutil.rmtree(target, ignore_errors=True)
            return
        for name in os.listdir(target) if os.path.isdir(target) else ():
            if name.startswith(f"PG_{version}_"):
                shutil.rmtree(os.path.join(target, name), ignore_errors=True)

    def _beside(self, kind: str) -> list[str]:
        parent, leaf = os.path.split(self.data)
        return sorted(os.path.join(parent, n) for n in os.listdir(parent) if n.startswith(f"{leaf}.{kind}-"))


def _links(data_dir: str) -> list[str]:
    """Where the directory's tablespaces lie; those inside it are left out."""
    place = os.path.join(data_dir, "pg_tblspc")
    names = os.listdir(place) if os.path.isdir(place) else []
    paths = [os.path.join(place, n) for n in names]
    return [os.readlink(p) for p in paths if os.path.islink(p) and os.path.isabs(os.readlink(p))]


def _version(data_dir: str) -> str:
    """The major version of a data directory; "" when it can't be read."""
    try:
        with open(os.path.join(data_dir, "PG_VERSION"), encoding="ascii", errors="replace") as f:
            found = f.read().strip()
    except OSError:
        return ""
    return found if re.fullmatch(r"[0-9]{1,3}", found) else ""


def _existing(path: str) -> str:
    """The nearest directory above that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


def _mb(size: int) -> str:
    return f"{size / (1 << 20):,.0f} MB"
