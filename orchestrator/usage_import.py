"""Usage from a CSV file, by a mapping file that says which column is what, in which unit."""

from __future__ import annotations

import csv
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, cast

import yaml
from sqlalchemy import Engine
from sqlmodel import Session

from billing_bridge import METER_UNITS, FileRecord, Meter, UsageProblem, keep_problems, keep_records
from inventory import BadFile, digest, services_known, services_of_logins, zone

from .database import database_now, writing
from .settings import Settings
from .usage import Counted

BATCH = 500
MAX_BYTES = 256 * 1024 * 1024
_NAMES = {"by", "service", "since", "until", "window_s", "time_zone", "key", "meters"}
_UNITS: Mapping[str, Mapping[str, int]] = {
    "byte": {
        "B": 1, "byte": 1, "bytes": 1, "octet": 1, "octets": 1,
        **{f"{letter}B": 1000**power for power, letter in enumerate("kMGTP", 1)},
        **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGTP", 1)},
    },
    "bit_per_s": {
        "bit/s": 1, "bit_per_s": 1,
        **{f"{letter}bit/s": 1000**power for power, letter in enumerate("kMGT", 1)},
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterColumn:
    """A meter's column; its unit stands in the mapping, or in a column of its own."""

    meter: Meter
    column: str
    unit: str = ""
    unit_column: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What a mapping file says; "" = there is no such column."""

    by: str
    service: str
    since: str
    until: str
    window_s: int
    time_zone: str
    key: str
    meters: tuple[MeterColumn, ...]


def import_usage(
    engine: Engine, settings: Settings, file: Path, mapping: Path, actor: str
) -> Counted:
    """Post what a file says that was never posted; nothing where a line cannot be read.

    Raises BadFile, naming every line (the first twenty). Records of nobody, of the future, of an
    unknown unit or that contradict each other become exceptions. Done again it does nothing.
    """
    mapped = read_mapping(mapping)
    records, odd = _read(file, mapped)
    total = Counted()
    for start in range(0, len(records), BATCH):
        part = records[start : start + BATCH]
        with writing(engine) as session:
            now = database_now(session)
            posted = keep_records(
                session,
                _owned(session, part, mapped.by),
                now,
                actor=actor,
                backdate_days=settings.backdate_days,
            )
        total += Counted(
            events=len(posted.events), unchanged=posted.unchanged, exceptions=posted.exceptions
        )
    if odd:
        with writing(engine) as session:
            total += Counted(exceptions=keep_problems(session, odd, database_now(session)))
    return total


def read_mapping(path: Path) -> Mapped:
    """Return what the mapping says; BadFile where it is no mapping, or names an unknown unit."""
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadFile(str(path), f"cannot be read: {type(error).__name__}") from error
    problems = []
    told = told if isinstance(told, dict) else {}
    problems += [f"{name} is no field of a mapping" for name in sorted(map(str, told)) if
                 name not in _NAMES]  # fmt: skip
    problems += [f"{name} is missing" for name in ("service", "since", "meters") if
                 not told.get(name)]  # fmt: skip
    window_s = told.get("window_s", 0)
    if bool(told.get("until")) == bool(window_s) or not isinstance(window_s, int) or window_s < 0:
        problems.append("until (a column) or window_s (seconds): one of them is needed")
    if told.get("by", "service") not in ("service", "login"):
        problems.append("by is service or login")
    meters = told.get("meters") if isinstance(told.get("meters"), dict) else {}
    columns = [_meter(str(name), said, problems) for name, said in (meters or {}).items()]
    if problems:
        raise BadFile(
            str(path), "is not a mapping that can be used", "Correct it.", tuple(problems)
        )
    zone(str(told.get("time_zone", "UTC")))
    return Mapped(
        by=str(told.get("by", "service")),
        service=str(told["service"]),
        since=str(told["since"]),
        until=str(told.get("until", "")),
        window_s=window_s,
        time_zone=str(told.get("time_zone", "UTC")),
        key=str(told.get("key", "")),
        meters=tuple(columns),
    )


def _meter(name: str, said: Any, problems: list[str]) -> MeterColumn:
    said = said if isinstance(said, dict) else {"column": said}
    unit, unit_column = str(said.get("unit", "")), str(said.get("unit_column", ""))
    if name not in METER_UNITS:
        problems.append(f"meters: {name} is none of {', '.join(METER_UNITS)}")
    elif not unit_column and unit not in _UNITS[METER_UNITS[name]]:
        known = ", ".join(_UNITS[METER_UNITS[name]])
        problems.append(f"meters: {name}: unit {unit!r} is none of {known}")
    if not said.get("column"):
        problems.append(f"meters: {name}: column is missing")
    return MeterColumn(
        meter=cast("Meter", name),
        column=str(said.get("column", "")),
        unit=unit,
        unit_column=unit_column,
    )


def _read(file: Path, mapped: Mapped) -> tuple[list[FileRecord], list[UsageProblem]]:
    records: list[FileRecord] = []
    odd: list[UsageProblem] = []
    problems: list[str] = []
    for line, row in _rows(file, mapped):
        try:
            for column in mapped.meters:
                found = _record(line, row, mapped, column)
                (records if isinstance(found, FileRecord) else odd).append(found)  # type: ignore[arg-type]  # each has its list
        except (ValueError, OverflowError) as error:
            problems.append(f"{file.name}:{line}: {error}")
    if problems:
        raise BadFile(
            str(file),
            f"has lines that cannot be read ({len(problems)}); nothing was imported",
            "Correct them and import the file again.",
            tuple(problems),
        )
    return records, odd


def _rows(file: Path, mapped: Mapped) -> Iterator[tuple[int, Mapping[str, str]]]:
    wanted = {mapped.service, mapped.since, mapped.until, mapped.key}
    wanted |= {name for each in mapped.meters for name in (each.column, each.unit_column)}
    try:
        if file.stat().st_size > MAX_BYTES:
            raise BadFile(str(file), f"is larger than {MAX_BYTES} bytes", "Cut it in parts.")
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.DictReader(text, strict=True)
            if missing := sorted(wanted - {""} - set(reader.fieldnames or ())):
                raise BadFile(str(file), f"has no column {', '.join(missing)}")
            for row in reader:
                yield (
                    reader.line_num,
                    {name: (value or "").strip() for name, value in row.items() if name in wanted},
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadFile(str(file), f"cannot be read: {error}") from error


def _record(
    line: int, row: Mapping[str, str], mapped: Mapped, column: MeterColumn
) -> FileRecord | UsageProblem:
    since = _instant(row[mapped.since], mapped.time_zone)
    until = (
        since + dt.timedelta(seconds=mapped.window_s)
        if mapped.window_s
        else _instant(row[mapped.until], mapped.time_zone)
    )
    identifier = row[mapped.service]
    if not identifier or not identifier.isprintable():
        raise ValueError(f"{mapped.service} names nobody")
    amount = _amount(row[column.column], column.column)
    unit = row[column.unit_column] if column.unit_column else column.unit
    factor = _UNITS[METER_UNITS[column.meter]].get(unit)
    if factor is None:
        return _unknown_unit(line, row, column, identifier, since, until)
    exact = amount * factor
    if exact != int(exact):
        raise ValueError(f"{column.column} {amount} {unit} is no whole number of bytes or bit/s")
    return FileRecord(
        line=line,
        identifier=identifier,
        service_id="",
        meter=column.meter,
        since=since,
        until=until,
        quantity=int(exact),
        unit=METER_UNITS[column.meter],
        key=row[mapped.key] if mapped.key else "",
    )


def _amount(text: str, column: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{column} {text[:40]!r} is not a number") from None
    if not amount.is_finite() or abs(amount) >= Decimal(10) ** 30:
        raise ValueError(f"{column} {text[:40]!r} is not a number of anything")
    return amount


def _instant(text: str, zone_name: str) -> dt.datetime:
    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:40]!r} is not a time like 2026-06-01T12:00:00Z") from None
    if instant.tzinfo is not None:
        return instant.astimezone(dt.UTC)
    local = instant.replace(tzinfo=zone(zone_name))
    found = local.astimezone(dt.UTC)
    if found.astimezone(zone(zone_name)).replace(tzinfo=None) != instant:
        raise ValueError(f"{text!r} does not exist in {zone_name}: the clocks go forward there")
    if local.replace(fold=1).utcoffset() != local.utcoffset():
        raise ValueError(f"{text!r} is twice in {zone_name}: write the offset from UTC")
    return found


def _owned(session: Session, records: Sequence[FileRecord], by: str) -> list[FileRecord]:
    names = {record.identifier for record in records}
    if by == "login":
        owners = services_of_logins(session, names)
    else:
        owners = dict.fromkeys(names & services_known(session, names).keys(), "")
        owners = {name: name for name in owners}
    return [replace(record, service_id=owners.get(record.identifier, "")) for record in records]


def _unknown_unit(
    line: int,
    row: Mapping[str, str],
    column: MeterColumn,
    identifier: str,
    since: dt.datetime,
    until: dt.datetime,
) -> UsageProblem:
    unit = row[column.unit_column]
    plain = unit if unit.isprintable() else ascii(unit)
    return UsageProblem(
        kind="unknown_unit",
        source="csv",
        record_key=digest(sorted(row.items()))[:40] + f":{column.meter}",
        identifier=identifier,
        since=since,
        until=until,
        unit=plain[:40],
        evidence={"why": f"nobody knows the unit {plain[:40]}", "line": line, "row": dict(row)},
    )
