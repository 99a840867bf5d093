"""Parameters in the settings, the operator's half: names, the nodes' answers, the page, the way back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from pgha import records
from pgha.core.model import Answer, Fact, Question, Settings
from pgha.errors import Busy, Exit, Findings, PghaError, Refused
from pgha.ops import parameters, settings
from pgha.ops.parameters import INVENTORY, judged, split
from pgha.ops.settings import Acknowledged, acknowledged, words_of
from pgha.ops.status import SILENT_S
from pgha.ports import Write
from tests.ops.cases import NOW, TARGET, member, seen
from tests.ops.test_settings import with_settings
from tests.ops.test_switchover import ROOT, World

OWN = [s.name for s in settings.SETTINGS]
FACTS = {
    "work_mem": Fact("4MB", "integer", "user", "kB", "64", "2147483647"),
    "max_connections": Fact("100", "integer", "postmaster", "", "1", "262143"),
    "shared_buffers": Fact("128MB", "integer", "postmaster", "8kB", "16", "1073741823"),
}
BEFORE = Settings(4, parameters={"work_mem": "4MB", "jit": "off"})


def answers(*nodes: str, **facts: Fact) -> Mapping[str, Answer]:
    return {n: Answer(n, "q", {**FACTS, **facts}) for n in nodes or ("n1", "n2", "n3")}


def plan(*words: str, before: Settings = BEFORE, found: Mapping[str, Answer] | None = None) -> settings.Plan:
    by = settings.By("anna@desk", NOW, "why not")
    ask = lambda _values: answers() if found is None else found  # noqa: E731
    return settings.plan(TARGET, with_settings(before), words, ask=ask, by=by)


def said(problem: PghaError) -> str:
    return "\n".join(problem.lines())


# -- names ---------------------------------------------------------------------------------------------------------


def test_words_about_pghas_own_settings_go_their_way() -> None:
    assert split(["copies=1", "Work_Mem = 8MB", "nonsense"], OWN) == (["copies=1", "nonsense"], {"work_mem": "8MB"}, [])


REFUSED = {
    "port=1": "write postgres.port",
    "synchronous_standby_names=*": "no acknowledged commit is lost",
    "recovery_target=immediate": "it moves or stops a standby",
    "archive_command=rm": "it names a command",
    "shared_preload_libraries=x": "it names a library",
    "ssl_ca_file=/x": "it names a path",
    "ssl_key_file=/x": "by them the nodes know each other",
    "pg_stat_statements.max=1": "an extension's",
    "listen_addresses=*": "it names an address",
    "fsync=on": "not among those",
    "synchronous_commit=off": "acknowledges commits that a failover loses",
    "wrok_mem=1MB": "did you mean work_mem?",
    "durabillity=async": "did you mean durability?",
}


@pytest.mark.parametrize("word", REFUSED)
def test_what_may_not_be_set_says_why_and_where_it_goes(word: str) -> None:
    _, values, (problem,) = split([word], OWN)
    assert not values and problem.code == Exit.USAGE
    assert REFUSED[word] in said(problem)
    goes_elsewhere = "names" in said(problem) and "standby_names" not in word
    assert (INVENTORY in problem.next_step) or not goes_elsewhere


def test_a_name_given_twice_is_a_problem() -> None:
    assert "twice" in said(split(["work_mem=1MB", "WORK_MEM=2MB"], OWN)[2][0])


# -- what the servers say ------------------------------------------------------------------------------------------


def test_a_value_is_refused_once_with_the_nodes_that_say_so() -> None:
    (problem,) = judged(TARGET, {"work_mem": "1kB"}, answers()).problems
    assert problem.what == "n1, n2, n3: work_mem=1kB is refused" and "between 64" in problem.because
    odd = {**answers("n1", "n2"), "n3": Answer("n3", "q", {})}
    (problem,) = judged(TARGET, {"work_mem": "8MB"}, odd).problems
    assert "n3: work_mem is unknown" in problem.what


def test_the_five_are_lowered_on_the_primary_first() -> None:
    (line,) = judged(TARGET, {"max_connections": "99"}, answers()).lines
    assert "100 until n1, n2, n3 restart; the primary first, in place" in line


def test_what_waits_for_a_restart_is_said_and_for_whom() -> None:
    (line,) = judged(TARGET, {"max_connections": "300"}, answers()).lines
    assert line.startswith("max_connections: 100 until n1, n2, n3 restart; the standbys first: pgha ")
    assert judged(TARGET, {"work_mem": "8MB"}, answers()).lines == ()
    assert judged(TARGET, {"max_connections": "100"}, answers()).lines == (), "that is what they run"
    (line,) = judged(TARGET, {"max_connections": "default"}, answers()).lines
    assert "restart where that is not the default" in line


def test_who_gave_no_answer_is_named_and_without_any_nothing_is_judged() -> None:
    assert judged(TARGET, {"work_mem": "8MB"}, answers("n1", "n2")).lines == ("not asked: n3; it takes it when back",)
    (problem,) = judged(TARGET, {"work_mem": "8MB"}, {}).problems
    assert isinstance(problem, Refused)


# -- the plan ------------------------------------------------------------------------------------------------------


def test_a_change_of_parameters_is_a_revision_with_who_when_and_why() -> None:
    chosen = plan("work_mem=8MB", "jit=default", "copies=1", found=answers(jit=Fact("on", "bool", "user")))
    assert chosen.after == Settings(
        5, copies=1, parameters={"work_mem": "8MB"}, asked_by="anna@desk", at=NOW, reason="why not"
    )
    page = chosen.lines("shop")
    assert page[1:6] == ["  - copies=0", "  + copies=1", "  - jit=off", "  - work_mem=4MB", "  + work_mem=8MB"]


def test_all_that_is_wrong_is_said_in_one_pass() -> None:
    with pytest.raises(Findings) as found:
        plan("work_mem=1kB", "port=1", "durability=never", "max_connections=0")
    assert len(found.value.problems) == 4


def test_the_same_values_again_are_refused() -> None:
    with pytest.raises(Refused) as refused:
        plan("work_mem=4MB")
    assert refused.value.what == "nothing would change"


def test_the_way_back_is_a_change_like_any_other() -> None:
    older = Settings(2, copies=1, parameters={"max_connections": "300"}, reason="long ago")
    jit = Fact("on", "bool", "user")
    chosen = settings.plan_back(TARGET, with_settings(BEFORE), older, ask=lambda _: answers(jit=jit))
    assert chosen.after == Settings(5, copies=1, parameters={"max_connections": "300"})
    with pytest.raises(Findings):
        bad = replace(older, parameters={"max_connections": "0"})
        settings.plan_back(TARGET, with_settings(BEFORE), bad, ask=lambda _: answers(jit=Fact("on", "bool", "user")))


def test_an_edited_page_is_what_it_says_otherwise() -> None:
    assert words_of("# x\ncopies=0\nwork_mem=8MB # much\n", BEFORE) == ["work_mem=8MB", "jit=default"]
    assert words_of("copies=0\nwork_mem=4MB\njit=off\n", BEFORE) == []


# -- in the store --------------------------------------------------------------------------------------------------


def test_each_revision_is_kept_and_what_was_before_the_first_change_too() -> None:
    world = World()
    world._write("config", records.dump_settings(Settings(1)))
    for size in ("5MB", "6MB"):
        chosen = settings.plan(TARGET, world.look(), [f"work_mem={size}"], ask=lambda _: answers())
        settings.write(world.store, world.clock, TARGET, chosen)
    found = settings.past(world.store, world.clock, TARGET)
    assert [dict(s.parameters).get("work_mem") for s in found.values()] == [None, "5MB", "6MB"]
    assert [c.after for c in settings.differences(found[2], found[3])] == ["6MB"]
    assert not world.look().records.problems


def test_only_so_many_revisions_are_kept() -> None:
    world = World()
    world._write("config", records.dump_settings(Settings(1)))
    for number in range(settings.KEPT + 5):
        chosen = settings.plan(TARGET, world.look(), [f"work_mem={number + 1}MB"], ask=lambda _: answers())
        settings.write(world.store, world.clock, TARGET, chosen)
    assert len(settings.past(world.store, world.clock, TARGET)) == settings.KEPT


def test_the_nodes_are_asked_and_nothing_of_it_is_left() -> None:
    world = World()
    for name in ("n1", "n2"):
        world.put_member(member(name, written_at=NOW))

    def reply() -> None:
        question = world.look().records.question
        assert question is not None and dict(question.values) == {"work_mem": "8MB"}
        for name in ("n1", "n2", "n3"):
            value = records.dump_answer(Answer(name, question.ident, FACTS))
            world.store.commit([], [Write(f"{ROOT}answers/{name}", value)], deadline_s=world.clock.now + 1)

    world.later(0.2, reply)
    ask = parameters.asker(world.store, world.clock, TARGET, world.look(), asked_by="anna@desk")
    assert set(ask({"work_mem": "8MB"})) == {"n1", "n2", "n3"}
    assert not [k for k in world.look().records.revisions if k.startswith(("question", "answers"))]


def test_who_gives_no_answer_is_not_waited_for_for_ever() -> None:
    world = World()
    began = world.clock.now
    ask = parameters.asker(world.store, world.clock, TARGET, world.look(), asked_by="anna@desk")
    assert ask({"work_mem": "8MB"}) == {}
    assert world.clock.now - began < parameters.ANSWER_S + 3.0


def test_a_second_operator_is_told_who_asks_at_this_moment() -> None:
    world = World()
    world._write("question", records.dump_question(Question("q", {}, "anna@desk", NOW - 2)))
    with pytest.raises(Busy) as busy:
        parameters.asker(world.store, world.clock, TARGET, world.look(), asked_by="bert")({"work_mem": "8MB"})
    assert "anna@desk" in busy.value.what
    world._write("question", records.dump_question(Question("q", {}, "anna@desk", NOW - parameters.OTHERS_S)))
    parameters.asker(world.store, world.clock, TARGET, world.look(), asked_by="bert")({"work_mem": "8MB"})


def test_what_the_nodes_acknowledge() -> None:
    look = seen(
        member("n1", settings=5),
        member("n2", settings=4),
        member("n3", settings=5, refused="revision 5 is left"),
    )
    found = acknowledged(TARGET, look, 5)
    assert found == Acknowledged(("n1",), {"n2": "it has revision 4", "n3": "revision 5 is left"}, ())
    silent = seen(member("n1", settings=5), member("n2", settings=5), member("n3", written_at=NOW - SILENT_S - 1))
    assert acknowledged(TARGET, silent, 5) == Acknowledged(("n1", "n2"), {}, ("n3",))
