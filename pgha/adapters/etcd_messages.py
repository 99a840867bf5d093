"""The shapes of what gRPC and etcd's generated code give us: neither library ships types.

Duty: types only, as far as they are used. Field names are etcd's own (rpc.proto, kv.proto).
May import the standard library.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

Metadata = Sequence[tuple[str, str]]
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Code(Protocol):
    """A `grpc.StatusCode`."""

    name: str


class Reply(Protocol[R_co]):
    """A call under way (a gRPC future)."""

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """Called once, from another thread, when the call has ended."""
        ...

    def cancel(self) -> bool:
        """Give it up."""
        ...

    def code(self) -> Code:
        """How it ended; waits for the end."""
        ...

    def details(self) -> str | None:
        """The text of a refusal."""
        ...

    def result(self) -> R_co:
        """The answer, when the code is OK."""
        ...


class Rpc(Protocol[R_co]):
    """One method of a member."""

    def future(self, request: object, timeout: float, metadata: Metadata) -> Reply[R_co]:
        """Send the request; `timeout` in seconds. Raises ValueError on a closed channel."""
        ...


class Stream(Protocol):
    """A watch stream under way. Iterating raises grpc.RpcError when it breaks."""

    def __iter__(self) -> Iterator[WatchReply]: ...

    def cancel(self) -> bool:
        """End it."""
        ...


class Header(Protocol):
    """The head of each answer."""

    cluster_id: int
    member_id: int
    revision: int


class Pair(Protocol):
    """A key with its value."""

    key: bytes
    value: bytes
    mod_revision: int


class RangeReply(Protocol):
    """Answer to a read."""

    header: Header
    kvs: Sequence[Pair]


class Part(Protocol):
    """One part of a transaction's answer."""

    response_range: RangeReply


class TxnReply(Protocol):
    """Answer to a transaction."""

    header: Header
    succeeded: bool
    responses: Sequence[Part]


class StatusReply(Protocol):
    """A member about itself."""

    header: Header
    version: str
    dbSize: int
    leader: int


class Alarm(Protocol):
    """An alarm a member raised."""

    memberID: int
    alarm: int


class AlarmReply(Protocol):
    """All alarms of the cluster."""

    alarms: Sequence[Alarm]


class TokenReply(Protocol):
    """Answer to a login."""

    token: str


class Event(Protocol):
    """One change seen by a watch."""

    kv: Pair


class WatchReply(Protocol):
    """One message of a watch stream."""

    header: Header
    created: bool
    canceled: bool
    compact_revision: int
    events: Sequence[Event]


class Channel(Protocol):
    """A gRPC channel."""

    def close(self) -> None:
        """Cancel all its calls and disconnect."""
        ...
