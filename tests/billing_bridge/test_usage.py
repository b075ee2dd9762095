"""Usage: what is counted, what is free, and that no byte and no cent is made or lost."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lives import account

from billing_bridge import (
    AccountingRecord,
    BlockStep,
    Period,
    UsageStep,
    blocks_each,
    blocks_top,
    circuit_95,
    committed,
    counted_bytes,
    counter_delta,
    duration,
    expected_slots,
    flat_tax,
    graduated,
    increment,
    overage,
    percentile_95,
    plan_burst,
    plan_overage,
    read_session,
    refuse_double,
    slowed_down,
    split_usage,
    usage_period,
    volume,
)
from inventory import Plan, PriceVersion, Refused, WrongUse

T0 = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)
QUANTITIES = st.integers(0, 10_000)


def after(seconds: int) -> dt.datetime:
    return T0 + dt.timedelta(seconds=seconds)


@st.composite
def ladders(draw: st.DrawFn) -> list[UsageStep]:
    ends = sorted(draw(st.sets(st.integers(1, 5_000), max_size=4)))
    money = st.integers(0, 1_000)
    return [
        UsageStep(up_to=end, unit_minor=draw(money), flat_minor=draw(money)) for end in [*ends, 0]
    ]


@settings(max_examples=300)
@given(ladders(), QUANTITIES, QUANTITIES)
def test_billing_in_two_parts_costs_what_one_bill_does(
    steps: list[UsageStep], first: int, more: int
) -> None:
    whole = sum(graduated(first + more, steps))
    assert sum(graduated(first, steps)) + increment(first, more, steps) == whole


@settings(max_examples=200)
@given(ladders(), st.integers(0, 6_000))
def test_each_unit_is_priced_by_its_own_step(steps: list[UsageStep], quantity: int) -> None:
    """Method: unit by unit."""
    total = 0
    for unit in range(1, quantity + 1):
        place = next(n for n, step in enumerate(steps) if step.up_to == 0 or unit <= step.up_to)
        total += int(steps[place].unit_minor)
        first = unit == 1 or (place > 0 and unit == steps[place - 1].up_to + 1)
        total += steps[place].flat_minor if first else 0
    assert sum(graduated(quantity, steps)) == total


def test_a_fraction_of_a_cent_is_rounded_once_for_each_line() -> None:
    steps = [UsageStep(up_to=3, unit_minor=Fraction(1, 2)), UsageStep(unit_minor=Fraction(1, 3))]
    assert graduated(5, steps) == (2, 1)
    assert volume(5, steps) == 2
    assert volume(3, steps) == 2


def test_steps_that_end_too_early_are_refused() -> None:
    short = [UsageStep(up_to=10, unit_minor=1)]
    assert graduated(10, short) == (10,)
    wrong: list[Callable[[], object]] = [
        lambda: graduated(11, short),
        lambda: graduated(-1, short),
        lambda: volume(11, short),
        lambda: blocks_top(1, []),
        lambda: overage(1, 0, 0, 5),
    ]
    for act in wrong:
        with pytest.raises(WrongUse):
            act()


@settings(max_examples=200)
@given(QUANTITIES, st.integers(1, 300), st.integers(0, 500), st.integers(1, 20))
def test_blocks_hold_what_they_are_paid_for(
    quantity: int, size: int, price: int, most: int
) -> None:
    """All begun blocks are paid, none twice; one endless step is the same by either rule."""
    begun = -(-quantity // size)
    assert blocks_each(quantity, [BlockStep(size=size, price_minor=price)]) == (
        (begun * price,) if quantity else ()
    )
    assert blocks_top(quantity, [BlockStep(size=size, price_minor=price)]) == begun * price
    steps = [BlockStep(size=size, price_minor=price, most=most), BlockStep(size=1, price_minor=1)]
    rest = max(0, quantity - most * size)
    assert sum(blocks_each(quantity, steps)) == min(begun, most) * price + rest
    assert blocks_top(quantity, steps) == (quantity if rest else begun * price)


PRO = Plan(
    code="pro",
    name="Pro",
    tier_code="t",
    currency="EUR",
    exponent=2,
    allowance_bytes=1_000,
    allowance_counts="down",
    block_bytes=100,
    fair_use_bytes=5_000,
    fair_use_tier="slow",
    commit_kbps=20_000,
)
PRICE = PriceVersion(
    price_version_id="pro@1",
    plan_code="pro",
    valid_from=dt.date(2026, 1, 1),
    amount_minor=20_000,
    block_minor=500,
    cap_minor=1_200,
    burst_minor=1_000,
)


def test_a_plans_terms_rate_its_usage() -> None:
    half, whole = Fraction(1, 2), Fraction(1)
    assert plan_overage(PRO, PRICE, 1_000, 9_999, whole).blocks == 0
    assert plan_overage(PRO, PRICE, 1_001, 0, whole).amount_minor == 500
    assert plan_overage(PRO, PRICE, 1_001, 0, half).blocks == 6
    assert plan_overage(PRO, PRICE, 1_001, 0, half).amount_minor == 1_200
    unlimited = Plan(code="u", name="", tier_code="t", currency="EUR", exponent=2)
    assert plan_overage(unlimited, PRICE, 10**15, 0, whole).amount_minor == 0
    assert (counted_bytes(PRO, 3, 4), counted_bytes(unlimited, 3, 4)) == (3, 7)
    assert not slowed_down(PRO, 5_000, 9_999)
    assert slowed_down(PRO, 5_001, 0)
    assert not slowed_down(unlimited, 10**15, 0)
    assert plan_burst(PRO, PRICE, 75_000_000) == 55_000
    assert plan_burst(PRO, PRICE, 20_000_499) == 0  # 0.5 of a cent is not reached
    assert plan_burst(PRO, PRICE, 20_000_500) == 1
    part = committed(20, 30, 3_000, 100, part=Fraction(1, 3))
    assert (part.commit_minor, part.over_minor, part.amount_minor) == (1_000, 1_000, 2_000)


@given(st.lists(st.integers(0, 500), max_size=6), st.integers(1, 500), st.integers(1, 60))
def test_a_session_cut_in_pieces_costs_the_same(
    pieces: list[int], price: int, increment_s: int
) -> None:
    assert duration(pieces, price, 60, increment_s) == duration(
        [sum(pieces)], price, 60, increment_s
    )


@settings(max_examples=300)
@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=400), st.randoms())
def test_the_percentile_is_the_first_that_is_not_free(
    samples: list[int], chance: random.Random
) -> None:
    """At most a twentieth lies above it, and the order in which samples came does not matter."""
    found = percentile_95(samples)
    above = [sample for sample in samples if sample > found.value]
    at_least = [sample for sample in samples if sample >= found.value]
    assert len(above) <= found.discarded == len(samples) // 20 < len(at_least)
    assert found.rank == -(-95 * len(samples) // 100)
    chance.shuffle(samples)
    assert percentile_95(samples) == found


def test_the_percentile_says_what_it_rests_on() -> None:
    thin = percentile_95([1] * 94, 100)
    assert (thin.coverage_bp, thin.covered) == (9_400, False)
    assert percentile_95([1] * 95, 100).covered
    with pytest.raises(Refused, match="no samples"):
        percentile_95([])
    with pytest.raises(WrongUse, match="both directions"):
        circuit_95([1, 2], [1], "sum")


@pytest.mark.parametrize(
    ("zone", "start", "slots"),
    [
        ("UTC", dt.date(2026, 3, 1), 8_928),
        ("Europe/Berlin", dt.date(2026, 3, 1), 8_916),
        ("Europe/Berlin", dt.date(2026, 10, 1), 8_940),
        ("Europe/Berlin", dt.date(2026, 2, 1), 8_064),
    ],
)
def test_a_month_has_its_own_number_of_slots(zone: str, start: dt.date, slots: int) -> None:
    until = (start + dt.timedelta(days=32)).replace(day=1)
    assert expected_slots(Period(start=start, until=until), zone) == slots


GIGABIT = 10**9
COUNTERS = [
    (64, 100, 700, {}, (600, "ok")),
    (64, 700, 100, {}, (0, "reset")),
    (64, 2**32 - 296, 704, {}, (0, "reset")),  # a counter of 32 bits presented as one of 64
    (32, 2**32 - 296, 704, {}, (1000, "ok")),
    (32, 2**32 - 296, 704, {"speed_bps": 0}, (0, "reset")),  # nothing says that it can be
    (32, 2**31, 2**31 - 1, {"speed_bps": 10**6}, (0, "reset")),
    (64, 100, 700, {"restarted": True}, (0, "reset")),
    (64, 0, 300 * GIGABIT // 8, {}, (300 * GIGABIT // 8, "ok")),
    (64, 0, 300 * GIGABIT // 8 + 1, {}, (0, "above_ifspeed")),
    (64, 0, 10**18, {"speed_bps": 0}, (10**18, "ok")),
]


@pytest.mark.parametrize(("bits", "before", "now", "more", "expected"), COUNTERS)
def test_a_counter_tells_what_it_can(
    bits: Literal[32, 64], before: int, now: int, more: dict[str, Any], expected: tuple[int, str]
) -> None:
    given_ = {"elapsed_s": 300, "speed_bps": GIGABIT} | more
    found = counter_delta(before, now, bits=bits, **given_)
    assert (found.octets, found.quality) == expected


@pytest.mark.parametrize(
    ("bits", "now", "elapsed_s"), [(32, 2**32, 300), (64, -1, 300), (64, 5, 0)]
)
def test_what_no_counter_says_is_refused(bits: Literal[32, 64], now: int, elapsed_s: int) -> None:
    with pytest.raises(WrongUse):
        counter_delta(0, now, bits=bits, elapsed_s=elapsed_s, speed_bps=0)


@st.composite
def sessions(draw: st.DrawFn) -> list[AccountingRecord]:
    """What an honest NAS sends of one session, from a start to perhaps a stop."""
    at = down = up = 0
    records = [AccountingRecord(at=T0, kind="start")]
    for gap, grown in draw(st.lists(st.tuples(st.integers(1, 900), QUANTITIES), max_size=8)):
        at, down, up = at + gap, down + grown, up + grown // 9
        records.append(
            AccountingRecord(
                at=after(at), kind="interim", down_bytes=down, up_bytes=up, session_s=at
            )
        )
    if draw(st.booleans()):
        records.append(
            AccountingRecord(
                at=after(at + 5), kind="stop", down_bytes=down + 7, up_bytes=up, session_s=at + 5
            )
        )
    return records


@settings(max_examples=300)
@given(sessions(), st.randoms(), st.integers(0, 9_000), st.sampled_from(["at_record", "linear"]))
def test_order_and_repetition_change_no_byte(
    records: list[AccountingRecord], chance: random.Random, seconds: int, mode: Any
) -> None:
    """Whatever is sent twice or comes late, a session's bytes are those it ended with."""
    expected = read_session(records)
    assert expected.down_bytes == max(record.down_bytes for record in records)
    assert expected.odd == ()
    mixed = [*records, *chance.choices(records, k=3)]
    chance.shuffle(mixed)
    assert read_session(mixed) == expected
    if len(records) > 1:  # a lost start is told by the session's own time
        rest = read_session(records[1:])
        assert (rest.start, rest.down_bytes) == (T0, expected.down_bytes)
    early, late = split_usage(expected, after(seconds), mode)
    assert early.down_bytes + late.down_bytes == expected.down_bytes
    assert early.up_bytes + late.up_bytes == expected.up_bytes
    assert min(early.down_bytes, early.up_bytes, late.down_bytes, late.up_bytes) >= 0


def records(*told: tuple[int, str, int]) -> Sequence[AccountingRecord]:
    return [
        AccountingRecord(at=after(at), kind=kind, down_bytes=down)  # type: ignore[arg-type]
        for at, kind, down in told
    ]


def test_what_a_nas_gets_wrong_is_named_and_not_billed() -> None:
    back = read_session(records((0, "start", 0), (600, "interim", 900), (1200, "interim", 400)))
    assert (back.down_bytes, back.closed) == (900, False)
    assert back.odd == ("interim at 2026-06-01T00:20:00Z counts less than before",)
    over = read_session(records((0, "start", 0), (600, "stop", 900), (900, "interim", 5_000)))
    assert (over.down_bytes, over.closed) == (900, True)
    assert over.odd == ("interim at 2026-06-01T00:15:00Z follows the stop",)
    with pytest.raises(Refused, match="no accounting record"):
        read_session([])


def test_a_reading_at_the_boundary_belongs_before_it() -> None:
    session = read_session(records((0, "start", 0), (3600, "interim", 100), (4000, "stop", 150)))
    for mode in ("at_record", "linear"):
        early, late = split_usage(session, after(3600), mode)  # type: ignore[arg-type]
        assert (early.down_bytes, late.down_bytes) == (100, 50)


def test_usage_of_a_closed_period_is_billed_late_and_once() -> None:
    june = dt.date(2026, 6, 30)
    july = Period(start=dt.date(2026, 7, 1), until=dt.date(2026, 8, 1))
    assert usage_period(june, dt.date(2026, 7, 4), july.start, 1) == (july, True)
    assert usage_period(june, dt.date(2026, 7, 4), dt.date(2026, 6, 1), 1)[1] is False
    # recorded while June was still open, but June is closed by now
    assert usage_period(june, june, july.start, 1) == (july, True)


def test_double_billing_is_refused_by_its_dates() -> None:
    may = Period(start=dt.date(2026, 5, 1), until=dt.date(2026, 6, 1))
    rest = Period(start=dt.date(2026, 5, 20), until=dt.date(2026, 6, 10))
    refuse_double("svc-1", [rest, Period(start=may.start, until=rest.start)])
    with pytest.raises(Refused, match="twice from 2026-05-20 to 2026-06-01"):
        refuse_double("svc-1", [rest, may])


def test_tax_is_asked_once_for_all_lines() -> None:
    (tax,) = flat_tax("VAT", 1_900)(account(), {"1": 1_001, "2": 1_001, "3": -500})
    assert (tax.net_minor, tax.tax_minor, tax.name) == (1_502, 285, "VAT")
