"""How much room each member of etcd has: its quota and what is in use, which its metrics tell and its calls don't.

Duty: one GET of /metrics for each endpoint, at the port for clients, by the same certificates; it asks for no login.
May import `pgha.nodefile`, `pgha.ports` and the standard library.
"""

from __future__ import annotations

import http.client
import ssl
import threading
from collections.abc import Mapping

from pgha.nodefile import StoreAccess
from pgha.ports import MemberRoom

QUOTA = "etcd_server_quota_backend_bytes"
IN_USE = "etcd_mvcc_db_total_size_in_use_in_bytes"
LONGEST = 4 << 20  # of an answer; etcd's has some hundred kB


def rooms(access: StoreAccess, *, within_s: float) -> Mapping[str, MemberRoom]:
    """By endpoint, all asked at once; who does not say it is missing: metrics can be kept from clients."""
    found: dict[str, MemberRoom] = {}

    def ask(endpoint: str) -> None:
        try:
            found[endpoint] = _parsed(_metrics(access, endpoint, within_s))
        except (OSError, ValueError, KeyError, http.client.HTTPException):
            return

    threads = [threading.Thread(target=ask, args=(endpoint,), daemon=True) for endpoint in access.endpoints]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(within_s)
    return dict(found)


def _metrics(access: StoreAccess, endpoint: str, within_s: float) -> str:
    host, _, port = endpoint.rpartition(":")
    connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=within_s)
    if access.ca_file or access.cert_file:
        context = ssl.create_default_context(cafile=access.ca_file or None)
        if access.cert_file:
            context.load_cert_chain(access.cert_file, access.key_file)
        connection = http.client.HTTPSConnection(host.strip("[]"), int(port), timeout=within_s, context=context)
    try:
        connection.request("GET", "/metrics")
        reply = connection.getresponse()
        if reply.status != http.client.OK:
            raise ValueError(f"{endpoint} answers {reply.status}")
        return reply.read(LONGEST).decode(errors="replace")
    finally:
        connection.close()


def _parsed(text: str) -> MemberRoom:
    """A negative quota is none. Raises KeyError or ValueError for the answer of another program."""
    values = {
        name: float(value)
        for name, _, value in (line.partition(" ") for line in text.splitlines())
        if name in (QUOTA, IN_USE)
    }
    return MemberRoom(max(0, int(values[QUOTA])), int(values.get(IN_USE, 0)))
