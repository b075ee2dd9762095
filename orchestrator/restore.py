"""After a restore: every device is read, and what the ledger has forgotten is asked of a person.

Nothing is guessed: a line that differs becomes an exception whose "retry" puts it back to the
ledger. Source: decisions.md D16.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import update
from sqlmodel import Session, col, select

from billing_bridge import (
    Charged,
    MoneyPreview,
    charged_history,
    find_by_service,
    fold_service,
    full_price,
    ledger_head,
)
from inventory import UNKNOWN_RATE, Plan, Rate, Service, local_date, new_id
from workflows import ChangeKind, Order, PlanItem, ServicePoint, item_json

from .audit import audit
from .coordinator import make_handles
from .database import database_now, writing
from .exceptions import open_exception, resolve
from .journal import OPEN_STATES, list_open_sets, order_row, session_name, short, write_intent
from .line_views import intended_rate, read_devices
from .memory import Seen, find_store, newest_set
from .office import Office
from .restore_read import Odd, Store, failed, load_store, odd_lines, odd_sessions, point
from .rows import ChangeRow, ExceptionRow, HoldRow, SetRow

CAUSE = "not in the ledger"
HELD = "not read since the database was put back: bandmaster recover --after-restore"
_KINDS: Mapping[str, ChangeKind] = {"active": "tier", "suspended": "suspend"}

Meaning = Literal["live, not billed", "billed, not live", "differs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One line or session that is not what the ledger says; `exception_id` = who must answer."""

    service_id: str
    where: str  # the device, or "session" with the NAS
    ledger: str
    seen: str
    meaning: Meaning
    exception_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AfterRestore:
    """What was found: differences, devices that could not be read (now on hold), open sets."""

    epoch: int
    services: int
    differences: tuple[Difference, ...]
    unread: tuple[tuple[str, str], ...]  # device and why
    waiting: tuple[str, ...]  # change sets that `recover` settles next


def after_restore(office: Office, actor: str) -> AfterRestore:
    """Raise the store's epoch, read every device, open an exception per difference.

    May be run at any time and again: what was found before is read anew. Sends nothing. Until it
    has ended well, everything that sends is refused on every host.
    """
    with writing(office.engine) as session:
        row = find_store(session)
        # above what this host has seen as well: a second copy of the same day starts lower again
        seen = office.memory.recall().get(row.store_id) if office.memory else None
        row.epoch = epoch = 1 + max(row.epoch, seen.epoch if seen else 0)
        audit(session, actor, "after restore", row.store_id, f"epoch {epoch}")
    store = load_store(office)
    odd, unread = _read(office, store)
    with writing(office.engine) as session:
        _forget_earlier(session, actor)
        found = tuple(
            difference
            for service_id in sorted(odd)
            for difference in _ask(office, session, store, service_id, odd[service_id], actor)
        )
        _hold(session, unread, actor)
        row = find_store(session)
        row.read_epoch = epoch  # a second one meanwhile has raised it: then its end counts
        head = ledger_head(session)
        waiting = tuple(short(set_id, "s") for set_id in list_open_sets(session))
        newest = newest_set(session)
    if office.memory:
        now = Seen(epoch=epoch, seq=head.seq, hash=head.hash.hex(), set_id=newest)
        office.memory.keep(row.store_id, now)
    return AfterRestore(
        epoch=epoch,
        services=len(store.services),
        differences=found,
        unread=tuple(sorted(unread.items())),
        waiting=waiting,
    )


def _read(office: Office, store: Store) -> tuple[dict[str, list[Odd]], dict[str, str]]:
    """Return what differs, by service, and which devices could not be read, and why."""
    reads = read_devices(office, ())
    odd = odd_lines(store, reads)
    unread = {each.device.name: str(each.seen) for each in reads if failed(each)}
    sessions = odd_sessions(
        office, store, {each.device.name: each.device for each in reads}, unread
    )
    for service_id, found in sessions.items():
        odd.setdefault(service_id, []).extend(found)
    return odd, {name: office.secrets.mask(why) for name, why in unread.items()}


def _ask(
    office: Office, session: Session, store: Store, service_id: str, odd: list[Odd], actor: str
) -> list[Difference]:
    """Write a repair that nobody has begun, with an exception for each participant of it."""
    service = store.services[service_id]
    _close_applied(session, service_id)
    item = _item(session, store, service, odd, actor)
    change = _write_repair(session, item, office.settings.revert_after_s)
    found = []
    for each in odd:
        name = session_name(change.change_id) if each.session else each.where
        row = open_exception(session, change, item, name, CAUSE, each.what)
        found.append(
            Difference(
                service_id=service_id,
                where=each.where,
                ledger=point(service, intended_rate(service, store.tiers)),
                seen=str(each.rate) if each.on else "switched off",
                meaning=_meaning(each, intended_rate(service, store.tiers)),
                exception_id=row.exception_id,
            )
        )
    return found


def _close_applied(session: Session, service_id: str) -> None:
    """Close a change that only waited for its last reading: that pass would not ask a person."""
    session.execute(
        update(ChangeRow)
        .where(col(ChangeRow.service_id) == service_id, col(ChangeRow.state).in_(OPEN_STATES))
        .values(state="CLOSED", epoch=ChangeRow.epoch + 1, closed_at=database_now(session))
    )


def _meaning(odd: Odd, due: Rate) -> Meaning:
    given = odd.rate if odd.on else UNKNOWN_RATE
    if given.down_kbps >= due.down_kbps and given.up_kbps >= due.up_kbps and given != due:
        return "live, not billed"
    if given.down_kbps <= due.down_kbps and given.up_kbps <= due.up_kbps and given != due:
        return "billed, not live"
    return "differs"


def _item(session: Session, store: Store, service: Service, odd: list[Odd], actor: str) -> PlanItem:
    """Return the way from what was read back to what the ledger says; it costs nobody anything."""
    account = store.accounts[service.account_id]
    now = database_now(session)
    today = local_date(now, account.time_zone)
    seen_rate = odd[0].rate if odd[0].on else UNKNOWN_RATE
    live = next((p for p in store.plans.values() if _rate(store, p) == seen_rate), None)
    before = ServicePoint(
        plan_code=live.code if live else "",
        tier_code=live.tier_code if live else "",
        state="active" if live else "none",
        rate=seen_rate,
    )
    after = ServicePoint(
        plan_code=service.plan_code,
        tier_code=service.tier_code,
        state=service.state,
        rate=intended_rate(service, store.tiers),
    )
    mine = store.plans.get(service.plan_code)
    folded = fold_service(service.service_id, find_by_service(session, service.service_id))
    owed = _price(store, charged_history(folded, store.plans, account.time_zone), today)
    given = (Charged(since=now, plan_code=live.code),) if live else ()
    named = mine or live or next(iter(store.plans.values()))
    return PlanItem(
        order=_order(service, actor),
        account_id=account.account_id,
        address=account.address,
        service_version=service.version,
        before=before,
        after=after,
        devices=tuple(each.part for each in odd if each.part),
        radius=(),
        session=tuple(each.session for each in odd if each.session)[:1],
        money=MoneyPreview(
            lines=(),
            net_minor=0,
            currency=named.currency,
            exponent=named.exponent,
            period_from=today,
            period_until=today,
            then_minor=owed,
            then_months=named.period_months,
        ),
        monthly_delta_minor=owed - _price(store, given, today),
        price_version_id="",
        priced_for_date=today,
    )


def _order(service: Service, actor: str) -> Order:
    key = new_id()
    return Order(
        order_id=key,
        idempotency_key=key,
        kind=_KINDS.get(service.state, "terminate"),
        service_id=service.service_id,
        plan_code="",
        actor=actor,
        reason_code="corrected",
        reason="read after a restore",
    )


def _rate(store: Store, plan: Plan) -> Rate:
    return store.tiers[plan.tier_code].rate


def _price(store: Store, charged: Sequence[Charged], today: dt.date) -> int:
    try:
        return full_price(charged, store.plans, today)
    except LookupError:
        return 0


def _write_repair(session: Session, item: PlanItem, revert_after_s: int) -> ChangeRow:
    """Write the way back to the ledger as a closed change: only a person's answer drives it."""
    now = database_now(session)
    set_id = new_id()
    order = order_row(session, None, item.order, "", now)
    change = ChangeRow(
        change_id=new_id(),
        set_id=set_id,
        order_id=order.order_id,
        service_id=item.order.service_id,
        kind="repair",
        state="CLOSED",
        outcome="done",
        epoch=1,
        item=item_json(item),
        item_hash=item.item_hash(),
        refusal="",
        created_at=now,
        applied_at=now,
        closed_at=now,
    )
    row = SetRow(
        set_id=set_id, plan_id="", attempt=1, kind="repair", created_at=now, first_write_at=None
    )
    handles = make_handles((item,), f"{set_id}.1", revert_after_s)
    sessions = {change.change_id: change.service_id} if item.session else {}
    write_intent(session, row, (change,), handles, sessions)
    return change


def _forget_earlier(session: Session, actor: str) -> None:
    """Close what an earlier run has asked: all of it has just been read again."""
    rows = session.exec(
        select(ExceptionRow).where(
            col(ExceptionRow.resolved_at).is_(None),
            col(ExceptionRow.change_id).in_(
                select(ChangeRow.change_id).where(col(ChangeRow.kind) == "repair")
            ),
        )
    )
    for row in rows.all():
        resolve(session, row, "read again", actor)


def _hold(session: Session, unread: Iterable[str], actor: str) -> None:
    """Let nothing start on a device that could not be read; let go of those that now could."""
    for row in session.exec(select(HoldRow).where(col(HoldRow.reason) == HELD)).all():
        session.delete(row)
    session.flush()
    for name in unread:
        if session.get(HoldRow, name) is None:
            now = database_now(session)
            session.add(HoldRow(device=name, reason=HELD, actor=actor, since=now))
