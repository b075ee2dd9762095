"""Files as trees of text in which every node knows its file, line and field."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

MAX_BYTES = 32 * 1024 * 1024  # a line takes about 100 bytes: 300,000 of them, and no endless file
MAX_DEPTH = 8  # the deepest field there is, attachments' objects, lies at 5
_SHOWN_NAME = 40

# libyaml is ten times as fast; only its events are used, so nothing is ever constructed
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_PLAIN_NULLS = ("", "~", "null", "Null", "NULL")


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something is written; `line` 0 = the file as a whole, `field` "" = the record."""

    file: str
    line: int = 0
    field: str = ""

    def __str__(self) -> str:
        """As editors open it: `FILE:LINE`, then the field."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.field}" if self.field else where


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """One value as it is written, never interpreted: `no`, 012 and 29.90 stay what they are."""

    text: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Items:
    """A list."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """Named fields; `labels` gives the file's own name of a field where it differs."""

    fields: Mapping[str, Node]
    place: Place
    labels: Mapping[str, str] = field(default_factory=dict)

    def at(self, name: str) -> Place:
        """Return where the field is written, or would have to be."""
        if name in self.fields:
            return self.fields[name].place
        label = self.labels.get(name, name)
        prefix = f"{self.place.field}." if self.place.field and name not in self.labels else ""
        return Place(file=self.place.file, line=self.place.line, field=f"{prefix}{label}")


Node = Scalar | Items | Record


class BadPlace(Exception):
    """A file cannot be read any further."""

    def __init__(self, place: Place, problem: str) -> None:
        self.place = place
        self.problem = problem
        super().__init__(f"{place}: {problem}")


def read_text(path: Path) -> str:
    """Return a file's text, UTF-8 with or without a mark; BadPlace if it is not that."""
    place = Place(file=str(path))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadPlace(place, f"cannot be read: {error.strerror}") from error
    if len(raw) > MAX_BYTES:
        raise BadPlace(place, f"is larger than {MAX_BYTES // 1024**2} MiB: split it")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise BadPlace(Place(file=str(path), line=line), "is not UTF-8 text") from error


def yaml_tree(path: Path) -> Record:
    """Return a YAML file's one mapping; BadPlace for aliases, tags, repeated keys and depth."""
    text = read_text(path)
    file = str(path)
    try:
        return _document(file, yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark: Any = error.problem_mark
        place = Place(file=file, line=0 if mark is None else mark.line + 1)
        # only the parser's own words: its snippet would print whatever stands in the line
        raise BadPlace(place, f"is not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        line = text.count("\n", 0, getattr(error, "position", 0)) + 1
        raise BadPlace(Place(file=file, line=line), "holds a control character") from None


def _document(file: str, events: Iterator[Any]) -> Record:
    node: Node | None = None
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            if node is not None:
                place = Place(file=file, line=_line(event))
                raise BadPlace(place, "a second document begins: write one per file")
            node = _node(file, next(events), events, field="", depth=1)
    if not isinstance(node, Record):
        raise BadPlace(Place(file=file, line=1), "must hold lists like `tiers:` or `services:`")
    return node


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _node(file: str, event: Any, events: Iterator[Any], *, field: str, depth: int) -> Node:
    place = Place(file=file, line=_line(event), field=field)
    if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
        raise BadPlace(place, "anchors and aliases are not allowed: write the value out")
    if event.tag is not None:
        raise BadPlace(place, "tags are not allowed")
    if depth > MAX_DEPTH:
        raise BadPlace(place, "is nested too deeply")
    if isinstance(event, yaml.ScalarEvent):
        empty = event.implicit[0] and event.value in _PLAIN_NULLS
        return Scalar(text="" if empty else event.value, place=place)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[Node] = []
        for item in events:
            if isinstance(item, yaml.SequenceEndEvent):
                break
            items.append(_node(file, item, events, field=field, depth=depth + 1))
        return Items(items=tuple(items), place=place)
    return _mapping(file, events, place, depth)


def _mapping(file: str, events: Iterator[Any], place: Place, depth: int) -> Record:
    fields: dict[str, Node] = {}
    for key in events:
        if isinstance(key, yaml.MappingEndEvent):
            break
        line = _line(key)
        if not isinstance(key, yaml.ScalarEvent) or key.tag is not None or key.anchor is not None:
            raise BadPlace(Place(file=file, line=line, field=place.field), "is not a plain name")
        name = shown_name(key.value)
        path = f"{place.field}.{name}" if place.field else name
        if key.value in fields:
            raise BadPlace(Place(file=file, line=line, field=path), "is written twice")
        value = next(events)
        fields[key.value] = _node(file, value, events, field=path, depth=depth + 1)
    return Record(fields=fields, place=place)


def shown_name(name: str) -> str:
    """Return a field's name fit for a message."""
    return name if name.isprintable() and len(name) <= _SHOWN_NAME else ascii(name[:_SHOWN_NAME])


def csv_records(path: Path, columns: Mapping[str, str], roles: Iterable[str]) -> Iterator[Record]:
    """Yield one record per row of a CSV file of services.

    `columns` maps a header's name to the record's field. A column named like one of `roles` holds
    a device and `ROLE.FIELD` its fields; they become the items of `attachments`. Empty cells are
    left out. BadPlace where the file as a whole, or a row's shape, is wrong.
    """
    text = read_text(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    file = str(path)
    header = next(_rows(file, reader), (1, []))[1]
    _check_header(file, header, columns, tuple(roles))
    for line, cells in _rows(file, reader):
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            problem = f"has {len(cells)} cells where the header has {len(header)}"
            raise BadPlace(Place(file=file, line=line), problem)
        yield _row(Place(file=file, line=line), dict(zip(header, cells, strict=True)), columns)


def _rows(file: str, reader: Any) -> Iterator[tuple[int, list[str]]]:
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise BadPlace(Place(file=file, line=line), f"is not CSV: {error}") from None
        yield line, [cell.strip() for cell in cells]


def _check_header(
    file: str, header: list[str], columns: Mapping[str, str], roles: tuple[str, ...]
) -> None:
    place = Place(file=file, line=1)
    if len(header) == 1 and ";" in header[0]:
        raise BadPlace(place, "cells must be separated by commas, not semicolons")
    for name in header:
        role, dot, rest = name.partition(".")
        if name not in columns and not (role in roles and (rest or not dot)):
            known = ", ".join((*columns, *roles, *(f"{role}.FIELD" for role in roles)))
            raise BadPlace(place, f"unknown column {shown_name(name)}; known are {known}")
        if header.count(name) > 1:
            raise BadPlace(place, f"column {shown_name(name)} occurs twice")
    if "service" not in header:
        raise BadPlace(place, "column service is missing")


def _row(place: Place, cells: dict[str, str], columns: Mapping[str, str]) -> Record:
    fields: dict[str, Node] = {}
    places: dict[str, dict[str, Node]] = {}
    for column, text in cells.items():
        if not text:
            continue
        node = Scalar(text=text, place=Place(file=place.file, line=place.line, field=column))
        if column in columns:
            fields[columns[column]] = node
        else:
            role, _, name = column.partition(".")
            places.setdefault(role, {})[name or "device"] = node
    attachments: list[Node] = []
    for role, found in places.items():
        at = Place(file=place.file, line=place.line, field=role)
        named: dict[str, Node] = {"role": Scalar(text=role, place=at), **found}
        attachments.append(Record(fields=named, place=at, labels={"device": role}))
    fields["attachments"] = Items(items=tuple(attachments), place=place)
    labels = {name: column for column, name in columns.items()}
    return Record(fields=fields, place=place, labels=labels)
