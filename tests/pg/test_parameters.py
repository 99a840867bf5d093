"""Which parameters the settings may hold, and whether a server that describes one would take a value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha import inventory_postgres
from pgha.core.limits import ORDERED
from pgha.core.model import Fact
from pgha.pg import conf, parameters
from pgha.pg.parameters import ALLOWED, is_allowed, literal, problem, taken

WORK_MEM = Fact("4MB", "integer", "user", "kB", "64", "2147483647")
BUFFERS = Fact("128MB", "integer", "postmaster", "8kB", "16", "1073741823")
TIMEOUT = Fact("0", "integer", "user", "ms", "0", "2147483647")
COST = Fact("1.1", "real", "user", "", "0", "1.79769e+308")
JIT = Fact("on", "bool", "user")
LEVEL = Fact("replica", "enum", "postmaster", words=("minimal", "replica", "logical"))
PAGES = Fact("try", "enum", "postmaster", words=("off", "on", "try"))


def test_nothing_on_the_list_names_a_command_a_path_a_library_an_address_or_what_pgha_owns() -> None:
    parts = ("_command", "_file", "directory", "directories", "library", "libraries", "socket", "address", "ssl", "krb")
    assert [name for name in ALLOWED if any(name.endswith(part) or f"{part}_" in name for part in parts)] == [
        "temp_file_limit"
    ]
    assert not ALLOWED & {*inventory_postgres.OWNED, *conf.FIXED, "default_transaction_read_only", "fsync"}
    assert set(ORDERED) <= ALLOWED
    for name in ("archive_command", "shared_preload_libraries", "listen_addresses", "search_path;", "a.b", "Work_mem"):
        assert not is_allowed(name)
    assert is_allowed("enable_seqscan") and is_allowed("autovacuum_naptime") and not is_allowed("enable_x; y")


def test_a_node_takes_what_is_allowed_and_can_be_written() -> None:
    found = {"work_mem": "4MB", "archive_command": "rm", "jit": "on\nport = 1", "port": "1"}
    assert taken(found) == {"work_mem": "4MB"}


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        ("64MB", WORK_MEM), ("64", WORK_MEM), (" 64 kB ", WORK_MEM), ("0.5GB", WORK_MEM), ("16", BUFFERS),
        ("128kB", BUFFERS),
        ("250ms", TIMEOUT), ("1.5s", TIMEOUT), ("1d", TIMEOUT), ("2.5", COST), ("1e3", COST), ("on", JIT), ("tru", JIT),
        ("f", JIT), ("0", JIT), ("LOGICAL", LEVEL), ("true", PAGES), ("try", PAGES),
    ],
)  # fmt: skip
def test_these_would_be_taken(value: str, fact: Fact) -> None:
    assert problem(value, fact) == ""


@pytest.mark.parametrize(
    ("value", "fact", "why"),
    [
        ("many", WORK_MEM, "it is a number, with a unit like kB"),
        ("63kB", WORK_MEM, "between 64 and 2147483647 (in kB)"),
        ("3TB", WORK_MEM, "between"),
        ("64Mb", WORK_MEM, "its units are B, kB, MB, GB, TB"),
        ("5s", WORK_MEM, "its units are B"),
        ("15", BUFFERS, "between 16"),
        ("120kB", BUFFERS, "between 16"),
        ("-1", TIMEOUT, "between 0"),
        ("1MB", TIMEOUT, "its units are us, ms, s"),
        ("2kB", COST, "it has no unit"),
        ("٣", COST, "it is a number"),
        ("maybe", JIT, "it is on or off"),
        ("o", JIT, "it is on or off"),
        ("", JIT, "it is on or off"),
        ("all", LEVEL, "one of minimal, replica, logical"),
        ("true", LEVEL, "one of minimal"),
        ("16MB", Fact("1", "integer", "internal", "B"), "nobody can change it"),
        ("x", Fact("", "string", "user", refusal="no such text search configuration"), "no such text"),
    ],
)
def test_these_would_not(value: str, fact: Fact, why: str) -> None:
    assert why in problem(value, fact)


@given(st.text(max_size=30), st.sampled_from([WORK_MEM, BUFFERS, TIMEOUT, COST, JIT, LEVEL, PAGES]))
def test_any_text_is_judged(value: str, fact: Fact) -> None:
    assert isinstance(problem(value, fact), str)


@given(st.text(alphabet=st.characters(exclude_characters="\x00"), max_size=20))
def test_a_literal_ends_where_it_should(text: str) -> None:
    body = literal(text)[2:-1]
    assert literal(text).startswith("E'") and literal(text).endswith("'")
    assert "'" not in body.replace("''", "").replace("\\\\", "")
    assert body.replace("''", "'").replace("\\\\", "\\") == text


def test_the_file_has_one_line_for_each_and_quotes_them() -> None:
    text = conf.parameters_conf({"work_mem": "4MB", "search_path": "it's"})
    assert text.splitlines()[1:] == ["search_path = 'it''s'", "work_mem = '4MB'"]
    with pytest.raises(ValueError, match="control characters"):
        conf.parameters_conf({"work_mem": "4MB\nport = 1"})


def test_a_row_of_pg_settings_is_read() -> None:
    name, fact = parameters.fact_of(
        ["wal_level", "replica", "enum", "postmaster", "", "", "", "minimal,replica,logical"]
    )
    assert (name, fact) == ("wal_level", LEVEL)
    assert parameters.needs_start(fact) and not parameters.needs_start(JIT)
