"""Which services a change set is about: a file, or filters, with the count shown first."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from inventory import BadFile, UnknownName, WrongUse, find_plan, list_services, services_many
from orchestrator.database import reading

from .output import say

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlmodel import Session

MAX_BYTES = 64 * 1024 * 1024
Pairs = tuple[tuple[str, str], ...]  # (service_id, plan_code)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which services, and the plan they are to reach; "" = not given."""

    site: str = ""
    plan: str = ""
    device: str = ""
    to: str = ""

    def given(self) -> str:
        """The filters in words; "" where there are none."""
        named = (("site", self.site), ("plan", self.plan), ("device", self.device))
        return ", ".join(f"{name} {value}" for name, value in named if value)


def select_changes(
    service: str, plan: str, file: Path | None, filters: Filters
) -> Callable[[Engine], Pairs] | None:
    """Return what finds the (service, plan) pairs of a set; None where one service is named.

    WrongUse unless exactly one of the three ways is used.
    """
    ways = [bool(service), file is not None, bool(filters.given() or filters.to)]
    if sum(ways) != 1:
        raise WrongUse(
            "service tier",
            "needs one of: SERVICE PLAN, --file CSV, or filters with --to PLAN",
            "Examples: bandmaster service tier --help",
        )
    if service:
        if not plan:
            raise WrongUse(service, "needs the plan to reach", "See: bandmaster plan list")
        return None
    if file is not None:
        return lambda engine: _from_file(engine, file)
    if not filters.to or not filters.given():
        raise WrongUse(
            "service tier", "needs --to PLAN and at least one of --site, --plan, --device"
        )
    return lambda engine: _from_filters(engine, filters)


def _from_filters(engine: Engine, filters: Filters) -> Pairs:
    with reading(engine) as session:
        find_plan(session, filters.to)
        found = list_services(session, site=filters.site, plan=filters.plan, device=filters.device)
    active = [service for service in found if service.state == "active"]
    there = [service for service in active if service.plan_code == filters.to]
    pairs = tuple(
        (service.service_id, filters.to) for service in active if service.plan_code != filters.to
    )
    say(
        f"Matched {len(found)} services ({filters.given()}): {len(pairs)} to change, "
        f"{len(there)} have {filters.to} already, {len(found) - len(active)} are not active."
    )
    return pairs


def _from_file(engine: Engine, path: Path) -> Pairs:
    rows = _read(path)
    with reading(engine) as session:
        problems = _unknown(session, path, rows)
    if problems:
        raise _bad_file(path, problems)
    say(f"{path}: {len(rows)} services.")
    return tuple((service, plan) for _line, service, plan in rows)


def _read(path: Path) -> list[tuple[int, str, str]]:
    """Return (line, service, plan) of every row; BadFile with every malformed line."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise WrongUse(str(path), f"is larger than {MAX_BYTES} bytes", "Cut it into parts.")
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUse(str(path), f"cannot be read: {error}", "Give a CSV in UTF-8.") from error
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if [name.strip() for name in reader.fieldnames or ()] != ["service", "plan"]:
        raise WrongUse(f"{path}:1", "the first line must be service,plan")
    rows: list[tuple[int, str, str]] = []
    problems: list[str] = []
    first: dict[str, int] = {}
    try:
        for row in reader:
            line = reader.line_num
            service, plan = (row["service"] or "").strip(), (row["plan"] or "").strip()
            if not service or not plan or None in row:
                problems.append(f"{path}:{line}: must hold a service and a plan, nothing more")
            elif not (service + plan).isprintable():
                problems.append(f"{path}:{line}: must hold printable text")
            elif first.setdefault(service, line) != line:
                problems.append(f"{path}:{line}: service {service} stands in line {first[service]}")
            rows.append((line, service, plan))
    except csv.Error as error:
        problems.append(f"{path}:{reader.line_num}: {error}")
    if problems:
        raise _bad_file(path, problems)
    return rows


def _unknown(session: Session, path: Path, rows: list[tuple[int, str, str]]) -> list[str]:
    """Return what the inventory does not know, by line."""
    problems: dict[int, str] = {}
    for code in sorted({plan for _line, _service, plan in rows}):
        try:
            find_plan(session, code)
        except UnknownName as error:
            problems |= {
                line: f"plan: {error} {error.remedy}" for line, _, plan in rows if plan == code
            }
    try:
        services_many(session, [service for _line, service, _plan in rows])
    except UnknownName:
        for line, service, _plan in rows:  # once more, to find each line that is wrong
            try:
                services_many(session, (service,))
            except UnknownName as error:
                problems[line] = f"service: {error} {error.remedy}"
    return [f"{path}:{line}: {text}" for line, text in sorted(problems.items())]


def _bad_file(path: Path, problems: list[str]) -> BadFile:
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    return BadFile(
        str(path),
        f"{count}, so nothing was planned",
        "Correct the lines named and give the same command again.",
        tuple(problems),
    )
