"""What must be true whoever was killed: read by SQL and from the devices, not by our own code.

P1 to P9 are the invariants of the commit protocol: see tests/kills/README.md for their words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlmodel import Session

from billing_bridge import Head, replay_check, verify
from inventory import list_services
from lab.small_isp import SUSPENDED, TIERS
from orchestrator.clock import process_start
from orchestrator.database import reading
from tests.orchestrator.rig import Rig

Pair = tuple[str, str]
Rates = tuple[int, int]
LOGIN = "user{}@isp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """The store in one snapshot."""

    ledger: Mapping[str, Pair]  # (plan, state) of each service by the ledger's own view
    table: Mapping[str, Pair]  # the same by the services' table
    rates: Mapping[str, Rates]  # what the answer to an Access-Request gives, by login
    head: Head
    decided: Mapping[str, str]  # verdict by change
    charged: Mapping[str, tuple[str, ...]]  # types of the events of each change
    states: Mapping[str, str]  # state of each change
    split: tuple[str, ...]  # sets with more than one verdict
    disputes: int
    leases: int  # of processes that live
    problem: str  # what the ledger's own proofs say


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One service on its devices, in running and startup, in kbit/s; 0/0 = off."""

    bng: Rates
    bng_startup: Rates
    olt: Rates
    olt_saved: Rates
    session: Rates | None  # None = not online


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """Every device at one moment."""

    lines: Mapping[str, Line]
    pending: bool  # a confirm timer runs
    heard: int  # the newest entry of all logs


def read_store(rig: Rig, anchor: Head) -> Stored:
    """Read everything from one snapshot; `anchor` is a head the ledger must still contain."""
    with reading(rig.office.engine) as session:
        where = "radius." if session.get_bind().dialect.name == "postgresql" else ""
        return Stored(
            ledger=_pairs(session, "SELECT service_id, plan_code, state FROM ledger_service_v1"),
            table=_pairs(session, "SELECT service_id, plan_code, state FROM service"),
            rates=dict(_rates(session, where)),
            head=_head(session),
            decided=dict(_rows(session, "SELECT change_id, verdict FROM decision")),
            charged=_charged(session),
            states=dict(_rows(session, 'SELECT change_id, state FROM "change"')),
            split=tuple(row[0] for row in _rows(session, _SPLIT)),
            disputes=_rows(session, _DISPUTES)[0][0],
            leases=_living(_rows(session, "SELECT pid, pid_start FROM lease")),
            problem=_proofs(session, anchor),
        )


_SPLIT = "SELECT set_id FROM decision GROUP BY set_id HAVING count(DISTINCT verdict) > 1"
_DISPUTES = "SELECT count(*) FROM exception_item WHERE resolved_at IS NULL"


def _rows(session: Session, statement: str) -> list[Any]:
    return [tuple(row) for row in session.connection().execute(text(statement))]


def _living(leases: list[Any]) -> int:
    """Count the leases whose process lives: those of the dead are harmless, and taken over."""
    return sum(process_start(pid) == started for pid, started in leases)


def _pairs(session: Session, statement: str) -> dict[str, Pair]:
    return {row[0]: (row[1], row[2]) for row in _rows(session, statement)}


def _rates(session: Session, where: str) -> Iterator[tuple[str, Rates]]:
    found = _rows(
        session,
        f"SELECT u.username, r.value FROM {where}radusergroup u"  # noqa: S608 - our own words
        f" JOIN {where}radgroupreply r ON r.groupname = u.groupname",
    )
    for login, value in found:
        down, up = value.removeprefix("bandmaster(").removesuffix(")").split(",")
        yield login, (int(down.removesuffix("k")), int(up.removesuffix("k")))


def _head(session: Session) -> Head:
    seq, digest = _rows(session, "SELECT seq, hash FROM ledger_head")[0]
    return Head(seq=seq, hash=bytes(digest))


def _charged(session: Session) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    events = "SELECT change_id, type FROM billing_event WHERE change_id <> '' ORDER BY seq"
    for change, kind in _rows(session, events):
        found[change] = (*found.get(change, ()), kind)
    return found


def _proofs(session: Session, anchor: Head) -> str:
    problem = verify(session, deep=True, anchors=(anchor,)).problem
    differing = replay_check(session, list_services(session))
    return problem or "; ".join(map(str, differing))


def read_devices(rig: Rig) -> Devices:
    """Ask every device for what it holds, past the wire that we drive it by."""
    names = [device.name for device in rig.isp.specs()]
    dumps = {name: rig.fleet.control(name, "dump") for name in names}
    bng = dumps[rig.isp.bng]
    sessions = {row["user"]: (row["down_kbps"], row["up_kbps"]) for row in bng["sessions"]}
    running, startup = _policers(bng["running"]), _policers(bng["startup"])
    lines = {}
    for service_id in rig.isp.ids():
        number = int(service_id.rpartition("-")[2])
        olt = dumps[rig.isp.olt_of(number)]
        lines[service_id] = Line(
            bng=running.get(number, (0, 0)),
            bng_startup=startup.get(number, (0, 0)),
            olt=_tables(olt["running"], number),
            olt_saved=_tables(olt["saved"], number),
            session=sessions.get(LOGIN.format(number)),
        )
    heard = max(rig.fleet.control(name, "log", since=2**60)["last"] for name in names)
    return Devices(lines=lines, pending=bool(bng["pending"]), heard=heard)


def _policers(config: list[str]) -> dict[int, Rates]:
    """(down, up) of each unit that has any policer, from set lines."""
    found: dict[int, Rates] = {}
    for line in config:
        words = line.split()
        if words[:2] != ["set", "interfaces"] or "policer" not in words:
            continue
        down, up = found.get(int(words[4]), (0, 0))
        kbps = 1000 * int(words[-1].partition("-")[2].removesuffix("M"))
        found[int(words[4])] = (kbps, up) if words[-2] == "output" else (down, kbps)
    return found


def _tables(config: dict[str, Any], number: int) -> Rates:
    port = config["service_ports"][str(number)]
    if not port["enabled"]:
        return 0, 0
    kbps = {index: table["cir_kbps"] for index, table in config["traffic_tables"].items()}
    return kbps[str(port["outbound"])], kbps[str(port["inbound"])]


def rates_of(plan: str, state: str) -> Rates:
    """Return what a service in this state is sold."""
    if state == "suspended":
        return SUSPENDED
    return TIERS[plan][:2] if state == "active" else (0, 0)


def at_every_instant(seen: Stored) -> Iterator[str]:
    """Yield what may not even be true for a moment, so also not between a kill and recovery."""
    if seen.problem:
        yield f"P4 the ledger: {seen.problem}"
    if seen.ledger != seen.table:
        yield f"P5 service table and ledger differ: {_differing(seen.table, seen.ledger)}"
    for service_id, sold in seen.ledger.items():
        login = LOGIN.format(service_id.rpartition("-")[2])
        if seen.rates.get(login, (0, 0)) != rates_of(*sold):
            yield f"P5 {login} is let in with {seen.rates.get(login)}, sold is {sold}"
    for set_id in seen.split:
        yield f"P4 set {set_id} has two verdicts"
    for change, kinds in seen.charged.items():
        if len(set(kinds)) != len(kinds):
            yield f"P4 change {change} is charged twice: {kinds}"
        if seen.decided.get(change) != "COMMIT":
            yield f"P4 change {change} is charged and was decided {seen.decided.get(change)}"
    for change, verdict in seen.decided.items():
        if (verdict == "COMMIT") != (change in seen.charged):
            yield f"P4 change {change} was decided {verdict} and has no event"


def nothing_permanent_undecided(
    before: Devices, now: Devices, was: Stored, seen: Stored, mine: tuple[str, ...]
) -> Iterator[str]:
    """Yield lines that the router keeps for good although nothing was decided (P3)."""
    for name in mine:
        moved = now.lines[name].bng_startup != before.lines[name].bng_startup
        if moved and not now.pending and was.ledger[name] == seen.ledger[name]:
            yield f"P3 {name}: the router keeps {now.lines[name].bng_startup} before any decision"


def at_rest(seen: Stored, devices: Devices) -> Iterator[str]:
    """Yield what is not true of every service after recovery."""
    yield from at_every_instant(seen)
    for service_id, sold in seen.ledger.items():
        line, wanted = devices.lines[service_id], rates_of(*sold)
        if (line.bng, line.olt) != (wanted, wanted):
            yield f"P1 {service_id} is sold {wanted} and has {line.bng}, {line.olt}"
        if (line.bng_startup, line.olt_saved) != (line.bng, line.olt):
            yield f"P7 {service_id} would reload to {line.bng_startup}, {line.olt_saved}"
        if line.session not in (None, wanted):
            yield f"P9 {service_id} is sold {wanted}, its session runs at {line.session}"
    if devices.pending:
        yield "P6 a confirm timer still runs"
    still = {change for change, state in seen.states.items() if state != "CLOSED"}
    if still:
        yield f"P12 changes are not closed: {sorted(still)}"
    if set(seen.states) != set(seen.decided):
        yield f"P4 changes without a decision: {set(seen.states) ^ set(seen.decided)}"
    if seen.disputes:
        yield f"P12 {seen.disputes} exceptions wait for a person"
    if seen.leases:
        yield f"{seen.leases} leases are still held"


def _differing(one: Mapping[str, Pair], other: Mapping[str, Pair]) -> list[Any]:
    return [
        (name, one.get(name), other.get(name))
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    ]
