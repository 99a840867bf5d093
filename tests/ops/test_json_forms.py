"""`-o json`: each document says which version of its form it has; each version's form is kept in a golden file.

A name that goes, or means something else, wants a new version; a new name does not: its line is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from pgha import render, render_config, render_explain, render_history
from pgha.errors import Exit, PghaError
from pgha.ops import settings
from pgha.ops.explain import explain
from pgha.ops.history import history, takeover, with_story
from pgha.ops.log_lines import parse
from pgha.ops.status import judge
from tests.ops.cases import TARGET
from tests.ops.explain_cases import PAGES
from tests.ops.test_history import _found
from tests.ops.test_screens import CHECKED, REVISIONS, TUNED, WAITING
from tests.ops.test_status import LOOKS
from tests.ops.test_story import FOUND, LOGS, N1
from tests.support import golden
from tests.support.shape import shape

NODES = settings.acknowledged(TARGET, WAITING, TUNED.revision)
SHOWN = render_config.Shown("shop", TUNED, NODES, {"n1": {"max_connections": ("100", "300")}})
FORMS: dict[str, Sequence[Mapping[str, object]]] = {
    "list": [judge(TARGET, look).as_dict() for look in LOOKS.values()],
    "explain": [render_explain.as_dict(explain(TARGET, look, None)) for look in PAGES.values()],
    "history": [render_history.as_dict(history(TARGET, _found(), count)) for count in (1, 10)],
    "history-one": [
        render_history.one_as_dict(with_story(takeover(TARGET, FOUND, 6), FOUND, LOGS)),
        render_history.one_as_dict(with_story(takeover(TARGET, FOUND, 6), FOUND, {})),
        render_history.one_as_dict(with_story(takeover(TARGET, FOUND, 7), FOUND, LOGS)),
    ],
    "check": [CHECKED.as_dict()],
    "logs": [parse("n1", "watchdog", N1.agent.splitlines()[0]).as_dict(), parse("n1", "etcd", "?").as_dict()],
    "config-show": [render_config.show_dict(SHOWN)],
    "config-history": [render_config.history_dict("shop", REVISIONS)],
}


@pytest.mark.parametrize("name", FORMS)
def test_the_form_of_a_version_is_as_kept(name: str) -> None:
    (version,) = {body["schema_version"] for body in FORMS[name]}
    golden.check(shape(*FORMS[name]), f"json-{name}-{version}.txt", beside=__file__)


def test_a_document_without_a_version_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AssertionError):
        render.as_json({"cluster": "shop"})
    assert capsys.readouterr().out == ""


def test_an_error_is_a_document_of_a_version_too(capsys: pytest.CaptureFixture[str]) -> None:
    render.error_json(PghaError("no", "because", "do", code=Exit.REFUSED))
    assert '"schema_version": 1' in capsys.readouterr().out


def test_a_name_that_goes_changes_the_form() -> None:
    body = dict(FORMS["list"][0])
    before = shape(body)
    del body["epoch"]
    assert shape(body) == before.replace("epoch: int\n", "")
    assert "\nepoch: int\n" in before
