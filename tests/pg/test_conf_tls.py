"""TLS between the servers: offered first, asked for later, and who follows already goes over to it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgha.nodefile import NodeFile, ServerTls
from pgha.pg import conf
from tests.pg.test_conf import NODE, settings

OFFERED = ServerTls("/etc/pgha/shop/ca.pem", "/etc/pgha/shop/postgres.pem", "/etc/pgha/shop/postgres.key", False)
REQUIRED = replace(OFFERED, required=True)
NAME = "n1.ab12cd.7"


def node(tls: ServerTls | None) -> NodeFile:
    return replace(NODE, tls=tls)


def followed(live: str) -> dict[str, object]:
    return dict(conninfo_to_dict(settings(live)["primary_conninfo"]))


@pytest.mark.parametrize("tls", [OFFERED, REQUIRED])
def test_a_server_with_a_certificate_speaks_tls(tls: ServerTls) -> None:
    found = settings(conf.main_conf(node(tls)))
    assert (found["ssl"], found["ssl_cert_file"], found["ssl_key_file"]) == ("on", tls.cert_file, tls.key_file)
    assert "ssl" not in settings(conf.main_conf(node(None)))


def test_what_is_asked_for_is_tls_by_a_certificate_of_that_very_name() -> None:
    found = conninfo_to_dict(conf.upstream(node(REQUIRED), "n2", NAME))
    assert (found["sslmode"], found["sslrootcert"]) == ("verify-full", REQUIRED.ca_file)
    for tls in (None, OFFERED):
        assert "sslmode" not in conninfo_to_dict(conf.upstream(node(tls), "n2", NAME))


@pytest.mark.parametrize(("tls", "kind"), [(None, "host"), (OFFERED, "host"), (REQUIRED, "hostssl")])
def test_replication_is_let_in_by_each_nodes_own_line(tls: ServerTls | None, kind: str) -> None:
    lines = [line for line in conf.hba_conf(node(tls)).splitlines() if "scram" in line and "pgha_replicator" in line]
    assert len(lines) == 2 * len(NODE.nodes)
    assert {line.split()[0] for line in lines} == {kind}


def test_clients_are_let_in_as_the_operator_wrote() -> None:
    own = ("host app app 10.0.0.0/8 scram-sha-256",)
    assert conf.hba_conf(replace(node(REQUIRED), hba=own)).splitlines()[-1] == own[0]


@pytest.mark.parametrize("holder", ["n2", "n3", "n4"])
@pytest.mark.parametrize(("before", "after"), [(OFFERED, REQUIRED), (None, REQUIRED), (REQUIRED, None)])
def test_who_follows_goes_on_with_the_same_holder_in_the_new_way(
    holder: str, before: ServerTls | None, after: ServerTls | None
) -> None:
    live = conf.live_conf(primary_conninfo=conf.upstream(node(before), holder, NAME), slot="pgha_n1")
    anew = conf.followed_anew(node(after), live)
    assert settings(anew) == settings(
        conf.live_conf(primary_conninfo=conf.upstream(node(after), holder, NAME), slot="pgha_n1")
    )
    assert followed(anew)["application_name"] == NAME
    assert conf.followed_anew(node(after), anew) == anew


@pytest.mark.parametrize(
    "live",
    [
        "",
        conf.live_conf(),
        conf.live_conf(names='ANY 1 ("n2.ab12cd.7")'),
        conf.live_conf(primary_conninfo="host='10.9.9.9' port='5432' application_name='n1.ab12cd.7'"),
        conf.live_conf(primary_conninfo="host='10.0.0.2' port='5433'"),
    ],
    ids=["nothing", "cut off", "primary", "a stranger", "no name"],
)
def test_who_follows_nobody_that_is_known_is_left_as_it_is(live: str) -> None:
    assert conf.followed_anew(node(REQUIRED), live) == live
