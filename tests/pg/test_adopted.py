"""Blocks in a foreign server's files, and what it says of itself."""

from __future__ import annotations

import json

import pytest

from pgha.nodefile import NodeFile, Peer, StoreAccess
from pgha.pg import adopted, conf
from pgha.pg.adopted import Setting

NODE = NodeFile(
    "shop", "n1", "/s", "/d", "/run", "/bin", StoreAccess(("127.0.0.1:1",)), {"n1": Peer("192.0.2.1", 5432)}
)
TEXTS = ["", "port = 1\n", "port = 1", "# BEGIN of something\nx = 1\n# END\n"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_block_is_put_in_once_and_taken_out_without_a_trace(text: str) -> None:
    whole = text if text.endswith("\n") or not text else text + "\n"
    for once, twice in (
        (adopted.with_include(whole, NODE), adopted.with_include(adopted.with_include(whole, NODE), NODE)),
        (adopted.with_logins(whole, NODE), adopted.with_logins(adopted.with_logins(whole, NODE), NODE)),
        (adopted.with_map(whole, NODE, "pg"), adopted.with_map(adopted.with_map(whole, NODE, "pg"), NODE, "pg")),
    ):
        assert once != whole and twice == once
        assert adopted.without_block(once) == whole


def test_the_include_comes_last_and_the_logins_come_first() -> None:
    assert adopted.with_include("port = 1\n", NODE).startswith("port = 1\n")
    assert adopted.with_logins("local all all reject\n", NODE).endswith("local all all reject\n")


def test_a_running_server_is_given_nothing_that_takes_a_start() -> None:
    text = conf.main_conf(NODE, running=True)
    names = {line.split(" = ")[0] for line in text.splitlines() if " = " in line}
    assert not names & conf.AT_START and "restart_after_crash" in names and "wal_sender_timeout" in names
    assert f"include '/s/{conf.LIVE}'" in text
    assert {
        line.split(" = ")[0] for line in conf.main_conf(NODE).splitlines() if " = " in line
    } - names == conf.AT_START


def test_what_pgha_decides_is_taken_out_of_the_file_that_is_read_last() -> None:
    text = "# Do not edit\nprimary_conninfo = 'host=a'\nWork_Mem = '7MB'\nother.x = '1'\n"
    assert adopted.auto_conf(text, ["primary_conninfo", "work_mem"]) == "# Do not edit\nother.x = '1'\n"


def test_facts_that_are_not_whole_are_refused() -> None:
    body = {
        "version": 150004, "system": "7", "recovery": False, "checksums": "on", "timeline": 3, "lsn": "0/1",
        "super": True, "role": False, "senders": [], "slots": [], "source": None, "rules": 5,
        "settings": {"work_mem": ["7MB", "configuration file", True], "port": ["1", "command line", True],
                     "jit": ["off", "session", True], "geqo": ["on", "default", False]},
    }  # fmt: skip
    found = adopted.facts_of(json.dumps(body))
    assert found.settings["work_mem"] == Setting("7MB", changed=True)
    assert found.settings["port"].ordered and not found.settings["jit"].changed and not found.settings["geqo"].changed
    assert found.value("unheard_of") == "" and found.timeline == 3
    for name in ("version", "settings", "lsn"):
        with pytest.raises(ValueError, match=name):
            adopted.facts_of(json.dumps({**body, name: None}))


def test_postmaster_pid_tells_port_socket_and_readiness() -> None:
    text = "77\n/d\n1700000000\n5433\n/run/postgresql\nlocalhost\n 1 2\nready   \n"
    assert adopted.pid_file_of(text) == adopted.PidFile(77, 5433, "/run/postgresql", ready=True)
    assert not adopted.pid_file_of(text.replace("ready   ", "stopping")).ready
    for short in ("", "77\n/d\n"):
        with pytest.raises(ValueError, match=r"starting|invalid|whole"):
            adopted.pid_file_of(short)
