"""Reads a record's fields by type, and collects what is wrong instead of stopping at it."""

from __future__ import annotations

import datetime as dt
import difflib
import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from .device import SecretRef
from .errors import BadField, BadFile
from .importers_tree import Items, Node, Place, Record, Scalar, shown_name
from .money import minor_units
from .units import check_code

_MAX_TEXT = 200
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_USER = re.compile(r"[\x21-\x7e]{1,64}")
_REF = re.compile(
    r"env:[A-Za-z_][A-Za-z0-9_]{0,127}|file:/?[^\x00-\x1f\x7f]{1,400}|keyring:[^/\s]{1,100}/\S{1,100}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to correct, and where."""

    place: Place
    text: str

    def __str__(self) -> str:
        """`FILE:LINE: FIELD: what is wrong`."""
        return f"{self.place}: {self.text}"


@dataclass(slots=True)
class Problems:
    """What was found wrong so far."""

    found: list[Problem] = field(default_factory=list)

    def add(self, place: Place, text: str) -> None:
        """Take note of a problem and go on."""
        self.found.append(Problem(place=place, text=text))

    def stop_if_any(self) -> None:
        """Raise BadFile with the problems in the order of the files' lines."""
        if not self.found:
            return
        ordered = sorted(self.found, key=lambda problem: (problem.place.file, problem.place.line))
        count = f"{len(ordered)} problem{'s' if len(ordered) > 1 else ''}"
        thing = "import"
        raise BadFile(
            thing,
            f"{count}, so nothing was written",
            "Correct the lines named and import the same files again.",
            tuple(str(problem) for problem in ordered),
        )


class Reader:
    """Takes the fields of one record; what cannot be taken is a problem and yields a stand-in.

    A stand-in never reaches the store: with a problem there is no batch.
    """

    def __init__(self, record: Record, problems: Problems) -> None:
        self.record = record
        self.problems = problems
        self._asked: set[str] = set()

    def text(self, name: str, default: str | None = None, *, limit: int = _MAX_TEXT) -> str:
        """Printable text; without a default it must be there and not be empty."""
        node = self._node(name)
        if node is None or not self.has(name):
            if default is None:
                self.problems.add(self.record.at(name), "is missing")
            return default or ""
        if not isinstance(node, Scalar):
            self.problems.add(node.place, "must be one value")
            return ""
        if not node.text.isprintable() or len(node.text) > limit:
            self.problems.add(node.place, f"must be printable text of at most {limit} characters")
            return ""
        return node.text

    def code(self, name: str, default: str | None = None) -> str:
        """An identifier of ours."""
        text = self.text(name, default)
        if text:
            try:
                check_code("", "it", text)
            except BadField as error:
                self.bad(name, error.problem.removeprefix("it "))
        return text

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number in low..high."""
        text = self.text(name, None if default is None else str(default))
        if not text:
            return low
        if not re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII) or not low <= int(text) <= high:
            self.bad(name, f"must be a whole number {low}..{high}, got {text!r}")
            return low
        return int(text)

    def choice(self, name: str, allowed: Collection[str], default: str | None = None) -> Any:
        """One of a few words, for a field whose type is the Literal of them; "" if it is none."""
        text = self.text(name, default)
        if text and text not in allowed:
            self.bad(name, f"must be {' or '.join(allowed)}, got {text!r}")
            return ""
        return text

    def flag(self, name: str) -> bool:
        """`true` or `false`; false if absent."""
        return bool(self.choice(name, ("true", "false"), "false") == "true")

    def date(self, name: str) -> dt.date:
        """A calendar date `YYYY-MM-DD`."""
        text = self.text(name)
        try:
            return dt.date.fromisoformat(text)
        except ValueError:
            if text:
                self.bad(name, f"must be a date like 2026-03-01, got {text!r}")
            return dt.date.min

    def moment(self, name: str) -> dt.datetime | dt.date:
        """A date, or an instant with its zone."""
        text = self.text(name)
        try:
            if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
                return dt.date.fromisoformat(text)
            instant = dt.datetime.fromisoformat(text)
        except ValueError:
            instant = dt.datetime.min  # noqa: DTZ901  a stand-in without a zone, refused below
        if instant.tzinfo is None:
            if text:
                self.bad(
                    name, f"must be like 2026-03-01 or 2026-03-01T08:00:00+01:00, got {text!r}"
                )
            return dt.date.min
        return instant.astimezone(dt.UTC)

    def minor(self, name: str, exponent: int) -> int:
        """An exact decimal amount in minor units, e.g. 29.99 with exponent 2 is 2999."""
        text = self.text(name)
        try:
            return minor_units(text, exponent)
        except ValueError as error:
            if text:
                self.bad(name, str(error))
            return 0

    def secret(self, name: str) -> SecretRef:
        """Where a secret is kept. What is written there instead is never shown."""
        node = self._node(name)
        if node is None or not self.has(name):
            return SecretRef()
        if not isinstance(node, Scalar) or not _REF.fullmatch(node.text):
            self.problems.add(
                node.place,
                "must say where the secret is kept: env:NAME, file:/PATH or keyring:SERVICE/NAME "
                "(what is written there is not shown; if it is a secret, change it)",
            )
            return SecretRef()
        return SecretRef(ref=node.text)

    def host(self, name: str, default: str | None = None) -> str:
        """A host name or an IP address."""
        text = self.text(name, default, limit=253)
        if text and not _HOST.fullmatch(text):
            try:
                ipaddress.ip_address(text)
            except ValueError:
                self.bad(name, f"must be a host name or an IP address, got {text!r}")
        return text

    def user(self, name: str) -> str:
        """A login name on a device; "" if absent."""
        text = self.text(name, "")
        if text and not _USER.fullmatch(text):
            self.bad(name, "must be printable ASCII without spaces, at most 64 characters")
        return text

    def child(self, name: str) -> Reader:
        """The reader of a nested record; of an empty one if it is absent."""
        node = self._node(name)
        if isinstance(node, Record):
            return Reader(node, self.problems)
        if node is not None and self.has(name):
            self.problems.add(node.place, "must be a mapping of fields")
        place = node.place if node else self.record.at(name)
        return Reader(Record(fields={}, place=place), self.problems)

    def items(self, name: str) -> tuple[Reader, ...]:
        """The readers of a list of records; none if it is absent."""
        node = self._node(name)
        if node is None or not self.has(name):
            return ()
        records = (
            [item for item in node.items if isinstance(item, Record)]
            if isinstance(node, Items)
            else []
        )
        if not isinstance(node, Items) or len(records) != len(node.items):
            self.problems.add(node.place, "must be a list of mappings")
        return tuple(Reader(record, self.problems) for record in records)

    def rest(self) -> dict[str, str]:
        """All fields not asked for, as text: the platform's own."""
        names = [name for name in self.record.fields if name not in self._asked]
        return {name: self.text(name) for name in names}

    def has(self, name: str) -> bool:
        """Whether anything is written in the field."""
        node = self.record.fields.get(name)
        return node is not None and not (isinstance(node, Scalar) and not node.text)

    def bad(self, name: str, text: str) -> None:
        """Take note of a problem with one field."""
        self.problems.add(self.record.at(name), text)

    def done(self) -> None:
        """Report the fields that nobody asked for; their values are not shown."""
        for name, node in self.record.fields.items():
            if name not in self._asked:
                near = difflib.get_close_matches(name, self._asked, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                known = f" {shown_name(name)}" if not node.place.field else ""
                self.problems.add(node.place, f"unknown field{known}{hint}")

    def _node(self, name: str) -> Node | None:
        self._asked.add(name)
        return self.record.fields.get(name)
