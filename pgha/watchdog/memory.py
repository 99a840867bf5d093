"""The node's durable memory, typed: what is in `Keep`'s document and how it changes.

Every change is on disk before the method returns (raft's Ready: durable before what depends on it). A document that
can't be read stops the node: guessing here could break a promise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from pgha.core.model import Copy, Position, Seal
from pgha.core.observation import Memory
from pgha.core.server import DataIdentity
from pgha.ports import Keep

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class KnownCopy:
    """A data directory this node has had: its id and how to recognise it."""

    ident: str
    identity: DataIdentity


class NodeMemory:
    """Loaded once; `lock` because a clone in the background adds its copy."""

    def __init__(
        self, keep: Keep, node: str, *, new_id: Callable[[], str], lock: AbstractContextManager[object]
    ) -> None:
        self._keep, self._node, self._new_id, self._lock = keep, node, new_id, lock
        body = keep.load()
        schema = body.get("schema")
        if body and (schema != SCHEMA or isinstance(schema, bool)):
            newer = ": a newer pgha has written it" if isinstance(schema, int) and schema > SCHEMA else ""
            raise ValueError(f"memory of schema {schema!r}, this version knows {SCHEMA}{newer}"[:160])
        self.value = _memory(body)
        self._copies = _copies(body)
        self.failed = ""  # why the last change could not be made durable

    def update(self, **changes: object) -> None:
        """Change these fields durably; nothing is written when they are so already."""
        with self._lock:
            new = replace(self.value, **changes)  # type: ignore[arg-type]  # names are checked by replace
            if new != self.value:
                self._save(new)

    def seen(self, *, revision: int, epoch: int, beat: int) -> None:
        """The store showed this. Written to disk only when the epoch rises: lower bounds are enough, and cheap."""
        old = self.value
        high = max((old.epoch, old.beat), (epoch, beat))
        new = replace(old, revision=max(old.revision, revision), epoch=high[0], beat=high[1])
        with self._lock:
            if new.epoch == old.epoch:
                self.value = new
                return
            try:
                self._save(new)
            except OSError as e:  # a lower bound is missing, no more: such a node must still be able to release
                self.failed = f"the node's memory can't be written: {e.strerror}"

    def copy_of(self, identity: DataIdentity | None) -> Copy | None:
        """The id of what lies in the data directory; what is not recognised gets a new one (redteam 6), None when that
        can't be written down."""
        if identity is None:
            return None
        for known in reversed(self._copies):
            if known.identity.is_same(identity):
                if known.identity != identity:
                    self._lies_now(known, identity)
                return Copy(self._node, known.ident)
        try:
            return Copy(self._node, self.add_copy(identity))
        except OSError as e:
            self.failed = f"the node's memory can't be written: {e.strerror}"
            return None

    def _lies_now(self, known: KnownCopy, identity: DataIdentity) -> None:
        """Another boot, perhaps another device: from now on it is known as it lies now."""
        with self._lock:
            others = [c for c in self._copies if c is not known]
            try:
                self._save(self.value, [*others, KnownCopy(known.ident, identity)])
            except OSError as e:
                self.failed = f"the node's memory can't be written: {e.strerror}"

    def add_copy(self, identity: DataIdentity) -> str:
        """A new data id for this directory, durable before it returns."""
        with self._lock:
            ident = self._new_id()
            others = [c for c in self._copies if not c.identity.is_same(identity)]
            self._save(self.value, [*others[-7:], KnownCopy(ident, identity)])
            return ident

    def _save(self, new: Memory, copies: list[KnownCopy] | None = None) -> None:
        """Nothing is known here that is not on disk: also when `save` raises."""
        seal, copies = new.seal, self._copies if copies is None else copies
        self._keep.save(
            {
                "schema": SCHEMA,
                "cluster": new.cluster,
                "epoch": new.epoch,
                "beat": new.beat,
                "revision": new.revision,
                "claimed": new.claimed,
                "catch_up": new.catch_up,
                "catch_up_data": new.catch_up_data,
                "seal": seal
                and {
                    "revision": seal.revision,
                    "node": seal.copy.node,
                    "data": seal.copy.data,
                    "timeline": seal.position.timeline,
                    "lsn": seal.position.lsn,
                },
                "copies": [
                    {
                        "id": c.ident,
                        "device": c.identity.device,
                        "inode": c.identity.inode,
                        "system": c.identity.system,
                        "made": c.identity.made,
                        "boot": c.identity.boot,
                    }
                    for c in copies
                ],
            }
        )
        self.value, self._copies, self.failed = new, copies, ""


def _int(body: Mapping[str, object], name: str, default: int | None = None) -> int:
    value = body.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"memory: {name} is {value!r}"[:120])
    return value


def _word(body: Mapping[str, object], name: str, default: str | None = None) -> str:
    value = body.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"memory: {name} is {value!r}"[:120])
    return value


def _memory(body: Mapping[str, object]) -> Memory:
    raw = body.get("seal")
    if raw is not None and not isinstance(raw, dict):
        raise ValueError(f"memory: seal is {raw!r}"[:120])
    return Memory(
        cluster=_word(body, "cluster", ""),
        epoch=_int(body, "epoch", 0),
        beat=_int(body, "beat", 0),
        revision=_int(body, "revision", 0),
        claimed=_int(body, "claimed", 0),
        catch_up=_int(body, "catch_up", 0),
        catch_up_data=_word(body, "catch_up_data", ""),
        seal=None if raw is None else _seal(raw),
    )


def _seal(raw: Mapping[str, object]) -> Seal:
    position = Position(_int(raw, "timeline"), _int(raw, "lsn"))
    return Seal(_int(raw, "revision"), Copy(_word(raw, "node"), _word(raw, "data")), position)


def _copies(body: Mapping[str, object]) -> list[KnownCopy]:
    found = body.get("copies", [])
    if not isinstance(found, list):
        raise ValueError(f"memory: copies is {found!r}"[:120])
    first = body.get("data")  # bootstrap's own, until the first save
    return [_copy(raw) for raw in (found if first is None else [first, *found])]


def _copy(raw: object) -> KnownCopy:
    if not isinstance(raw, dict) or not raw.get("id"):
        raise ValueError(f"memory: copies has {raw!r}"[:120])
    made, boot = _int(raw, "made", 0), _word(raw, "boot", "")
    identity = DataIdentity(_int(raw, "device"), _int(raw, "inode"), _word(raw, "system"), made, boot)
    return KnownCopy(_word(raw, "id"), identity)
