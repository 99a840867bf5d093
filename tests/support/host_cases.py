"""What every `host.Host` does, whatever carries it: the same cases for this machine, a shell, and SSH to a real host.

`place` is a directory on the host that its user owns; names in it are as hostile as a file system takes them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from pgha.errors import Busy, Refused
from pgha.host import Host

HOSTILE = (
    "plain",
    "two words",
    "it's",
    'say "hi"',
    "a;touch pwned",
    "$(touch pwned)",
    "`touch pwned`",
    "$HOME",
    "a&b|c>d<e",
    "back\\slash",
    "new\nline",
    "tab\there",
    "*?[x]~",
    "-rf",
    "#not a comment",
    "!history",
    "Grüße",
    "%s%n",
)
CASES: dict[str, Callable[[Host, str], None]] = {}


def _case(check: Callable[[Host, str], None]) -> Callable[[Host, str], None]:
    CASES[check.__name__] = check
    return check


def _names(host: Host, place: str) -> set[str]:
    return set(host.run(["find", place, "-mindepth", "1", "-printf", "%P\\0"], timeout_s=10.0).out.split("\0")) - {""}


@_case
def arguments_arrive_as_they_are(host: Host, place: str) -> None:
    ran = host.run(["printf", "%s\\0", *HOSTILE, ""], timeout_s=10.0, cwd=place)
    assert ran.ok and ran.out.split("\0")[:-1] == [*HOSTILE, ""]
    assert _names(host, place) == set()


@_case
def no_argument_can_hold_a_nul(host: Host, place: str) -> None:
    with pytest.raises(ValueError, match=r"NUL|null"):
        host.run(["printf", "a\0b"], timeout_s=10.0)


@_case
def standard_input_arrives_and_both_outputs_come_back(host: Host, place: str) -> None:
    text = "".join(f"{i} Grüße $(x) 'y'\n" for i in range(20000))
    ran = host.run(["sh", "-c", "cat; echo told >&2; exit 3"], timeout_s=20.0, stdin=text)
    assert ran.out == text and ran.err.strip() == "told" and ran.code == 3 and not ran.ok


@_case
def a_program_that_reads_nothing_is_no_problem(host: Host, place: str) -> None:
    assert host.run(["true"], timeout_s=20.0, stdin="x" * 300_000).ok


@_case
def a_missing_program_is_a_failure_and_no_exception(host: Host, place: str) -> None:
    assert host.run(["/no/such/program"], timeout_s=10.0).code == 127


@_case
def it_runs_as_the_user_in_the_directory_with_a_small_environment(host: Host, place: str) -> None:
    ran = host.run(["sh", "-c", "id -un; pwd; env"], timeout_s=10.0, cwd=place)
    user, folder, *environment = ran.out.splitlines()
    assert (user, folder) == (host.user, place)
    allowed = {"PATH", "LC_ALL", "HOME", "PWD", "PYTHONPATH", "DEBIAN_FRONTEND", "OLDPWD", "SHLVL", "_"}
    assert {line.partition("=")[0] for line in environment} <= allowed


@_case
def what_takes_too_long_is_ended_there(host: Host, place: str) -> None:
    ran = host.run(["sh", "-c", "echo $$ >pid; exec sleep 60"], timeout_s=1.0, cwd=place)
    assert ran.late and not ran.ok
    pid = (host.read(f"{place}/pid") or "").strip()
    assert pid and not host.run(["kill", "-0", pid], timeout_s=10.0).ok


@_case
def files_are_written_whole_and_private_under_any_name(host: Host, place: str) -> None:
    for name in HOSTILE:
        path, text = f"{place}/{name}", f"text of {name}\n\n"
        assert host.read(path) is None
        host.write(path, "before")
        host.write(path, text)
        assert host.read(path) == text
    assert _names(host, place) == set(HOSTILE)
    modes = host.run(["find", place, "-type", "f", "-printf", "%m %u\\n"], timeout_s=10.0).out.split("\n")[:-1]
    assert set(modes) == {f"600 {host.user}"}


@_case
def a_file_has_the_mode_that_was_asked_for(host: Host, place: str) -> None:
    host.write(f"{place}/f", "x", 0o644)
    assert host.run(["stat", "-c", "%a", f"{place}/f"], timeout_s=10.0).out.strip() == "644"


@_case
def a_file_that_cannot_be_written_is_refused_and_leaves_nothing(host: Host, place: str) -> None:
    with pytest.raises(Refused, match="can't be written"):
        host.write(f"{place}/absent/f", "x")
    assert _names(host, place) == set()


@_case
def a_directory_in_the_way_of_a_file_stays(host: Host, place: str) -> None:
    host.make_dir(f"{place}/d")
    with pytest.raises(Refused):
        host.write(f"{place}/d", "x")
    assert _names(host, place) == {"d"}


@_case
def directories_are_made_with_their_parents_and_then_left_alone(host: Host, place: str) -> None:
    for name in HOSTILE:
        host.make_dir(f"{place}/{name}/below", 0o700)
        host.make_dir(f"{place}/{name}/below", 0o755)
    modes = host.run(["find", place, "-name", "below", "-printf", "%m\\n"], timeout_s=10.0).out.split()
    assert modes == ["700"] * len(HOSTILE)


@_case
def it_knows_what_is_empty_and_removes_whole_trees(host: Host, place: str) -> None:
    for name in HOSTILE:
        path = f"{place}/{name}"
        assert not host.holds_something(path)
        host.make_dir(path)
        assert not host.holds_something(path)
        host.write(f"{path}/{name}", "x")
        assert host.holds_something(path)
        host.remove_tree(path)
        host.remove_tree(path)
    assert _names(host, place) == set()


@_case
def a_directory_moves_onto_an_empty_one_only(host: Host, place: str) -> None:
    for name in ("new dir", "empty", "full"):
        host.make_dir(f"{place}/{name}")
    host.write(f"{place}/new dir/f", "x")
    host.write(f"{place}/full/f", "y")
    with pytest.raises(Refused, match="can't be moved"):
        host.move_dir(f"{place}/new dir", f"{place}/full")
    host.move_dir(f"{place}/new dir", f"{place}/empty")
    assert host.read(f"{place}/empty/f") == "x" and host.read(f"{place}/full/f") == "y"
    assert _names(host, place) == {"empty", "empty/f", "full", "full/f"}


@_case
def one_pgha_at_a_time_holds_a_directory(host: Host, place: str) -> None:
    with host.hold(place), pytest.raises(Busy), host.hold(place):
        pass
    with host.hold(place):
        pass


@_case
def it_tells_one_data_directory_from_another(host: Host, place: str) -> None:
    for name in ("a", "b"):
        host.make_dir(f"{place}/{name}")
        host.write(f"{place}/{name}/PG_VERSION", "15\n")
    a, b = host.identity(f"{place}/a"), host.identity(f"{place}/b")
    assert a == host.identity(f"{place}/a") and (a.device, a.inode) != (b.device, b.inode) and a.made > 10**18
    with pytest.raises(Refused):
        host.identity(f"{place}/absent")


@_case
def what_is_spawned_outlives_the_call_and_writes_its_log(host: Host, place: str) -> None:
    pid = host.spawn(["sh", "-c", "echo begun; exec sleep 30"], cwd=place, log_file=f"{place}/log")
    try:
        deadline = host.run(["sh", "-c", "i=0; until grep -q begun log || [ $i = 50 ]; do sleep 0.1; i=$((i+1)); done"],
                            timeout_s=10.0, cwd=place)  # fmt: skip
        assert deadline.ok and host.read(f"{place}/log") == "begun\n"
        found = host.run(["stat", "-c", "%U", f"/proc/{pid}"], timeout_s=10.0)
        assert re.fullmatch(rf"{host.user}\s*", found.out)
    finally:
        host.run(["kill", "-9", str(pid)], timeout_s=10.0)
