"""CoA requests that may still be on their way: while one of them could arrive, its change is open.

Nothing calls a datagram back, and a NAS that keeps to RFC 5176 section 6.3 takes one that is up to
`settings.coa_window_s` old. When the last one went out that nobody answered is written down with
what was reached; who finds a change decided and not applied takes it that one went out just now;
and what is sent later stands in the store first (W1). The close waits for it, the next change with
it. Nothing is decided by this: the close still claims what it reads and nothing else.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import bindparam, select, update
from sqlmodel import Session

from inventory import table_of
from workflows import CoaReply

from .database import database_now, writing
from .journal import SESSION_PREFIX
from .office import Office
from .rows import ChangeRow, ExceptionRow, ParticipantRow

AGAIN_S = 5  # what was written down so long ago is written anew before the next request
_CHANGE = table_of(ChangeRow)
_PART = table_of(ParticipantRow)
_EXCEPTION = table_of(ExceptionRow)
_OF_SET = _PART.c.set_id == bindparam("of_set")
_NAMED = _PART.c.name.in_(bindparam("names", expanding=True))
_SENT = select(_PART.c.name, _PART.c.sent_at).where(_OF_SET, _PART.c.sent_at.is_not(None))
_DOUBT = (
    update(_PART)
    .where(
        _OF_SET,
        _PART.c.name.in_(
            select(SESSION_PREFIX + _CHANGE.c.change_id).where(
                _CHANGE.c.set_id == bindparam("of_set"),
                _CHANGE.c.applied_at.is_(None),
                _CHANGE.c.state.in_(("COMMITTED", "REVERSED")),
            )
        ),
    )
    .values(sent_at=bindparam("now"))
)
_MARKED = update(_PART).where(_OF_SET, _NAMED).values(sent_at=bindparam("now"))
_TAKEN_BACK = (
    update(_PART)
    .where(_OF_SET, _PART.c.name == bindparam("at_name"), _PART.c.sent_at == bindparam("marked"))
    .values(sent_at=bindparam("before"))
)
_DOUBTED = select(_EXCEPTION.c.participant).where(
    _EXCEPTION.c.set_id == bindparam("of_set"), _EXCEPTION.c.resolved_at.is_(None)
)


@dataclass(slots=True)
class Outbox:
    """What one pass tells the NASes, by the participants' names."""

    office: Office
    set_id: str
    left: list[str]  # of applied changes: what is sent to them is written down ahead
    unanswered: set[str] = field(default_factory=set)
    before: dict[str, dt.datetime] = field(default_factory=dict)  # of earlier passes
    marked: dict[str, dt.datetime] = field(default_factory=dict)
    _at_s: float = 0.0

    def ahead(self, name: str) -> None:
        """Call before each request; DatabaseProblem means that nothing may be sent."""
        if name not in self.left:
            return
        now_s = self.office.clock.boottime_s()
        if name in self.marked and now_s - self._at_s < AGAIN_S:
            return
        with writing(self.office.engine) as session:
            if not self.marked:
                self.before = _sent(session, self.set_id)
            # until it is written anew more may be sent, and nobody hears of it if we die
            latest = database_now(session) + dt.timedelta(seconds=AGAIN_S)
            where = {"of_set": self.set_id, "names": self.left, "now": latest}
            session.connection().execute(_MARKED, where)
        self.marked |= dict.fromkeys(self.left, latest)
        self._at_s = now_s

    def done(self, name: str) -> None:
        """Say that nothing more is sent to this participant in this pass."""
        if name in self.left:
            self.left.remove(name)

    def heard(self, name: str, reply: CoaReply) -> None:
        """Note whether every copy of a request has been answered."""
        if reply.kind == "SILENCE" or reply.copies > 1:
            self.unanswered.add(name)

    def keep(self, session: Session, now: dt.datetime) -> None:
        """Write down who has not answered, and forget the sending to those who have.

        What was doubted before still is.
        """
        if self.unanswered:
            where = {"of_set": self.set_id, "names": sorted(self.unanswered), "now": now}
            session.connection().execute(_MARKED, where)
        rows = [
            {"of_set": self.set_id, "at_name": name, "marked": at, "before": self.before.get(name)}
            for name, at in self.marked.items()
            if name not in self.unanswered
        ]
        if rows:
            session.connection().execute(_TAKEN_BACK, rows)


def doubt(session: Session, set_id: str) -> None:
    """Take it that whoever drove this set before has just sent something: it is not applied yet."""
    where = {"of_set": set_id, "now": database_now(session)}
    session.connection().execute(_DOUBT, where)


def _sent(session: Session, set_id: str) -> dict[str, dt.datetime]:
    found = session.connection().execute(_SENT, {"of_set": set_id})
    return {row.name: row.sent_at for row in found}


def astray(office: Office, session: Session, set_id: str, now: dt.datetime) -> Mapping[str, float]:
    """Return the seconds for which something may still arrive, by participant; most have none."""
    window_s = office.settings.coa_window_s
    left = {
        # never longer, though it was written down ahead or the clock was set back since
        name: min(window_s - (now - at).total_seconds(), window_s)
        for name, at in _sent(session, set_id).items()
    }
    return {name: left_s for name, left_s in left.items() if left_s > 0}


def astray_left(office: Office, session: Session, set_id: str) -> float:
    """Return the seconds until nothing can arrive any more; what a person is asked is no matter."""
    found = astray(office, session, set_id, database_now(session))
    if not found:
        return 0.0
    doubted = set(session.connection().execute(_DOUBTED, {"of_set": set_id}).scalars())
    return max((left_s for name, left_s in found.items() if name not in doubted), default=0.0)
