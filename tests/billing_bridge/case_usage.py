"""Billing cases of usage, put to the functions that rate and meter it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from billing_bridge import (
    AccountingRecord,
    BlockStep,
    PercentileMode,
    UsageStep,
    blocks_each,
    blocks_top,
    circuit_95,
    committed,
    counter_delta,
    duration,
    graduated,
    increment,
    joined_octets,
    minimum_true_up,
    overage,
    package,
    percentile_95,
    read_session,
    split_usage,
    volume,
)

Given = dict[str, Any]
EPOCH = dt.datetime(2026, 6, 1, tzinfo=dt.UTC)


def steps(given: Given) -> list[UsageStep]:
    return [
        UsageStep(
            up_to=tier.get("up_to") or 0,
            unit_minor=Fraction(str(tier["unit"])),
            flat_minor=tier.get("flat", 0),
        )
        for tier in given["tiers"]
    ]


def blocks(given: Given) -> list[BlockStep]:
    most = [max(0, tier.get("max_blocks") or 0) for tier in given["tiers"]]
    return [
        BlockStep(size=tier["block"], price_minor=tier["price"], most=limit)
        for tier, limit in zip(given["tiers"], most, strict=True)
    ]


def part(given: Given) -> Fraction:
    return Fraction(given.get("num", 1), given.get("den", 1))


def run_graduated(given: Given) -> Given:
    zero = given.get("flat_when_zero", False)
    lines = graduated(given["qty"], steps(given), flat_when_zero=zero)
    return {"lines": list(lines), "total": sum(lines)}


def run_volume(given: Given) -> Given:
    return {"total": volume(given["qty"], steps(given))}


def run_progressive(given: Given) -> Given:
    return {"increment": increment(given["before"], given["qty"], steps(given))}


def run_blocks_all(given: Given) -> Given:
    lines = blocks_each(given["qty"], blocks(given))
    return {"lines": list(lines), "total": sum(lines)}


def run_blocks_top(given: Given) -> Given:
    return {"total": blocks_top(given["qty"], blocks(given))}


def run_package(given: Given) -> Given:
    return {"total": package(given["qty"], given["free"], given["size"], given["price"])}


def run_minimum(given: Given) -> Given:
    return {"true_up": minimum_true_up(given["minimum"], given["billed"])}


def run_allowance(given: Given) -> Given:
    over = overage(
        given["used_bytes"],
        given["included_bytes"] * part(given),
        given["block_bytes"],
        given["block_price"],
        given.get("cap", 0),
    )
    return {"blocks": over.blocks, "amount": over.amount_minor}


def run_session_rate(given: Given) -> Given:
    assert sum(given["splits"]) == given["seconds"]
    return {"total": duration(given["splits"], given["per_second"], 1)}


def run_increments(given: Given) -> Given:
    price, step = given["price_per_minute"], given["increment_s"]
    return {"total": duration([given["seconds"]], price, 60, step)}


def samples(runs: Sequence[Sequence[int]]) -> list[int]:
    return [value for count, value in runs for _ in range(count)]


def run_p95(given: Given) -> Given:
    measured = samples(given["runs"])
    assert len(measured) == given["n"]
    found = percentile_95(measured, given.get("expected_n", 0))
    return {
        "discard": found.discarded,
        "rank_from_bottom": found.rank,
        "value": found.value,
        "coverage_pct": f"{found.coverage_bp // 100}.{found.coverage_bp % 100:02d}",
    }


def run_p95dir(given: Given) -> Given:
    """`in` and `out` are the router's words: what it received and sent."""
    mode: PercentileMode = "per_direction"
    if given["mode"] != "per_direction":
        mode = "per_sample_max" if "max" in given["mode"] else "sum"
    received, sent = samples(given["in_runs"]), samples(given["out_runs"])
    each = circuit_95(received, sent)
    value = circuit_95(received, sent, mode).billed.value
    return {"in": each.down.value, "out": each.up.value, "value": value}


def run_commit(given: Given) -> Given:
    found = committed(
        given["commit"],
        given["p95"],
        given["commit_price"],
        given["over_price"],
        part=part(given),
    )
    return {"overage": found.over, "charge": found.amount_minor}


def run_counter(given: Given) -> Given:
    found = counter_delta(
        given["prev"],
        given["cur"],
        bits=given["bits"],
        elapsed_s=given["seconds"],
        speed_bps=given.get("ifspeed_bps", 0),
        restarted=any(given[name] for name in given if "reset" in name or "discon" in name),
    )
    return {"delta": found.octets if found.quality == "ok" else None, "quality": found.quality}


def run_gigawords(given: Given) -> Given:
    return {"bytes": joined_octets(given.get("gigawords") or 0, given["octets"])}


def record(given: Given) -> AccountingRecord:
    """The cases know one direction and seconds from any moment."""
    word = given.get("st", "interim").lower()
    return AccountingRecord(
        at=EPOCH + dt.timedelta(seconds=given["t"]),
        kind="start" if word == "start" else "stop" if word == "stop" else "interim",
        down_bytes=joined_octets(given.get("gigawords") or 0, given["b"]),
        session_s=given.get("session_time", -1),
    )


def run_radius(given: Given) -> Given:
    found = read_session(record(each) for each in given["records"])
    start = int((found.start - EPOCH).total_seconds())
    return {"total": found.down_bytes, "start": start, "closed": found.closed}


def run_radius_split(given: Given) -> Given:
    session = read_session(record(each) for each in given["records"])
    boundary = EPOCH + dt.timedelta(seconds=given["boundary"])
    before, after = split_usage(session, boundary, given["mode"])
    return {"before": before.down_bytes, "after": after.down_bytes}
