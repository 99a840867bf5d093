"""The texts PostgreSQL and libpq read: quoting that nothing gets out of, and who has the last word."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from pgha.core.model import BARRIER
from pgha.nodefile import NodeFile, Peer, StoreAccess
from pgha.pg import conf
from tests.support import golden

NODE = NodeFile(
    "shop", "n1", "/var/lib/pgha/shop", "/var/lib/pgha/shop/data", "/run/pgha", "/usr/lib/postgresql/15/bin",
    StoreAccess(("10.0.0.1:2379",)),
    {"n1": Peer("10.0.0.1", 5432), "n2": Peer("10.0.0.2", 5433), "n3": Peer("fd00::3", 5432), "n4": Peer("db4", 1)},
)  # fmt: skip
PRINTABLE = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), max_size=20)
CONTROL = st.integers(0, 31).map(chr)


def unquoted(word: str) -> str:
    """A quoted value of postgresql.conf as guc-file.l reads it: DeescapeQuotedString, '' and backslash sequences."""
    assert re.fullmatch(r"'([^'\\\n]|\\.|'')*'", word), f"not one quoted word: {word}"
    return re.sub(r"''|\\(.)", lambda m: "'" if m[0] == "''" else m[1], word[1:-1])


def settings(text: str) -> dict[str, str]:
    """name = 'value' lines, the last one winning; an include counts where it stands, under its own name."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([a-z_]+) = ('.*')|(include(?:_if_exists)?) ('.*')", line)
            assert match, line
            name = match[1] or match[3]
            found.pop(name, None)
            found[name] = unquoted(match[2] or match[4])
    return found


# -- quoting ----------------------------------------------------------------------------------------------------


@given(PRINTABLE)
@example("it's")
@example("back\\slash\\")
@example("'; DROP TABLE x; --")
def test_a_quoted_setting_is_read_as_it_was(value: str) -> None:
    assert unquoted(conf.quote(value)) == value


@given(st.dictionaries(st.sampled_from(["host", "user", "dbname", "application_name", "passfile"]), PRINTABLE))
@example({"host": "it's", "user": "\\", "dbname": "a b='c'"})
def test_libpq_reads_a_conninfo_as_it_was(parts: dict[str, str]) -> None:
    assert conninfo_to_dict(conf.conninfo(parts)) == {name: value for name, value in parts.items() if value} | {
        name: "" for name, value in parts.items() if not value
    }


@given(PRINTABLE, CONTROL, PRINTABLE)
def test_a_control_character_is_refused_everywhere(before: str, control: str, after: str) -> None:
    text = before + control + after
    with pytest.raises(ValueError, match="control characters"):
        conf.quote(text)
    with pytest.raises(ValueError, match="host can't hold control characters"):
        conf.conninfo({"user": "x", "host": text})


@given(PRINTABLE, PRINTABLE)
def test_a_conninfo_survives_being_a_setting(host: str, name: str) -> None:
    text = conf.live_conf(primary_conninfo=conf.conninfo({"host": host, "application_name": name}))
    assert conninfo_to_dict(settings(text)["primary_conninfo"]) == {"host": host, "application_name": name}


# -- postgresql.conf --------------------------------------------------------------------------------------------


def test_what_pgha_owns_comes_last_and_wins_over_the_inventory() -> None:
    wanted = {
        **dict.fromkeys(conf.FIXED, "theirs"),
        **dict.fromkeys(("data_directory", "hba_file", "ident_file", "port", "unix_socket_directories"), "theirs"),
        **dict.fromkeys(("unix_socket_permissions", "cluster_name"), "theirs"),
        "shared_buffers": "1GB",
        "wal_sender_timeout": "9s",
        "synchronous_standby_names": "*",
    }
    found = settings(conf.main_conf(replace(NODE, parameters=wanted)))
    assert [name for name, value in found.items() if value == "theirs"] == []
    assert {name: found[name] for name in conf.FIXED} == conf.FIXED
    assert (found["shared_buffers"], found["wal_sender_timeout"]) == ("1GB", "9s"), "defaults give way"
    assert list(found)[-1] == "include" and found["include"] == "/var/lib/pgha/shop/pgha.live.conf"
    names = list(found)
    store = names.index("include_if_exists")
    assert found["include_if_exists"] == "/var/lib/pgha/shop/pgha.parameters.conf"
    assert all(names.index(name) < store for name in ("shared_buffers", "wal_sender_timeout", *conf.DEFAULTS))
    assert all(names.index(name) > store for name in (*conf.FIXED, "data_directory", "hba_file", "port"))


def test_the_inventory_may_say_where_to_listen_and_how_much_wal_to_write() -> None:
    plain = settings(conf.main_conf(NODE))
    assert (plain["listen_addresses"], plain["wal_level"]) == ("10.0.0.1", "replica")
    chosen = settings(conf.main_conf(replace(NODE, parameters={"listen_addresses": "*", "wal_level": "logical"})))
    assert (chosen["listen_addresses"], chosen["wal_level"]) == ("*", "logical")


def test_a_server_can_never_start_with_an_archive_or_restart_itself() -> None:
    """Both would move or open a server behind the watchdog's back (redteam: an archive moves a sealed standby)."""
    found = settings(conf.main_conf(replace(NODE, parameters={"restore_command": "cp", "restart_after_crash": "on"})))
    assert (found["restore_command"], found["restart_after_crash"]) == ("", "off")


def test_the_live_settings_let_nothing_through_unless_asked() -> None:
    sealed = settings(conf.live_conf())
    assert sealed == {
        "primary_conninfo": "",
        "primary_slot_name": "",
        "synchronous_standby_names": f'ANY 1 ("{BARRIER}")',
    }
    assert settings(conf.live_conf(primary_conninfo="x", slot="s"))["synchronous_standby_names"] != ""
    assert settings(conf.live_conf(names=""))["synchronous_standby_names"] == ""
    assert settings(conf.live_conf(names='ANY 1 ("a.b.5")'))["synchronous_standby_names"] == 'ANY 1 ("a.b.5")'


# -- how others are reached -------------------------------------------------------------------------------------


def test_an_upstream_has_the_name_and_the_passfile_and_no_password() -> None:
    found = conninfo_to_dict(conf.upstream(NODE, "n2", "n1.d1.5"))
    assert found["host"] == "10.0.0.2" and str(found["port"]) == "5433"
    assert (found["user"], found["application_name"]) == ("pgha_replicator", "n1.d1.5")
    assert found["passfile"] == "/var/lib/pgha/shop/passfile"
    assert "password" not in found and "dbname" not in found
    assert conninfo_to_dict(conf.upstream(NODE, "n2", "x", dbname="postgres"))["dbname"] == "postgres"


def test_every_wait_for_an_upstream_has_its_limit() -> None:
    found = conninfo_to_dict(conf.upstream(NODE, "n2", "x"))
    for name in ("connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"):
        assert int(str(found[name])) > 0, name


@pytest.mark.parametrize(("node", "slot"), [("n1", "pgha_n1"), ("db-a-1", "pgha_db_a_1")])
def test_a_slot_is_named_after_its_member(node: str, slot: str) -> None:
    assert conf.slot_name(node) == slot
    assert re.fullmatch(r"[a-z0-9_]{1,63}", conf.slot_name("n" * 40))


# -- who may connect --------------------------------------------------------------------------------------------


def rules(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_the_superuser_comes_through_the_socket_only_and_the_replicator_from_the_members_only() -> None:
    lines = rules(conf.hba_conf(NODE))
    assert lines[:3] == [
        'local all "postgres" peer map=pgha',
        'local replication "postgres" peer map=pgha',
        'host all "postgres" all reject',
    ]
    replicator = [line for line in lines if '"pgha_replicator"' in line]
    assert replicator[-1] == 'host all "pgha_replicator" all reject'
    addresses = ("10.0.0.1/32", "10.0.0.2/32", "db4", "fd00::3/128")
    assert replicator[:-1] == [
        f'host {db} "pgha_replicator" {address} scram-sha-256'
        for address in addresses
        for db in ("replication", "postgres")
    ]


def test_the_inventorys_lines_come_last_and_replace_the_common_ones() -> None:
    own = rules(conf.hba_conf(replace(NODE, hba=("host app app 10.0.0.0/8 scram-sha-256",))))
    assert own[-1] == "host app app 10.0.0.0/8 scram-sha-256"
    assert not [line for line in own if "samenet" in line]
    assert rules(conf.hba_conf(NODE))[-2:] == ["local all all scram-sha-256", "host all all samenet scram-sha-256"]
    assert own.index('host all "postgres" all reject') < len(own) - 1


def test_nobody_is_trusted_and_nothing_is_weaker_than_scram() -> None:
    methods = {line.split()[3 if line.startswith("local") else 4] for line in rules(conf.hba_conf(NODE))}
    assert methods == {"peer", "reject", "scram-sha-256"}


def test_the_account_of_the_server_may_be_the_superuser() -> None:
    assert rules(conf.ident_conf(replace(NODE, superuser="admin"), "pg")) == ['pgha "pg" "admin"']


def test_the_files_of_a_node_are_what_they_were() -> None:
    parts = [conf.main_conf(NODE), conf.live_conf(), conf.hba_conf(NODE), conf.ident_conf(NODE, "postgres")]
    golden.check("\n".join(parts), "node-files.txt", beside=__file__)
