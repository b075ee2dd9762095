"""RADIUS accounting into windows: every byte once, whatever the packets' order and number."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from ledger_facts import T0
from sqlalchemy import Engine, text
from usage_facts import HOUR, count, hours, totals

from billing_bridge import (
    Taken,
    UsageException,
    keep_packets,
    list_problems,
    match_again,
    window_of,
)
from orchestrator.database import reading, writing

LATER = hours(30)
WORD = 1 << 32


def packet(kind: str, minutes: int, down: int = 0, up: int = 0, **given: Any) -> dict[str, Any]:
    """What the NAS sends `minutes` after 12:00 of a session that began then."""
    filled: dict[str, Any] = {
        "Acct-Status-Type": kind,
        "Acct-Session-Id": "8a1",
        "User-Name": "ada@isp",
        "NAS-IP-Address": "10.0.0.1",
        "NAS-Port-Id": "ge-0/0/1.7",
        "Acct-Session-Time": minutes * 60,
        "Event-Timestamp": int(T0.timestamp()) + minutes * 60,
        "Acct-Output-Octets": down % WORD,
        "Acct-Output-Gigawords": down // WORD,
        "Acct-Input-Octets": up % WORD,
        "Acct-Input-Gigawords": up // WORD,
    }
    named = {name.replace("_", "-"): value for name, value in given.items()}
    return {name: value for name, value in (filled | named).items() if value is not None}


def hear(engine: Engine, *packets: dict[str, Any], now: dt.datetime = LATER) -> Taken:
    with writing(engine) as session:
        return keep_packets(session, packets, now)


def problems(engine: Engine) -> tuple[UsageException, ...]:
    with reading(engine) as session:
        return list_problems(session)


def life() -> tuple[list[dict[str, Any]], dict[tuple[int, str], int]]:
    """A session of three hours with its packets, and what each hour has of it."""
    chance = random.Random(7)  # noqa: S311
    packets, down, up = [packet("Start", 0)], 0, 0
    grown: dict[tuple[int, str], int] = {}
    for minutes in range(10, 181, 10):
        more = chance.randrange(WORD * 2), chance.randrange(9_000)
        down, up = down + more[0], up + more[1]
        for meter, bytes_ in zip(("down", "up"), more, strict=True):
            key = ((minutes - 1) // 60, meter)
            grown[key] = grown.get(key, 0) + bytes_
        packets.append(packet("Stop" if minutes == 180 else "Interim-Update", minutes, down, up))
    return packets, grown


@pytest.mark.parametrize("seed", range(4))
def test_order_and_repetition_change_no_byte(isp: Engine, seed: int) -> None:
    """Goal: the ledger ends with each hour's bytes, however the packets came.

    Method: shuffled, some twice, handed over in pieces, counted in between, lost Start or not.
    """
    packets, grown = life()
    chance = random.Random(seed)  # noqa: S311
    mixed = packets[seed % 2 :] + chance.choices(packets, k=6)
    chance.shuffle(mixed)
    while mixed:
        size = chance.randrange(1, 8)
        hear(isp, *mixed[:size])
        mixed = mixed[size:]
        count(isp, LATER, limit=2)
    assert totals(isp) == grown
    assert problems(isp) == ()
    hear(isp, *packets)
    assert count(isp, LATER).events == ()


def test_gigawords_make_64_bits_and_missing_ones_are_zero(isp: Engine) -> None:
    top = (1 << 62) + 5
    hear(isp, packet("Start", 0), packet("Interim-Update", 30, top, 7))
    hear(isp, packet("Stop", 40, top, 9, Acct_Output_Gigawords=None, Acct_Input_Gigawords=None))
    count(isp, LATER)
    assert totals(isp) == {(0, "down"): top, (0, "up"): 7}
    (odd,) = problems(isp)
    assert (odd.kind, odd.evidence["down"]) == ("regressive", "5")
    assert (odd.amount_minor, odd.currency) == (50, "EUR")


def test_a_time_is_the_events_else_of_the_receipt_less_the_delay(isp: Engine) -> None:
    for given in (
        {"Acct_Delay_Time": 3600, "Event_Timestamp": None},
        {"Event_Timestamp": str(int(hours(4).timestamp())), "Acct_Delay_Time": 7},
    ):
        more = {"Acct_Session_Time": None, "Acct_Session_Id": str(len(str(given)))}
        hear(isp, packet("Start", 0, **more), now=hours(1))
        hear(isp, packet("Interim-Update", 0, 10, **(more | given)), now=hours(5))
    count(isp, LATER)
    assert totals(isp) == {(3, "down"): 20}


def test_what_follows_the_stop_or_goes_back_waits_with_a_price(isp: Engine) -> None:
    first = [packet("Start", 0), packet("Interim-Update", 20, 5_000)]
    hear(isp, *first, packet("Interim-Update", 30, 4_000), packet("Stop", 40, 6_000))
    hear(isp, packet("Interim-Update", 90, 9_000))
    count(isp, LATER)
    assert totals(isp) == {(0, "down"): 6_000}
    found = sorted(one.evidence["why"] for one in problems(isp))
    assert [why.partition(" at ")[2].partition(" ")[2] for why in found] == [
        "counts less than before",
        "follows the stop",
    ]
    assert {one.kind for one in problems(isp)} == {"regressive"}
    assert min(one.amount_minor for one in problems(isp)) == 200


@pytest.mark.parametrize("kind", ["Accounting-On", "Accounting-Off"])
def test_a_nas_that_begins_or_ends_to_account_closes_what_it_had_open(
    isp: Engine, kind: str
) -> None:
    """At the last known counters; another NAS's sessions, and those after it, go on."""
    other = {"NAS_IP_Address": "10.0.0.2", "Acct_Session_Id": "b"}
    hear(isp, packet("Start", 0), packet("Interim-Update", 20, 5_000))
    hear(isp, packet("Start", 0, **other), packet("Interim-Update", 20, 70, **other))
    on = packet(kind, 60, Acct_Session_Id=None, User_Name=None)
    again = {"Acct_Session_Id": "8a2", "Acct_Session_Time": 0}
    hear(isp, on, packet("Start", 60, **again))
    again["Acct_Session_Time"] = 1_800
    hear(isp, packet("Interim-Update", 90, 100, **again))
    hear(isp, packet("Interim-Update", 90, 80, **other))
    hear(isp, packet("Interim-Update", 95, 7_000))
    count(isp, LATER)
    assert totals(isp) == {(0, "down"): 5_070, (1, "down"): 110}
    assert ["follows the stop" in one.evidence["why"] for one in problems(isp)] == [True]


def test_a_login_that_nobody_has_waits_until_somebody_has(isp: Engine) -> None:
    """Goal: nothing is dropped. Method: the line is imported after the session was heard."""
    eve = {"User_Name": "eve@isp"}
    kept = hear(isp, packet("Start", 0, **eve), packet("Interim-Update", 70, 2_500, 1, **eve))
    assert (kept.readings, kept.unmatched) == (2, 1)
    hear(isp, packet("Interim-Update", 80, 3_500, 1, **eve))
    count(isp, LATER)
    (odd,) = problems(isp)
    assert (odd.kind, odd.identifier, odd.quantity) == ("unmatched", "eve@isp", 3_501)
    assert (odd.amount_minor, odd.evidence["priced_by"]) == (200, "metered")  # the dearest plan
    with isp.begin() as connection:
        connection.execute(text("UPDATE line SET login = 'eve@isp' WHERE service_id = 'svc-3'"))
    with writing(isp) as session:
        assert match_again(session) == 1
    count(isp, LATER)
    assert totals(isp, "svc-3") == {(1, "down"): 3_500, (1, "up"): 1}
    assert problems(isp) == ()


HOSTILE = [
    {"User_Name": "x'; DROP TABLE usage_session; --"},
    {"User_Name": "\x00\x1b[2J\ud800"},
    {"User_Name": "é" * 5_000},
    {"Acct_Session_Id": '{"a":1}'},
    {"NAS_Port_Id": "\n" * 9},
]


@pytest.mark.parametrize("given", HOSTILE)
def test_hostile_text_is_only_text(isp: Engine, given: dict[str, str]) -> None:
    hear(isp, packet("Start", 0, **given), packet("Interim-Update", 5, 1_000, **given))
    count(isp, LATER)
    if "User_Name" not in given:
        assert totals(isp) == {(0, "down"): 1_000}
        return
    assert totals(isp) == {}
    (odd,) = problems(isp)
    assert odd.kind == "unmatched"
    assert odd.identifier.isprintable()


IMPOSSIBLE = [
    {"Acct_Output_Octets": WORD},
    {"Acct_Output_Octets": "-1"},
    {"Acct_Input_Gigawords": "1e3"},
    {"Acct_Session_Time": 10**12},
    {"Acct_Session_Id": None},
    {"NAS_IP_Address": None},
    {"Acct_Status_Type": "Tunnel-Start"},
    {"Acct_Status_Type": None},
    {"Event_Timestamp": "yesterday"},
]


@pytest.mark.parametrize("given", IMPOSSIBLE)
def test_a_packet_that_cannot_be_changes_nothing(isp: Engine, given: dict[str, Any]) -> None:
    odd, good = packet("Interim-Update", 5, 1_000, **given), packet("Interim-Update", 6, 400)
    for _ in range(2):
        hear(isp, odd, good)
    count(isp, LATER)
    assert totals(isp) == {(0, "down"): 400}
    assert [one.kind for one in problems(isp)] == ["impossible"]


def test_a_nas_whose_clock_is_fast_waits_for_the_time(isp: Engine) -> None:
    early = packet("Interim-Update", 120, 500)
    kept = hear(isp, early, now=hours(1))
    assert (kept.readings, kept.exceptions) == (0, 1)
    assert [one.kind for one in problems(isp)] == ["future"]
    assert hear(isp, early).readings == 1
    assert problems(isp) == ()


@pytest.mark.parametrize(
    ("zone", "date", "lengths"),
    [
        ("UTC", dt.date(2026, 3, 29), [60] * 24),
        ("Europe/Berlin", dt.date(2026, 3, 29), [60] * 23),
        ("Europe/Berlin", dt.date(2026, 10, 25), [60] * 25),
        ("Asia/Kolkata", dt.date(2026, 3, 29), [60] * 24),
        ("Australia/Lord_Howe", dt.date(2026, 4, 5), [*[60] * 24, 30]),
        ("Australia/Lord_Howe", dt.date(2026, 10, 4), [*[60] * 23, 30]),
    ],
)
def test_windows_cover_a_local_day_and_none_reaches_over_it(
    zone: str, date: dt.date, lengths: Sequence[int]
) -> None:
    """Method: minute by minute through the day, each must lie in the window it names."""
    start = dt.datetime.combine(date, dt.time(), ZoneInfo(zone)).astimezone(dt.UTC)
    tomorrow = date + dt.timedelta(days=1)
    until = dt.datetime.combine(tomorrow, dt.time(), ZoneInfo(zone)).astimezone(dt.UTC)
    found = []
    at = start
    while at < until:
        window = window_of(at, zone)
        assert window[0] <= at < window[1]
        found += [window] if window not in found else []
        at += dt.timedelta(minutes=1)
    assert (found[0][0], found[-1][1]) == (start, until)
    assert [(end - begin) // dt.timedelta(minutes=1) for begin, end in found] == lengths
    assert all(one[1] == other[0] for one, other in pairwise(found))
    assert max(end - begin for begin, end in found) <= HOUR
