"""What a real server says that its next start changes, and what it only seems to say."""

from __future__ import annotations

import pytest

from pgha.pg import parameters
from tests.contract.real_servers import Scene
from tests.support.postgres_pair import PlainServer, until

pytestmark = [pytest.mark.loopback, pytest.mark.slow, pytest.mark.timeout(120)]


def read(server: PlainServer, sql: str) -> None:
    """Into its file, which it reads again."""
    before = server.run("SELECT pg_conf_load_time()")
    server.run(sql)
    server.run("SELECT pg_reload_conf()")
    until(lambda: server.run("SELECT pg_conf_load_time()") != before, within_s=5, what="it has read its files")


def test_a_parameter_that_is_taken_back_before_a_restart_waits_for_none(servers: Scene) -> None:
    server = servers.primary()
    read(server, "ALTER SYSTEM SET max_locks_per_transaction = 99")
    assert server.run(parameters.PENDING) == [("max_locks_per_transaction", "64", "99")]
    read(server, "ALTER SYSTEM RESET max_locks_per_transaction")
    assert server.run("SELECT name FROM pg_settings WHERE pending_restart"), "PostgreSQL marks whatever left the file"
    assert server.run(parameters.PENDING) == []
    read(server, "ALTER SYSTEM SET max_locks_per_transaction = 99")
    server.stop()
    server.start()
    read(server, "ALTER SYSTEM RESET max_locks_per_transaction")
    assert server.run(parameters.PENDING) == [("max_locks_per_transaction", "99", "default")]
