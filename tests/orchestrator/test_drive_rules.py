"""How devices are driven to a goal: who gets another try, who is given up, and what is told."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from device_templates import Section
from orchestrator.database import reading
from orchestrator.drive import PAUSE_S, Arrived, Stuck, Task, drive, rates_text
from orchestrator.journal import list_steps
from orchestrator.office import Office, open_office
from orchestrator.settings import Settings
from tests.orchestrator.test_leases import Moving
from tests.schema import create_schema
from workflows import Crew, Goal, Handle, HandleItem, ItemSeen, Observation, Reply, Seen
from workflows.participant import SENT, PendingSeen

SET = "set-1"
NO = Reply(verdict="REFUSED", reason="no licence")
LOST = Reply(verdict="UNKNOWN", reason="no answer in time")
RATES: dict[Seen, Section] = {
    "OLD": (("down_kbps", "100000"), ("up_kbps", "20000")),
    "NEW": (("down_kbps", "500000"), ("up_kbps", "100000")),
}
OFF: Section = (("state", "off"),)


@dataclass(slots=True)
class Box:
    """A device with a timer and a saved configuration; `answers` come first, then it says SENT."""

    running: Seen = "OLD"
    startup: Seen = "OLD"
    pending: PendingSeen = "NONE"
    answers: list[Reply] = field(default_factory=list)
    deaf: bool = False  # it says SENT and does nothing
    does_what_it_refuses: bool = False  # the deed is done, its answer is lost
    leaves: bool = False  # it cannot be read any more after its last answer
    told: list[str] = field(default_factory=list)

    def seen(self) -> Observation:
        """What a reading shows."""
        problem = {"problem": "no route to host"} if self.running == "UNREADABLE" else {}
        item = ItemSeen(
            running=self.running, startup=self.startup, section=RATES.get(self.running, ())
        )
        return Observation(pending=self.pending, items={"svc-1": item}, evidence=problem)

    def hears(self, verb: str) -> Reply:
        """Do as it is told, or not."""
        self.told.append(verb)
        reply = self.answers.pop(0) if self.answers else SENT
        if not self.deaf and (reply == SENT or self.does_what_it_refuses):
            self._does(verb)
        if self.leaves and not self.answers:
            self.running = "UNREADABLE"
        return reply

    def _does(self, verb: str) -> None:
        if verb == "save":
            self.startup = self.running
            return
        self.pending = "OURS" if verb == "prepare" else "NONE"
        if verb != "confirm":
            self.running = "NEW" if verb == "prepare" else "OLD"


class Boxes(Crew):
    """The way to boxes that are no further away than this process: it needs no wires."""

    def __init__(self, boxes: Mapping[str, Box]) -> None:
        self.boxes = boxes
        self.looks: list[str] = []

    def observe(
        self, handles: Mapping[str, Handle], *, startup: bool = True
    ) -> dict[str, Observation]:
        assert startup  # nobody arrives whose saved configuration was not read
        self.looks += handles
        return {name: self.boxes[name].seen() for name in handles}

    def verb(self, verb: str, handles: Mapping[str, Handle]) -> dict[str, Reply]:
        return {name: self.boxes[name].hears(verb) for name in handles}


@dataclass(slots=True)
class Pass:
    """One pass over boxes, and what was heard of it."""

    office: Office
    clock: Moving
    said: list[tuple[str, str]]
    looks: list[str] = field(default_factory=list)

    def drive(
        self, goal: Goal, known: Mapping[str, Observation] | None = None, **boxes: Box
    ) -> dict[str, Arrived | Stuck]:
        """Drive all boxes to one goal."""
        crew = Boxes(boxes)
        tasks = {name: Task(handle=_handle(name), goal=goal) for name in boxes}
        ended = drive(self.office, crew, SET, tasks, known or {})
        self.looks = crew.looks
        return ended

    def tries(self, retries: int) -> None:
        """Set how often a device may refuse."""
        self.office = replace(self.office, settings=replace(self.office.settings, retries=retries))


def _handle(name: str) -> Handle:
    item = HandleItem(service_id="svc-1", objects=(), before=(), after=(), forward=(), inverse=())
    return Handle(device=name, platform="", token="s.1", items=(item,), revert_after_s=300)


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Pass]:
    """A pass whose devices may refuse three times."""
    said: list[tuple[str, str]] = []
    clock = Moving()
    settings = Settings(database_url=f"sqlite:///{tmp_path / 'bandmaster.db'}", retries=3)
    office = open_office(settings, tell=lambda who, text: said.append((who, text)))
    create_schema(office.engine)
    yield Pass(office=replace(office, clock=clock), clock=clock, said=said)
    office.engine.dispose()


def arrived(ended: Arrived | Stuck) -> Arrived:
    assert isinstance(ended, Arrived)
    return ended


def stuck(ended: Arrived | Stuck) -> Stuck:
    assert isinstance(ended, Stuck)
    return ended


def test_who_does_as_told_is_never_waited_for(one: Pass) -> None:
    """All devices go side by side, and each is read at its goal: that instant counts (D4)."""
    bng, olt = Box(), Box(running="NEW", startup="OLD")
    ended = one.drive("NEW", bng=bng, olt=olt)
    assert (bng.told, olt.told) == (["prepare", "confirm", "save"], ["save"])
    assert one.clock.sleeps == []
    with reading(one.office.engine) as session:
        steps = list_steps(session, SET)
    looks = [(each.participant, each.at) for each in steps if each.kind == "observed"]
    for name, end in ended.items():
        assert arrived(end).at == max(at for who, at in looks if who == name)
        assert end.seen.startup() == "NEW"


def test_who_has_nothing_to_do_ends_the_pass(one: Pass) -> None:
    assert one.drive("NEW") == {}
    ended = one.drive("OLD", bng=Box())
    assert arrived(ended["bng"]).seen.running() == "OLD"
    assert one.looks == ["bng"]


def test_what_is_known_to_be_at_its_goal_is_not_read_again(one: Pass) -> None:
    """Nothing was read just now: an earlier pass has the instant from which it counts."""
    box = Box(running="NEW", startup="NEW")
    ended = one.drive("NEW", {"bng": box.seen()}, bng=box, olt=Box(running="NEW", startup="NEW"))
    assert one.looks == ["olt"]
    assert arrived(ended["bng"]).at is None
    assert isinstance(arrived(ended["olt"]).at, dt.datetime)


@pytest.mark.parametrize(("answer", "pauses"), [(NO, 2), (LOST, 0)], ids=["refused", "lost"])
def test_a_device_may_refuse_less_often_than_it_is_given_up(
    one: Pass, answer: Reply, pauses: int
) -> None:
    """A lock that is held ends by itself, so it is waited for; a lost answer is read at once."""
    box = Box(answers=[answer, answer])
    ended = one.drive("NEW", bng=box, olt=Box())
    assert arrived(ended["bng"]).at is not None
    assert box.told == ["prepare"] * 3 + ["confirm", "save"]
    assert one.clock.sleeps == [PAUSE_S] * pauses


@pytest.mark.parametrize("answer", [NO, LOST], ids=["refused", "lost"])
def test_a_device_that_refuses_three_times_is_given_up(one: Pass, answer: Reply) -> None:
    """W15: it is stuck with its own words, nobody waits for it any more, the others arrive."""
    box = Box(answers=[answer] * 9)
    ended = one.drive("NEW", bng=box, olt=Box())
    found = stuck(ended["bng"])
    assert (found.cause, found.reason, found.seen.running()) == ("refused", answer.reason, "OLD")
    assert box.told == ["prepare"] * 3
    assert one.clock.sleeps == ([PAUSE_S] * 2 if answer is NO else [])
    assert arrived(ended["olt"]).seen.running() == "NEW"


def test_refusals_count_for_the_whole_pass_of_a_device(one: Pass) -> None:
    """What is done in between makes no new beginning: three refusals are three."""
    box = Box(answers=[NO, SENT, NO, SENT, NO])
    assert stuck(one.drive("NEW", bng=box)["bng"]).reason == "no licence"
    assert box.told == ["prepare", "prepare", "confirm", "confirm", "save"]


def test_a_deed_whose_answer_is_lost_is_found_by_the_last_look(one: Pass) -> None:
    """It is at its goal and not stuck; from when is what the next pass reads."""
    one.tries(1)
    box = Box(running="NEW", answers=[LOST], does_what_it_refuses=True)
    ended = arrived(one.drive("NEW", bng=box)["bng"])
    assert (ended.at, ended.seen.startup()) == (None, "NEW")
    assert box.told == ["save"]


def test_who_is_given_up_and_cannot_be_read_is_unreachable(one: Pass) -> None:
    """W15: silence is no refusal, so nothing is reversed for it."""
    box = Box(answers=[NO] * 3, leaves=True)
    found = stuck(one.drive("NEW", bng=box)["bng"])
    assert (found.cause, found.reason) == ("unreachable", "no licence")


def test_the_longest_way_is_gone_and_a_liar_is_told_no_more_often(one: Pass) -> None:
    """Half a batch stands: back, forward, confirmed, saved, and read at its goal in the end."""
    one.tries(1)
    longest, liar = Box(running="MIXED"), Box(deaf=True)
    ended = one.drive("NEW", longest=longest, liar=liar)
    assert longest.told == ["abort", "prepare", "confirm", "save"]
    assert arrived(ended["longest"]).at is not None
    # the look behind the last step is a round as well
    assert liar.told == ["prepare"] * (len(longest.told) + 1)
    found = stuck(ended["liar"])
    assert (found.cause, found.reason) == ("refused", "never reads back what it was told")
    assert ended.keys() == {"longest", "liar"}


@pytest.mark.parametrize(
    ("running", "pending", "cause", "reason"),
    [
        ("OTHER", "NONE", "foreign section", "somebody else edited it"),
        ("OLD", "FOREIGN", "foreign confirm", "a commit confirmed of somebody else is running"),
        ("UNREADABLE", "UNKNOWN", "unreachable", "no route to host"),
    ],
)
@pytest.mark.parametrize("goal", ["NEW", "OLD"])
def test_who_cannot_be_driven_is_left_alone_and_named(
    one: Pass, goal: Goal, running: Seen, pending: PendingSeen, cause: str, reason: str
) -> None:
    """P8: it is told nothing, and a person reads why, in words of its own for each cause."""
    box = Box(running=running, pending=pending)
    found = stuck(one.drive(goal, bng=box)["bng"])
    assert found.cause == cause
    assert found.reason.endswith(reason)
    assert one.said == [("bng", f"{cause}: {found.reason}")]
    assert box.told == []


def test_each_answer_is_told_and_kept_in_the_story(one: Pass) -> None:
    """What was done in a word; what was refused in the device's own words."""
    box = Box(pending="OURS", answers=[SENT, LOST, NO])
    arrived(one.drive("OLD", bng=box)["bng"])
    box = Box(answers=[SENT, LOST, NO])
    ended = one.drive("NEW", bng=box)
    assert arrived(ended["bng"]).seen.startup() == "NEW"
    assert one.said == [
        ("bng", "put back"),
        ("bng", "keeps 100/20 Mbit/s"),
        ("bng", "prepared"),
        ("bng", "confirm unknown: no answer in time"),
        ("bng", "confirm refused: no licence"),
        ("bng", "confirmed"),
        ("bng", "saved"),
        ("bng", "keeps 500/100 Mbit/s"),
    ]
    with reading(one.office.engine) as session:
        steps = [each for each in list_steps(session, SET) if each.kind != "observed"]
    assert [(each.kind, json.loads(each.detail)["verdict"]) for each in steps] == [
        ("abort", "SENT"),
        ("prepare", "SENT"),
        ("confirm", "UNKNOWN"),
        ("confirm", "REFUSED"),
        ("confirm", "SENT"),
        ("save", "SENT"),
    ]


def test_what_is_switched_off_stays_so(one: Pass, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RATES, "NEW", OFF)
    one.drive("NEW", bng=Box(running="NEW", startup="NEW"))
    assert one.said == [("bng", "stays switched off")]


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ((RATES["NEW"],), "500/100 Mbit/s"),
        ((RATES["NEW"], RATES["NEW"]), "500/100 Mbit/s"),
        ((OFF, OFF, OFF), "switched off"),
        ((RATES["NEW"], OFF), "2 lines"),
        ((RATES["NEW"], RATES["NEW"], RATES["OLD"]), "3 lines"),
        ((), "0 lines"),
    ],
)
def test_lines_of_one_rate_are_told_as_one(sections: tuple[Section, ...], text: str) -> None:
    items = {
        f"svc-{number}": ItemSeen(running="NEW", startup="NEW", section=section)
        for number, section in enumerate(sections)
    }
    assert rates_text(Observation(pending="NONE", items=items)) == text
