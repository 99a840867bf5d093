"""The node's own file: what bootstrap writes is what the watchdog reads, and nothing less is taken for it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha import nodefile
from pgha.nodefile import NodeFile, Peer, ServerTls, StoreAccess

PLAIN = NodeFile(
    "c", "n1", "/s", "/d", "/r", "/b", StoreAccess(("127.0.0.1:2379",)), {"n1": Peer("10.0.0.1", 5432)}
)  # fmt: skip
WORDS = st.text(max_size=12)
ACCESS = st.builds(StoreAccess, st.lists(WORDS, max_size=3).map(tuple), WORDS, WORDS, WORDS, WORDS, WORDS)
FILES = st.builds(
    NodeFile,
    *(WORDS,) * 6,
    ACCESS,
    st.dictionaries(WORDS, st.builds(Peer, WORDS, st.integers(0, 65535)), max_size=3),
    replication_user=WORDS,
    superuser=WORDS,
    priority=st.integers(),
    nofailover=st.booleans(),
    parameters=st.dictionaries(WORDS, WORDS, max_size=3),
    hba=st.lists(WORDS, max_size=3).map(tuple),
    tls=st.none() | st.builds(ServerTls, WORDS, WORDS, WORDS, st.booleans()),
)


@given(FILES)
def test_a_file_is_read_as_it_was_written(value: NodeFile) -> None:
    assert nodefile.parse(nodefile.dump(value)) == value


def test_a_node_knows_its_own_address_and_its_lock() -> None:
    assert PLAIN.me == Peer("10.0.0.1", 5432)
    assert PLAIN.lock_file == "/s/watchdog.lock"


def test_what_is_optional_may_be_left_out() -> None:
    body = json.loads(nodefile.dump(PLAIN))
    for name in ("replication_user", "superuser", "priority", "nofailover", "parameters", "hba"):
        del body[name]
    body["store"] = {"endpoints": ["127.0.0.1:2379"]}
    assert nodefile.parse(json.dumps(body)) == PLAIN


@pytest.mark.parametrize(
    "name", ["cluster", "node", "state_dir", "data_dir", "socket_dir", "bin_dir", "store", "nodes", "schema"]
)
def test_a_file_without_a_necessary_field_is_refused(name: str) -> None:
    body = json.loads(nodefile.dump(PLAIN))
    del body[name]
    with pytest.raises(ValueError, match="node file"):
        nodefile.parse(json.dumps(body))


@pytest.mark.parametrize(
    ("name", "junk"),
    [
        *(("newer", 1), ("schema", 2), ("schema", None), ("store", 5), ("store", {}), ("store", {"x": 1})),
        *(("nodes", []), ("nodes", {"n1": {"host": "h"}}), ("nodes", {"n1": {"host": "h", "port": 1, "x": 1}})),
        ("hba", 5),
    ],
    ids=str,
)
def test_a_file_of_another_form_is_refused(name: str, junk: object) -> None:
    """An unknown field too: it is written whole by one version, and a part that is not understood may matter."""
    body = json.loads(nodefile.dump(PLAIN)) | {name: junk}
    with pytest.raises(ValueError, match="node file"):
        nodefile.parse(json.dumps(body))


@given(WORDS | st.sampled_from(["null", "[]", "7", '"x"', "{}", '{"schema": 1}']))
def test_no_text_raises_anything_else(text: str) -> None:
    with pytest.raises(ValueError):
        nodefile.parse(text)
