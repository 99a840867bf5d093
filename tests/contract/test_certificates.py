"""The cluster's authority: its certificates are what etcd and its clients need, and nobody else's are taken."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path

import pytest

from pgha.adapters.certificates import is_good, issue, make_authority

HOSTS = ("127.0.0.1", "localhost", "db1.example.org")


def written(folder: Path, name: str, pair: tuple[str, str]) -> tuple[str, str]:
    paths = (folder / f"{name}.pem", folder / f"{name}.key")
    for path, text in zip(paths, pair, strict=True):
        path.write_text(text)
    return str(paths[0]), str(paths[1])


def meet(folder: Path, authority: tuple[str, str], client: tuple[str, str], name: str = "127.0.0.1") -> bytes:
    """What the client hears from a server of the authority that wants certificates. Raises OSError, ssl.SSLError."""
    ca = written(folder, "ca", authority)[0]
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    serving.load_cert_chain(*written(folder, "server", issue(authority, HOSTS)))
    serving.verify_mode = ssl.CERT_REQUIRED
    asking = ssl.create_default_context(cafile=ca)
    asking.load_cert_chain(*written(folder, "client", client))
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        near, _ = server.accept()
        try:
            with serving.wrap_socket(near, server_side=True) as s:
                s.sendall(b"welcome")
        except OSError:
            near.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with (
            socket.create_connection(server.getsockname(), timeout=5.0) as s,
            asking.wrap_socket(s, server_hostname=name) as tls,
        ):
            return tls.recv(100)
    finally:
        thread.join(5.0)
        server.close()


@pytest.mark.parametrize("name", HOSTS)
def test_a_client_of_the_authority_meets_a_member_under_each_of_its_names(name: str, tmp_path: Path) -> None:
    authority = make_authority("shop")
    assert meet(tmp_path, authority, issue(authority, ()), name) == b"welcome"


def test_a_member_is_a_client_too(tmp_path: Path) -> None:
    authority = make_authority("shop")
    assert meet(tmp_path, authority, issue(authority, HOSTS)) == b"welcome"


def test_another_clusters_client_and_another_name_are_refused(tmp_path: Path) -> None:
    authority = make_authority("shop")
    with pytest.raises(OSError):
        meet(tmp_path, authority, issue(make_authority("shop"), ()))
    with pytest.raises(ssl.SSLCertVerificationError):
        meet(tmp_path, authority, issue(authority, ()), "db2.example.org")


def test_what_is_good_is_kept_and_what_is_not_is_made_anew() -> None:
    authority, other = make_authority("shop"), make_authority("shop")
    member = issue(authority, HOSTS)[0]
    assert is_good(authority[0], member, HOSTS) and is_good(authority[0], member, ())
    assert not is_good(authority[0], member, (*HOSTS, "192.0.2.11"))
    assert not is_good(other[0], member, HOSTS)
    assert not is_good(authority[0], issue(authority, ())[0], HOSTS)
    assert not is_good(authority[0], None, ()) and not is_good(authority[0], "junk", ())
