"""Whole screens as people see them, at 80 and 120 columns, plain and coloured, in one golden file each.

In the golden files ^[ stands for the escape character.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest

from pgha import render, render_config, render_explain, render_history, render_list
from pgha.core.model import Settings
from pgha.errors import Exit, PghaError
from pgha.ops import check, host_health, settings, switchover
from pgha.ops.explain import explain
from pgha.ops.history import history, takeover, with_story
from pgha.ops.status import Seen, judge
from tests.ops.cases import NOW, TARGET, member, seen
from tests.ops.explain_cases import PAGES
from tests.ops.test_history import _found
from tests.ops.test_status import LOOKS
from tests.ops.test_story import FOUND, LOGS
from tests.ops.test_switchover import REFUSALS
from tests.support import golden

Screen = Callable[[int], tuple[Sequence[str], Exit | None]]
TUNED = Settings(
    4, 6.0, "quorum", parameters={"work_mem": "64MB", "max_connections": "300"}, asked_by="anna@desk", at=NOW - 60.0,
    reason="more memory",
)  # fmt: skip
WAITING = seen(
    member("n1", settings=4, pending={"max_connections": ("100", "300")}),
    member("n2", settings=4),
    member("n3", settings=3, refused="revision 4 is left: the server did not start with it"),
)
CHECKED = check.Checked(
    cluster="shop",
    rows=(
        ("n1", "192.0.2.11", "debian 12", "3.11.2", "15.18", "3.4.23", "+0.0 s", "41 GB", "in place"),
        ("n2", "192.0.2.12", "debian 12", "3.11.2", "15.18", "3.4.23", "+0.1 s", "3 GB", "in place"),
        ("n3", "192.0.2.13", "not reached", "-", "-", "-", "-", "-", "-"),
    ),
    problems=(PghaError("n3 (192.0.2.13) can't be reached", "no route to host", "ssh admin@192.0.2.13"),),
    warnings=("n2: etcd 3.4.23 is outdated",),
    lease="H 6 s: F_soft 3.99 s, F_hard 5.19 s",
    exit=Exit.UNREACHABLE,
    findings=(host_health.Finding("n2: 4 % of /var/lib/pgha are free", "ssh 192.0.2.12 df -h /var/lib/pgha"),),
    state="shop  degraded  epoch 3  sync ANY 1 of 1  survives 0 more losses  store 2/3",
)


def _list(name: str) -> Screen:
    found = judge(TARGET, LOOKS[name])
    return lambda width: (render_list.lines(found, width), found.exit)


def _explain(look: Seen, node: str | None = None) -> Screen:
    found = explain(TARGET, look, node)
    return lambda width: (render_explain.lines(found, width), found.exit)


def _refused(name: str) -> Screen:
    look, to, kind, _ = REFUSALS[name]
    with pytest.raises(kind) as refused:
        switchover.plan(TARGET, look, to)
    return lambda _width: (refused.value.lines(), None)


def _config_show(look: Seen, found: Settings) -> Screen:
    nodes = settings.acknowledged(TARGET, look, found.revision)
    pending = {name: dict(m.pending) for name, m in look.records.members.items() if m.pending}
    one = render_config.Shown("shop", found, nodes, pending)
    return lambda width: (render_config.show_lines(one, width), None)


REVISIONS = render_config.revisions(
    [Settings(2), Settings(3, parameters={"work_mem": "64MB"}, asked_by="bob@desk", at=NOW - 7200.0), TUNED]
)
SCREENS: dict[str, Screen] = {
    **{
        f"list-{name}": _list(name)
        for name in ("healthy", "commits-once", "primary-silent", "paused", "switchover-asked", "empty", "near-miss")
    },
    "explain-healthy": _explain(PAGES["healthy"]),
    "explain-holder-silent": _explain(PAGES["holder-silent-sealing"]),
    "explain-one": _explain(PAGES["two-of-three-down"], "n1"),
    "history": lambda width: (render_history.lines(history(TARGET, _found(), 3), width), None),
    "history-one": lambda width: (
        render_history.one_lines(with_story(takeover(TARGET, FOUND, 6), FOUND, LOGS), width),
        None,
    ),
    "check": lambda width: (CHECKED.lines(width), None),
    "config-show": _config_show(WAITING, TUNED),
    "config-history": lambda _width: (render_config.history_lines("shop", REVISIONS), None),
    "config-set-plan": lambda _width: (
        settings.plan(TARGET, WAITING, ["durability=async", "max_lag=16MB"]).lines("shop"),
        None,
    ),
    "switchover-plan": lambda _width: (switchover.plan(TARGET, seen(), None).lines("shop"), None),
    **{f"switchover-refused-{name.replace(' ', '-')}": _refused(name) for name in REFUSALS},
}


@pytest.mark.parametrize("name", SCREENS)
def test_the_screen_is_as_kept(name: str) -> None:
    parts = []
    for width in (80, 120):
        lines, code = SCREENS[name](width)
        coloured = render.painted(lines, code)
        assert len(coloured) == len(lines)
        for kind, page in (("plain", lines), ("coloured", coloured)):
            parts += [f"-- {width} columns, {kind}", *(line.replace("\x1b", "^[") for line in page)]
    golden.check("\n".join(parts) + "\n", f"screen-{name}.txt", beside=__file__)


PROSE = ("switchover-refused-", "config-set-plan", "config-show")  # sentences, which the terminal wraps


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", [n for n in SCREENS if not n.startswith(PROSE)])
def test_the_screen_fits_its_terminal(name: str, width: int) -> None:
    lines, _ = SCREENS[name](width)
    assert [line for line in lines if len(line) > width] == []


@pytest.mark.parametrize("name", SCREENS)
def test_colour_says_nothing_that_the_words_do_not(name: str) -> None:
    lines, code = SCREENS[name](80)
    for number, (plain, coloured) in enumerate(zip(lines, render.painted(lines, code), strict=True)):
        assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
        if render.RED in coloured.partition("m")[0] and number:
            assert plain.startswith(("! ", "error: ", "  - "))
