"""Rows about what a device makes of a line: refused, garbled, normalised, not done."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from inventory import DeviceProblem, ProfileMissing, Refused, StalePlan
from lab.small_isp import TIERS
from orchestrator.plan import make_plan
from orchestrator.recover import recover
from tests.faults.moments import consistent, lines_to, neighbour_is_untouched
from tests.orchestrator.conftest import StartRig
from tests.orchestrator.moments import (
    ARM,
    BNG,
    LINE,
    NEW,
    OLD,
    OLT,
    ONE,
    PLAIN,
    is_as_before,
    is_done,
    nothing_left,
    upgrade,
    when,
)
from tests.orchestrator.rig import Rig, at_tier, truth
from workflows.transports import cli_session, netmiko

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
During = Callable[..., None]

TEXTS = (
    "% Incomplete command, the error locates at '^'",
    "% Ambiguous command",
    "Invalid",
    "failed",
    "% Too many parameters",
    "Error: 0x1f2e",
    "\N{WARNING SIGN} nicht erlaubt",
    "~~~",
    "OLT-FRA-1",
)


# --- error on line k -----------------------------------------------------------------------------


@pytest.mark.parametrize("line", [0, 1, 2])
def test_error_on_line_k_of_the_way_back(start_rig: StartRig, line: int) -> None:
    """The last device refuses, and so does one line of the undo: tried again, exactly as before."""
    rig = start_rig(services=3, olts=1, save_s=0.02)
    orders = tuple(rig.order(service_id, NEW) for service_id in rig.isp.ids())
    plan = make_plan(rig.office, orders, skip=False, all_or_nothing=True)
    before = rig.fleet.control(OLT, "dump")

    def stop() -> None:
        rig.fleet.control(BNG, "knob", name="not_programmed", value=True)
        rig.fleet.control(OLT, "fault", verb=LINE, kind="refuse", arg="no", skip=line)

    rig.fleet.control(BNG, "knob", name="not_programmed", value=True)
    when(rig, OLT, "prepared", stop)
    outcome = rig.apply(plan)
    rig.fleet.control(BNG, "knob", name="not_programmed", value=False)
    rig.fleet.control(BNG, "program")
    assert [item.ending for item in outcome.items] == ["aborted"] * 3
    after = rig.fleet.control(OLT, "dump")
    assert after["faults"] == []
    assert (after["running"], after["saved"]) == (before["running"], before["saved"])
    for service_id in rig.isp.ids():
        at_tier(rig, service_id, OLD)
    nothing_left(rig)


@pytest.mark.parametrize("verb", ["load-configuration", ARM])
def test_error_on_any_call_to_the_router(isp: Rig, verb: str) -> None:
    """A router takes its lines whole or not at all: the calls stand for the lines."""
    isp.fleet.control(BNG, "fault", verb=verb, kind="refuse", arg="statement not found")
    assert upgrade(isp)[0] == "aborted"
    is_as_before(isp)


# --- unknown error texts -------------------------------------------------------------------------


@pytest.mark.parametrize("text", TEXTS)
def test_unknown_error_text(isp: Rig, text: str) -> None:
    """No list of texts decides: the reading does. Nothing is executed, whatever is said."""
    isp.fleet.control(OLT, "fault", verb=LINE, kind="refuse", arg=text)
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    assert OLT in outcome.items[0].reason
    is_as_before(isp)


@pytest.mark.parametrize("text", TEXTS)
def test_unknown_error_text_on_the_way_back(isp: Rig, text: str) -> None:
    def refuse_the_undo() -> None:
        isp.fleet.control(OLT, "fault", verb=LINE, kind="refuse", arg=text)

    isp.fleet.control(BNG, "knob", name="not_programmed", value=True)
    when(isp, OLT, "prepared", refuse_the_undo)
    assert upgrade(isp)[0] == "aborted"
    isp.fleet.control(BNG, "knob", name="not_programmed", value=False)
    isp.fleet.control(BNG, "program")
    is_as_before(isp)


def test_no_error_text_at_all(isp: Rig) -> None:
    """The line is answered as if it was done, and nothing was."""
    isp.fleet.control(OLT, "fault", verb=LINE, kind="silent")
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) == ("aborted", 1)
    assert "does not read back" in outcome.items[0].reason
    is_as_before(isp)


def test_no_error_text_at_all_for_a_save(isp: Rig, during: During) -> None:
    """P7: a save that says nothing and does nothing, until somebody ends our session: once more."""

    def end_our_session() -> None:
        for session in isp.fleet.control(OLT, "dump")["sessions"]:
            isp.fleet.control(OLT, "logout", id=session["id"])

    during(OLT, "save", end_our_session, kind="silent")
    assert upgrade(isp)[0] == "done"
    is_done(isp)


def test_a_warning_beside_what_was_done(isp: Rig) -> None:
    """RFC 6241, 4.3: a warning is no refusal. A router that warns each time can be changed."""
    for verb in ("lock-configuration", "load-configuration", ARM, PLAIN, "get-commit-information"):
        isp.fleet.control(BNG, "fault", verb=verb, kind="warning", arg="no licence", count=99)
    assert upgrade(isp)[0] == "done"
    is_done(isp)


def test_a_warning_beside_what_was_not_done(isp: Rig) -> None:
    """No text decides here either: what the warning was about is read, and undone."""
    isp.fleet.control(BNG, "knob", name="not_programmed", value=True)
    isp.fleet.control(BNG, "fault", verb=ARM, kind="warning", arg="policer has no effect yet")
    assert upgrade(isp)[0] == "aborted"
    isp.fleet.control(BNG, "knob", name="not_programmed", value=False)
    isp.fleet.control(BNG, "program")
    is_as_before(isp)


# --- prompt, banner, --More--, syslog ------------------------------------------------------------


@pytest.mark.parametrize(
    "knobs",
    [
        {"yes_banner": True},
        {"page_lines": 10, "scroll_max": 10},
        {"labels": "Traffic Table"},
    ],
    ids=str,
)
def test_banner_and_more(isp: Rig, knobs: dict[str, object]) -> None:
    """A banner that asks, pages that cannot be switched off, questions after a command."""
    isp.fleet.control(OLT, "set", **knobs)
    assert upgrade(isp)[0] == "done"
    is_done(isp)


def test_a_question_that_cannot_be_switched_off(isp: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OLT that asks back after every command is not read, within bounds, and not written to."""
    monkeypatch.setattr(cli_session, "ASK_S", 0.5)
    isp.fleet.control(OLT, "set", keep_smart=True)
    since = isp.fleet.control(OLT, "log")["last"]
    with pytest.raises(DeviceProblem, match=OLT):
        isp.plan(isp.order(ONE, NEW))
    assert not [line for line in lines_to(isp, OLT, since) if "line service-port" in line]
    isp.fleet.control(OLT, "set", keep_smart=False)
    is_as_before(isp)


ALARM = f"  ! FAULT MAJOR\n  {OLT.upper()}(config)#\n  Failure: an ONT is gone\n  --- END"


@pytest.mark.parametrize("kind", ["alarm", "alarm_echo"])
@pytest.mark.parametrize("verb", [LINE, "display*", "save"])
def test_syslog_line_inside_output(isp: Rig, kind: str, verb: str) -> None:
    """An alarm in the middle of an echo or an answer: understood or read again, never wrong."""
    plan = isp.plan(isp.order(ONE, NEW))
    isp.fleet.control(OLT, "fault", verb=verb, kind=kind, arg=ALARM)
    try:
        ending = isp.apply(plan).items[0].ending
    except StalePlan:  # what cannot be understood before the intent is not begun
        assert verb == "display*"
        ending = "refused"
    assert isp.fleet.control(OLT, "dump")["faults"] == []
    assert ending in ("done", "aborted", "refused")
    consistent(isp)
    is_done(isp) if ending == "done" else is_as_before(isp)


def test_prompt_change_in_the_middle(isp: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody renames the OLT while our session is open: the wait ends, a new session reads."""
    monkeypatch.setattr(cli_session, "ASK_S", 1)

    def rename() -> None:
        isp.fleet.control(OLT, "rename", name="OLT-NEW-NAME")

    when(isp, BNG, "prepared", rename)
    ending, outcome = upgrade(isp)
    assert (ending, outcome.exit_code()) in (("done", 0), ("aborted", 1))
    consistent(isp)
    is_done(isp) if ending == "done" else is_as_before(isp)
    if ending == "aborted":
        assert upgrade(isp)[0] == "done"


# --- accepted, and not what was meant ------------------------------------------------------------


def test_accepted_but_not_programmed_on_one_line_alone(isp: Rig) -> None:
    """Memory is short for one subscriber: the operational policer says it, the neighbour stays."""
    isp.fleet.control(BNG, "knob", name="not_programmed", value=["ge-0/0/1.1001"])
    assert upgrade(isp)[0] == "aborted"
    neighbour_is_untouched(isp)
    isp.fleet.control(BNG, "knob", name="not_programmed", value=False)
    isp.fleet.control(BNG, "program")
    is_as_before(isp)


@pytest.mark.parametrize("rate", ["500m", "500000k", "500000000"])
def test_accepts_line_and_normalises_it(isp: Rig, rate: str) -> None:
    """However a box spells a rate, it is that rate: no false drift, and the policer is used."""
    spelled = [
        f"delete firewall policer DOWN-{NEW.rpartition('-')[2]}M if-exceeding bandwidth-limit",
        f"set firewall policer DOWN-500M if-exceeding bandwidth-limit {rate}",
    ]
    isp.fleet.control(BNG, "edit", lines=spelled)
    assert upgrade(isp)[0] == "done"
    is_done(isp)
    assert isp.tier(ONE, OLD).exit_code() == 0
    at_tier(isp, ONE, OLD)


def modify_table(rig: Rig, kbps: int) -> int:
    """A person writes the table of the new download rate anew; return what the OLT made of it."""
    tables = rig.fleet.control(OLT, "dump")["running"]["traffic_tables"]
    (index,) = (n for n, table in tables.items() if table["cir_kbps"] == TIERS[NEW][0])
    line = f"traffic table ip modify index {index} cir {kbps} pir {kbps}"
    rig.fleet.control(OLT, "edit", lines=[line])
    made = rig.fleet.control(OLT, "dump")["running"]["traffic_tables"][index]["cir_kbps"]
    return int(made)


def test_accepts_line_and_rounds_it(isp: Rig) -> None:
    """Firmware that keeps rates in steps of 64 kbit/s: it is the tier's rate, and stays it."""
    isp.fleet.control(OLT, "set", granularity_kbps=64)
    rounded = modify_table(isp, TIERS[NEW][0])
    assert TIERS[NEW][0] - 64 < rounded < TIERS[NEW][0]
    assert upgrade(isp)[0] == "done"
    assert recover(isp.office).outcome.exit_code() == 0
    nothing_left(isp)
    seen = truth(isp, ONE)
    assert seen.olt == seen.olt_saved == (rounded, TIERS[NEW][1])
    assert seen.events == ("service.adopted", "tier.changed")


def test_normalised_to_another_value_is_another_rate(isp: Rig) -> None:
    """A table that says something else by now is not the tier's table: nothing is sent."""
    assert modify_table(isp, TIERS[NEW][0] - 64) == TIERS[NEW][0] - 64
    since = isp.fleet.control(OLT, "log")["last"]
    with pytest.raises((ProfileMissing, Refused)):
        isp.plan(isp.order(ONE, NEW))
    assert not [line for line in lines_to(isp, OLT, since) if "line service-port" in line]
    is_as_before(isp)


# --- a hang, and a slow device -------------------------------------------------------------------


@pytest.mark.parametrize("line", ["display*", LINE, "save"])
def test_hang_mid_command_with_half_an_answer(isp: Rig, line: str) -> None:
    """Half of an answer, then the connection is gone: what was read of it is not believed."""
    plan = isp.plan(isp.order(ONE, NEW))
    isp.fleet.control(OLT, "fault", verb=line, kind="drop_bytes", arg="25")
    try:
        ending = isp.apply(plan).items[0].ending
    except StalePlan:
        assert line == "display*"
        ending = "refused"
    assert isp.fleet.control(OLT, "dump")["faults"] == []
    assert ending in ("done", "aborted", "refused")
    consistent(isp)
    is_done(isp) if ending == "done" else is_as_before(isp)


def test_hang_mid_command_is_bounded(isp: Rig) -> None:
    """The wait for a line ends by itself, and within what a person would wait for."""
    assert cli_session.LINE_S <= 5
    assert netmiko.DRAIN_WAIT_S <= 60
    held = threading.Event()
    when(isp, OLT, "unknown", held.set)
    isp.fleet.control(OLT, "fault", verb=LINE, kind="hang_before")
    assert upgrade(isp)[0] == "aborted"
    assert held.is_set()
    is_as_before(isp)


def test_slow_10x_is_only_slow(isp: Rig) -> None:
    """Every call and every line answers late; nothing is taken for lost and sent twice."""
    for device in (BNG, OLT):
        isp.fleet.control(device, "fault", verb="*", kind="delay", arg="0.2", count=500)
    since = isp.fleet.control(OLT, "log")["last"]
    assert upgrade(isp)[0] == "done"
    for device in (BNG, OLT):
        isp.fleet.control(device, "clear")
    sent = [line for line in lines_to(isp, OLT, since) if line.startswith("line service-port")]
    assert len(sent) == 1
    is_done(isp)
    assert truth(isp, ONE).events == ("service.adopted", "tier.changed")
