"""What a node has of PostgreSQL, as its programs and `apt-cache policy` say it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from pgha.adapters.local import LocalHost
from pgha.errors import Refused
from pgha.ops.programs import (
    LocalReach,
    Package,
    Programs,
    chosen,
    installed_of,
    numbers_of,
    parse_policy,
    release_of,
)

POLICY = """\
postgresql-15:
  Installed: 15.18-0+deb12u1
  Candidate: 15.20-0+deb12u1
  Version table:
     15.20-0+deb12u1 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
 *** 15.18-0+deb12u1 500
        500 http://deb.debian.org/debian bookworm/main amd64 Packages
        100 /var/lib/dpkg/status
libpq5:
  Installed: 15.18-0+deb12u1
  Candidate: 15.20-0+deb12u1
  Version table:
     15.20-0+deb12u1 500
        500 http://deb.debian.org/debian-security bookworm-security/main amd64 Packages
 *** 15.18-0+deb12u1 -1
        100 /var/lib/dpkg/status
postgresql-plperl-15:
  Installed: (none)
  Candidate: 15.20-0+deb12u1
  Version table:
"""


def test_packages_that_are_installed_are_read_with_what_is_offered() -> None:
    server, client = parse_policy(POLICY)
    assert server == Package(
        "postgresql-15", "15.18-0+deb12u1", "15.20-0+deb12u1", ("15.20-0+deb12u1", "15.18-0+deb12u1")
    )
    assert client.name == "libpq5" and client.is_behind and len(client.offered) == 2


def test_nothing_is_behind_where_apt_offers_nothing() -> None:
    (lonely,) = parse_policy("postgresql-15:\n  Installed: 15.18-1\n  Candidate: (none)\n  Version table:\n")
    assert not lonely.is_behind and parse_policy("") == ()


def test_a_release_is_chosen_among_those_that_are_offered() -> None:
    found = parse_policy(POLICY)
    assert chosen(found, "") == found
    assert not any(package.is_behind for package in chosen(found, "15.18"))
    with pytest.raises(LookupError, match=r"postgresql-15 is offered as 15\.18, 15\.20"):
        chosen(found, "15.19")


@pytest.mark.parametrize(
    ("version", "release", "numbers"),
    [
        ("15.20 (Debian 15.20-0+deb12u1)", "15.20", (15, 20)),
        ("15.20-1.pgdg120+1", "15.20", (15, 20)),
        ("1:15.9-1", "15.9", (15, 9)),
        ("18.0", "18.0", (18, 0)),
        ("19beta1", "19beta1", (19, 0)),
        ("", "", (0, 0)),
    ],
)
def test_releases_are_read_out_of_versions(version: str, release: str, numbers: tuple[int, int]) -> None:
    assert (release_of(version), numbers_of(version)) == (release, numbers)


def test_what_will_run_is_that_of_the_first_package_or_what_is_there() -> None:
    assert Programs("15.18 (Debian 15.18-0+deb12u1)", parse_policy(POLICY)).coming == "15.20"
    assert Programs("15.18 (Debian 15.18-0+deb12u1)", chosen(parse_policy(POLICY), "15.18")).coming == "15.18"


def test_a_node_of_this_machine_has_what_its_program_says() -> None:
    with tempfile.TemporaryDirectory() as folder:
        program, reach = Path(folder, "postgres"), LocalReach(LocalHost.anybody(), folder)
        Path(folder).chmod(0o755)  # anybody is to run it
        with pytest.raises(Refused):
            reach.look(packages=True)
        program.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)'\n")
        program.chmod(0o755)
        assert reach.look(packages=True) == Programs("15.18 (Debian 15.18-0+deb12u1)")
        program.write_text("#!/bin/sh\necho 'something else 15.18'\n")
        with pytest.raises(Refused, match="not understood"):
            reach.look(packages=True)


def test_what_is_no_version_of_postgresql_is_none() -> None:
    with pytest.raises(ValueError, match="not a version"):
        installed_of("psql (PostgreSQL) 15.18")
