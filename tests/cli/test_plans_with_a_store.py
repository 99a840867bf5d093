"""Orders for later, and orders that are at work already, against a real etcd that holds a cluster."""

from __future__ import annotations

import json
import threading
import time

import pytest

from pgha import records
from pgha.core.model import Tenure
from pgha.errors import Exit
from tests.cli.test_with_a_store import ROOT, Shop, etcd, shop
from tests.ops.cases import copy, leader, order

__all__ = ["etcd", "shop"]  # fixtures
pytestmark = pytest.mark.loopback

FAR = time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(time.time() + 86400))


def plans(shop: Shop) -> list[str]:
    return [key for key in shop.entries() if key.startswith(f"{ROOT}schedule/")]


def test_a_plan_is_laid_shown_and_taken_back(shop: Shop) -> None:
    said = shop.run("-o", "json", "switchover", "--to", "n2", "--at", FAR, "-y")
    assert said.code == Exit.OK, said.err
    laid = json.loads(said.out)["planned"]
    assert laid["what"] == "switchover n1 to n2" and plans(shop) == [f"{ROOT}schedule/{laid['plan']}"]
    assert f"plan {laid['plan']}: switchover n1 to n2 at " in shop.run("list").out
    assert shop.run("list").code == Exit.OK, "a plan is no fault"
    said = shop.run("cancel", laid["plan"], "-y")
    assert (said.code, said.out, plans(shop)) == (Exit.OK, "cancelled: switchover n1 to n2\n", [])


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("restart", "--rolling", "--at", "2020-01-01T00:00Z", "-y"), Exit.USAGE, "is past"),
        (("restart", "--at", "tomorrow", "-y"), Exit.USAGE, "can't be read"),
        (("switchover", "--at", "2020-01-01T00:00", "-y"), Exit.USAGE, "its zone"),
        (("switchover", "--to", "n9", "--at", FAR, "-y"), Exit.USAGE, "no node 'n9'"),
        (("switchover", "--to", "n1", "--at", FAR, "-y"), Exit.REFUSED, "n1 is the primary already"),
        (("switchover", "--at", FAR), Exit.DECLINED, "nothing was changed"),
        (("switchover", "--at", FAR, "--dry-run"), Exit.OK, ""),
        (("cancel", "-y"), Exit.REFUSED, "nothing is planned"),
        (("cancel", "abc", "-y"), Exit.USAGE, "no plan 'abc'"),
    ],
)
def test_what_is_refused_or_only_looked_at_writes_nothing(
    shop: Shop, words: tuple[str, ...], code: Exit, text: str
) -> None:
    before = shop.entries()
    said = shop.run(*words, stdin="n\n")
    assert said.code == code and text in said.err and shop.entries() == before, said.err


def test_a_switchover_that_is_at_work_is_followed_by_who_types_it_again(shop: Shop) -> None:
    shop.order(order(phase="accepted", asked_at=time.time() - 3))

    def agents() -> None:
        shop.leader(leader(holder=copy("n2"), epoch=4, tenure=Tenure.HELD, sync=()))
        shop.order(None)

    later = threading.Timer(1.0, agents)
    later.start()
    try:
        said = shop.run("switchover", "--to", "n2", "-y")
    finally:
        later.join()
    assert said.code == Exit.OK and said.out.startswith("n2 is primary"), said.err
    assert "go on with n1 -> n2" in said.err and records.prefix("shop") + "request" not in shop.entries()
