"""What goes over the wire to etcd: the messages we use, how they are built, and what each refusal means.

Duty: knows the etcd v3 API and gRPC's status codes; sends nothing. The two libraries are loaded by `libraries()`, at
first use, never at import. Only their generated messages and stubs are used: the client class of python-etcd3 goes
deaf for 300 s after one timeout and takes no deadline per call.
May import `pgha.ports`, `etcd_messages`, and (lazily) grpc and etcd3.etcdrpc.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache

from pgha.adapters.etcd_messages import (
    AlarmReply,
    Channel,
    Metadata,
    R,
    RangeReply,
    Rpc,
    StatusReply,
    Stream,
    TokenReply,
    TxnReply,
)
from pgha.ports import Entry, Guard, Snapshot, Write

# grpc's own back-off leaves a member unused for 40 s after an outage of 75 s; its pings alone find a stopped peer only
# after 64 s unless the ping timeout is set too; etcd refuses pings more often than every 5 s; gRPC obeys http_proxy.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.keepalive_time_ms", 6000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.ping_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)


@dataclass(frozen=True, slots=True)
class Methods:
    """The methods of one member that we call."""

    channel: Channel
    range: Rpc[RangeReply]
    txn: Rpc[TxnReply]
    status: Rpc[StatusReply]
    alarm: Rpc[AlarmReply]
    authenticate: Rpc[TokenReply]
    watch: Callable[[Iterable[object], Metadata], Stream]


class Libraries:
    """gRPC and etcd's messages, loaded. Made once, by `libraries()`."""

    def __init__(self) -> None:
        # Read by gRPC when it is loaded: no chatter on stderr, no fork handlers (we never fork with channels open).
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        import grpc
        from etcd3 import etcdrpc

        self._grpc, self._rpc = grpc, etcdrpc
        self.error: type[Exception] = grpc.RpcError

    def connect(self, endpoint: str, tls: tuple[bytes | None, bytes | None, bytes | None] | None) -> Methods:
        """The methods of the member at `host:port`; connects at the first call. tls: CA, key and certificate (PEM)."""
        if tls is None:
            channel = self._grpc.insecure_channel(endpoint, CHANNEL_OPTIONS)
        else:
            channel = self._grpc.secure_channel(endpoint, self._grpc.ssl_channel_credentials(*tls), CHANNEL_OPTIONS)
        kv, maintenance = self._rpc.KVStub(channel), self._rpc.MaintenanceStub(channel)
        watch = self._rpc.WatchStub(channel).Watch

        def open_watch(requests: Iterable[object], metadata: Metadata) -> Stream:
            stream: Stream = watch(iter(requests), metadata=metadata)
            return stream

        return Methods(
            channel=channel,
            range=kv.Range,
            txn=kv.Txn,
            status=maintenance.Status,
            alarm=maintenance.Alarm,
            authenticate=self._rpc.AuthStub(channel).Authenticate,
            watch=open_watch,
        )

    def read_request(self, prefix: str) -> object:
        """A linearizable read of all keys under a prefix."""
        key, end = span(prefix)
        return self._rpc.RangeRequest(key=key, range_end=end, serializable=False)

    def oldest_request(self, prefix: str) -> object:
        """What a key was at the very first revision: refused once anything was ever compacted."""
        return self._rpc.RangeRequest(key=prefix.encode(), revision=1, count_only=True, serializable=False)

    def probe_request(self) -> object:
        """A linearizable read that finds next to nothing."""
        return self._rpc.RangeRequest(key=b"/pgha/", count_only=True, serializable=False)

    def txn_request(self, guards: Sequence[Guard], writes: Sequence[Write]) -> object:
        """If all guards hold, all writes; else the written keys, read back in the order of `writes`."""
        rpc = self._rpc
        equal, mod = rpc.Compare.EQUAL, rpc.Compare.MOD
        compares = [rpc.Compare(result=equal, target=mod, key=g.key.encode(), mod_revision=g.revision) for g in guards]
        back = [rpc.RequestOp(request_range=rpc.RangeRequest(key=w.key.encode())) for w in writes]
        return rpc.TxnRequest(compare=compares, success=[self._operation(w) for w in writes], failure=back)

    def _operation(self, write: Write) -> object:
        rpc, key = self._rpc, write.key.encode()
        if write.value is None:
            return rpc.RequestOp(request_delete_range=rpc.DeleteRangeRequest(key=key))
        return rpc.RequestOp(request_put=rpc.PutRequest(key=key, value=write.value))

    def watch_request(self, prefix: str, since: int) -> object:
        """A watch of a prefix from the revision after `since`."""
        key, end = span(prefix)
        create = self._rpc.WatchCreateRequest(key=key, range_end=end, start_revision=since + 1)
        return self._rpc.WatchRequest(create_request=create)

    def login_request(self, user: str, password: str) -> object:
        """A login."""
        return self._rpc.AuthenticateRequest(name=user, password=password)

    def account_method(self, channel: Channel, name: str) -> Rpc[object]:
        """A method of etcd's users and roles, by its name there."""
        method: Rpc[object] = getattr(self._rpc.AuthStub(channel), name)
        return method

    def role_request(self, role: str) -> object:
        """A new role."""
        return self._rpc.AuthRoleAddRequest(name=role)

    def permission_request(self, role: str, prefix: str) -> object:
        """A role may read and write all keys under a prefix."""
        from etcd3.etcdrpc import auth_pb2

        key, end = span(prefix)
        perm = auth_pb2.Permission(permType=auth_pb2.Permission.READWRITE, key=key, range_end=end)
        return self._rpc.AuthRoleGrantPermissionRequest(name=role, perm=perm)

    def user_request(self, user: str, password: str) -> object:
        """A new user."""
        return self._rpc.AuthUserAddRequest(name=user, password=password)

    def password_request(self, user: str, password: str) -> object:
        """A user's other password."""
        return self._rpc.AuthUserChangePasswordRequest(name=user, password=password)

    def grant_request(self, user: str, role: str) -> object:
        """A user has a role."""
        return self._rpc.AuthUserGrantRoleRequest(user=user, role=role)

    def enable_request(self) -> object:
        """A login is asked for."""
        return self._rpc.AuthEnableRequest()

    def status_request(self) -> object:
        """A member about itself."""
        return self._rpc.StatusRequest()

    def alarm_request(self) -> object:
        """All alarms (the first action of the enumeration is "get")."""
        return self._rpc.AlarmRequest()

    def members_request(self) -> object:
        """All members."""
        return self._rpc.MemberListRequest()

    def member_add_request(self, peer_url: str) -> object:
        """A voting member that will listen there for the others."""
        return self._rpc.MemberAddRequest(peerURLs=[peer_url])

    def member_remove_request(self, ident: int) -> object:
        """The member of this number."""
        return self._rpc.MemberRemoveRequest(ID=ident)

    def cluster_method(self, channel: Channel, name: str) -> Rpc[R]:
        """A method of etcd's service Cluster."""
        method: Rpc[R] = getattr(self._rpc.ClusterStub(channel), name)
        return method

    def alarm_name(self, number: int) -> str:
        """`NOSPACE` and the like."""
        names: Mapping[int, str] = {v: k for k, v in self._rpc.AlarmType.items()}
        return names.get(number, f"alarm {number}")


@cache
def libraries() -> Libraries:
    """gRPC and etcd's messages; the first call takes some 70 ms."""
    return Libraries()


def span(prefix: str) -> tuple[bytes, bytes]:
    """The range of keys that begin with a prefix, as etcd wants it; all keys for an empty one."""
    key = prefix.encode()
    stem = key.rstrip(b"\xff")
    if not stem:
        return key or b"\0", b"\0"
    return key, stem[:-1] + bytes([stem[-1] + 1])


def snapshot(reply: RangeReply) -> Snapshot:
    """The answer to a read."""
    return Snapshot(reply.header.revision, {p.key.decode(): Entry(p.value, p.mod_revision) for p in reply.kvs})


def read_back(reply: TxnReply) -> list[Entry | None]:
    """What stands at the written keys after a conflict, in the order of the writes."""
    found = [part.response_range.kvs for part in reply.responses]
    return [Entry(pairs[0].value, pairs[0].mod_revision) if pairs else None for pairs in found]


class Verdict(Enum):
    """What a refused call means."""

    NEXT = "this member did nothing: ask the next one"
    UNKNOWN = "it may have been done: ask the next one if doing it twice is harmless"
    DENIED = "nothing was done: our credentials are not accepted (log in again once)"
    BUG = "the request is wrong, whoever is asked"


# Total over grpc.StatusCode (a test holds it so). OK never comes here.
VERDICTS: Mapping[str, Verdict] = {
    "OK": Verdict.BUG,
    "CANCELLED": Verdict.UNKNOWN,
    "UNKNOWN": Verdict.UNKNOWN,
    "INVALID_ARGUMENT": Verdict.BUG,
    "DEADLINE_EXCEEDED": Verdict.UNKNOWN,
    "NOT_FOUND": Verdict.BUG,
    "ALREADY_EXISTS": Verdict.BUG,
    "PERMISSION_DENIED": Verdict.DENIED,
    "RESOURCE_EXHAUSTED": Verdict.UNKNOWN,
    "FAILED_PRECONDITION": Verdict.BUG,
    "ABORTED": Verdict.UNKNOWN,
    "OUT_OF_RANGE": Verdict.BUG,
    "UNIMPLEMENTED": Verdict.NEXT,
    "INTERNAL": Verdict.UNKNOWN,
    "UNAVAILABLE": Verdict.UNKNOWN,
    "DATA_LOSS": Verdict.UNKNOWN,
    "UNAUTHENTICATED": Verdict.DENIED,
}

# Texts that say more than their code (etcd: api/v3rpc/rpctypes/error.go; gRPC: the connection was never there).
_TEXTS: tuple[tuple[str, str, Verdict], ...] = (
    ("UNAVAILABLE", "failed to connect to all addresses", Verdict.NEXT),
    ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", Verdict.NEXT),
    ("INVALID_ARGUMENT", "etcdserver: user name is empty", Verdict.DENIED),
    ("INVALID_ARGUMENT", "etcdserver: revision of auth store is old", Verdict.DENIED),
    ("INVALID_ARGUMENT", "etcdserver: authentication failed", Verdict.DENIED),
)


def judge(code: str, details: str) -> Verdict:
    """What a refusal means, by the name of its status code and its text. Safe for unheard-of codes: UNKNOWN."""
    for name, text, verdict in _TEXTS:
        if code == name and details.startswith(text):
            return verdict
    return VERDICTS.get(code, Verdict.UNKNOWN)
