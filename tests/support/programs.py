"""Which PostgreSQL the tests and the bench run: the one that is found, or the one that the environment names."""

from __future__ import annotations

import os

from pgha.adapters.binaries import find_postgres

PG_BIN = "PGHA_TEST_PG_BIN"


def chosen() -> str:
    """The directory of PostgreSQL's programs that the environment names, or ""."""
    return os.environ.get(PG_BIN, "")


def postgres_bin() -> str:
    """The directory of the programs to run. Raises Refused when there are none."""
    return find_postgres(chosen() or None, None)


def demo_words() -> list[str]:
    """What `pgha demo up` is told of it."""
    return ["--pg-bin", chosen()] if chosen() else []
