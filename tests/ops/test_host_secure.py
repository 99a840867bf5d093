"""Certificates and passwords on hosts that are dictionaries: kept, carried to all, made anew when they are not good."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pgha import nodefile
from pgha.errors import Refused
from pgha.nodefile import NodeFile, Peer, ServerTls, StoreAccess
from pgha.ops import host_secure
from pgha.ops.host_nodes import node_of
from pgha.ops.host_secure import Authority
from pgha.ops.host_steps import HostSteps
from pgha.ops.target import LOGIN_FILE, ROOT_LOGIN_FILE, STORE_FILES, node_store_access, store_access
from tests.ops.host_cases import TEXT, wanted
from tests.ops.test_host_fleet import StandIn

THEIRS = TEXT + (
    "etcd: {endpoints: ['https://192.0.2.9:2379'], ca: /ca, cert: /c, key: /k, user: shop, password: 'env:WORD'}\n"
)


@dataclass
class Disk(StandIn):
    """Keeps what is written. modes: of files written private or open; owners: whom they were given to."""

    modes: dict[str, int] = field(default_factory=dict)

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        self.files[path], self.modes[path] = text, mode


def issue(authority: tuple[str, str], hosts: object) -> tuple[str, str]:
    return f"{authority[0]} for {hosts}", f"key for {hosts}"


AUTHORITY = Authority(
    make=lambda cluster: (f"authority of {cluster}", "its key"),
    issue=issue,
    is_good=lambda authority, found, hosts: found == f"{authority} for {hosts}",
)


def hosts(text: str = TEXT) -> dict[str, HostSteps]:
    return {s.name: HostSteps(node_of(wanted(text), s), Disk(s.host, ""), "me") for s in wanted(text).nodes}


def disk(steps: HostSteps) -> Disk:
    assert isinstance(steps.remote, Disk)
    return steps.remote


def put(steps: dict[str, HostSteps], given: dict[str, str] | None = None, *, own: bool = True) -> list[str]:
    secrets = host_secure.gathered(steps, AUTHORITY, given or {}, own_store=own)
    return [host_secure.put(one, secrets, AUTHORITY) for one in steps.values()]


def test_all_hosts_get_the_same_secrets_and_a_second_run_leaves_them() -> None:
    steps = hosts()
    put(steps)
    for name in (LOGIN_FILE, ROOT_LOGIN_FILE, "ca.pem", "ca.key"):
        assert len({disk(one).files[one.node.tls(name)] for one in steps.values()}) == 1, name
    before = [dict(disk(one).files) for one in steps.values()]
    assert all("already" in said for said in put(steps))
    assert before == [disk(one).files for one in steps.values()]


def test_secrets_are_private_and_each_is_its_users() -> None:
    steps = hosts()["n1"]
    put({"n1": steps})
    there = disk(steps)
    assert {p.rpartition("/")[2] for p, mode in there.modes.items() if mode == 0o644} == {
        "ca.pem", "client.pem", "etcd.pem", "postgres.pem",
    }  # fmt: skip
    given = {line.rpartition("/")[2]: line.split()[1] for line in there.done if line.startswith("chown")}
    assert given == {
        "client.key": "postgres:",
        "postgres.key": "postgres:",
        "store.password": "postgres:",
        "etcd.key": "pgha-etcd:",
    }


def test_a_new_host_gets_what_the_others_have() -> None:
    steps = hosts()
    put({name: steps[name] for name in ("n1", "n2")})
    said = put(steps)
    assert ["already" in words for words in said] == [True, True, False]
    assert len({disk(one).files[one.node.tls(LOGIN_FILE)] for one in steps.values()}) == 1


def test_a_servers_certificate_bears_its_address_as_a_name_too() -> None:
    steps = hosts()
    put(steps)
    assert "('192.0.2.12', 'dns:192.0.2.12')" in disk(steps["n2"]).files["/etc/pgha/shop/postgres.pem"]


def test_a_certificate_made_anew_is_taken_by_the_server_that_runs() -> None:
    steps = hosts()["n1"]
    put({"n1": steps})
    disk(steps).files["/etc/pgha/shop/postgres.pem"] = "expired"
    disk(steps).done.clear()
    assert put({"n1": steps}) == ["certificates and passwords made"]
    assert any("kill -HUP" in line for line in disk(steps).done)


def test_hosts_with_different_authorities_are_refused() -> None:
    steps = hosts()
    put({"n1": steps["n1"]})
    for name, text in (("ca.pem", "another"), ("ca.key", "another key")):
        disk(steps["n2"]).files[f"/etc/pgha/shop/{name}"] = text
    with pytest.raises(Refused, match="different certificate authorities"):
        put(steps)


def test_an_existing_stores_files_are_carried_and_no_login_of_its_own_is_made() -> None:
    steps = hosts(THEIRS)
    given = dict(zip(STORE_FILES, ("authority", "certificate", "key"), strict=True)) | {LOGIN_FILE: "word"}
    put(steps, given, own=False)
    for one in steps.values():
        files = {path.rpartition("/")[2]: text for path, text in disk(one).files.items()}
        assert given.items() <= files.items() and ROOT_LOGIN_FILE not in files and "client.pem" not in files
        assert all(disk(one).modes[one.node.tls(name)] == 0o600 for name in given)
        assert f"chown postgres: -- {one.node.tls(LOGIN_FILE)}" in disk(one).done


def test_nodes_reach_an_existing_store_by_what_was_carried_the_operator_by_what_he_named() -> None:
    there = node_store_access(wanted(THEIRS))
    assert (there.ca_file, there.cert_file, there.key_file) == tuple(f"/etc/pgha/shop/{name}" for name in STORE_FILES)
    assert (there.user, there.password_file) == ("shop", f"/etc/pgha/shop/{LOGIN_FILE}")
    here = store_access(wanted(THEIRS))
    assert (here.ca_file, here.cert_file, here.key_file, here.user) == ("/ca", "/c", "/k", "shop")
    plain = node_store_access(wanted(TEXT + "etcd: {endpoints: ['192.0.2.9:2379']}\n"))
    assert plain == StoreAccess(("192.0.2.9:2379",))


@pytest.mark.parametrize(
    ("tls", "without"),
    [(None, True), (ServerTls("a", "b", "c", False), True), (ServerTls("a", "b", "c", True), False)],
)
def test_tls_is_offered_first_where_a_node_has_not_asked_for_it_yet(tls: ServerTls | None, without: bool) -> None:
    steps = hosts()["n1"]
    assert not host_secure.is_without_tls(steps), "a new node asks for it at once"
    there = NodeFile("shop", "n1", "/s", "/d", "/r", "/b", StoreAccess(("h:1",)), {"n1": Peer("h", 1)}, tls=tls)
    disk(steps).files[steps.node.node_file_path] = nodefile.dump(there)
    assert host_secure.is_without_tls(steps) is without
