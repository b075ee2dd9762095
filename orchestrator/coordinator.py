"""Applying one set: lease, compare, intent, prepare in two waves, verify, decide, settle."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlmodel import Session

from billing_bridge import Evidence, Head
from device_templates import platform as find_platform
from device_templates import section_rate, section_text
from inventory import (
    BandmasterError,
    DatabaseProblem,
    Device,
    OpenChange,
    Undecided,
    accounts_many,
    devices_many,
    new_id,
    services_many,
)
from workflows import Crew, Handle, Observation, PlanItem, Reply, item_json

from .database import (
    LOCK_TIMEOUT_MS,
    STATEMENT_TIMEOUT_MS,
    GivenUp,
    database_now,
    reading,
    writing,
)
from .decide import commit_set, stale_prices
from .drive import note_observations, note_replies, rates_text
from .evidence import note_evidence
from .interrupt import Interrupts
from .journal import (
    EpochLostError,
    OpenSet,
    find_orders,
    line,
    load_set,
    note,
    order_row,
    short,
    write_intent,
)
from .memory import remember
from .office import Office
from .rows import ChangeRow, SetRow
from .settle import ensure_decided, settle, take_passwords

ARMED = ("native_confirm", "dead_man")
COMMIT_TRIES = 3  # of a decision that the database gives up: each within the statement's timeout


@dataclass(frozen=True, slots=True, kw_only=True)
class SetResult:
    """What one try brought: refusals by service_id (nothing was decided for those)."""

    set_id: str = ""  # "" = nothing was started
    refusals: Mapping[str, str] = field(default_factory=dict)
    decided: str = ""  # COMMIT, ABORT or ""


def run_set(
    office: Office,
    interrupts: Interrupts,
    plan_id: str,
    items: tuple[PlanItem, ...],
    attempt: int,
) -> SetResult:
    """Try these items as one set. Refusals found before the intent leave nothing behind."""
    with reading(office.engine) as session:
        devices = devices_of(session, items)
    set_id = new_id()
    with ExitStack() as stack:
        leases = stack.enter_context(office.leases(f"change set {short(set_id, 's')}"))
        leases.acquire(
            frozenset(devices), wait_s=office.settings.lease_wait_s, check=interrupts.check
        )
        leases.start_renewing()
        crew = stack.enter_context(office.crew(tuple(devices.values()), leases.fence))
        crew.distrust(leases.taken_over)
        handles = make_handles(items, f"{set_id}.{attempt}", office.settings.revert_after_s)
        refusals = _compare(office, crew, items, handles)
        if refusals:
            return SetResult(refusals=refusals)
        interrupts.check()
        try:
            with writing(office.engine) as session:
                _intend(session, set_id, plan_id, attempt, items, handles)
        except IntegrityError as error:
            raise OpenChange(
                "change set", "one of its services got another change meanwhile", "Plan again."
            ) from error
        remember(office.engine, office.memory, set_id=set_id)
        try:
            return _drive(office, crew, interrupts, set_id, devices, handles, items)
        except DatabaseProblem as problem:
            raise Undecided(
                short(set_id, "s"), f"is not settled: {problem}", "Run: bandmaster recover"
            ) from problem


def _drive(
    office: Office,
    crew: Crew,
    interrupts: Interrupts,
    set_id: str,
    devices: Mapping[str, Device],
    handles: Mapping[str, Handle],
    items: tuple[PlanItem, ...],
) -> SetResult:
    """From the durable intent to every participant at its goal."""
    trial = _Trial(office=office, crew=crew, interrupts=interrupts, set_id=set_id, handles=handles)
    note_evidence(office, crew, set_id, devices, handles, items)
    seen, refusals = trial.prepare(handles)
    verdict = trial.decide(seen, refusals)
    settle(office, crew, set_id, devices, known={} if refusals else seen)
    note_evidence(office, crew, set_id, devices, handles, items)
    return SetResult(set_id=set_id, refusals=refusals, decided=verdict)


def devices_of(session: Session, items: tuple[PlanItem, ...]) -> dict[str, Device]:
    """Return every device that takes part, the NAS of each live session included."""
    names = {part.device for item in items for part in item.devices}
    names |= {part.device for item in items for part in item.session}
    return devices_many(session, names)


def make_handles(items: tuple[PlanItem, ...], token: str, revert_after_s: int) -> dict[str, Handle]:
    """Group the items' device parts into one handle per device: one confirm window each (W12)."""
    grouped: dict[str, Handle] = {}
    for item in items:
        for part in item.devices:
            known = grouped.get(part.device)
            grouped[part.device] = Handle(
                device=part.device,
                platform=part.platform,
                token=token,
                items=(*known.items, part.item) if known else (part.item,),
                revert_after_s=revert_after_s,
            )
    return grouped


def _compare(
    office: Office, crew: Crew, items: tuple[PlanItem, ...], handles: Mapping[str, Handle]
) -> dict[str, str]:
    """Read every owned section under the lease; say which services' plans are stale (W10)."""
    with reading(office.engine) as session:
        services = services_many(session, [item.order.service_id for item in items])
        accounts = accounts_many(session, {item.account_id for item in items})
        refusals = stale_prices(items, accounts, database_now(session))
    refusals |= {
        item.order.service_id: "the service has moved on since the plan was made: plan again"
        for service, item in zip(services, items, strict=True)
        if service.version != item.service_version
    }
    for name, seen in crew.observe(handles, startup=False).items():
        for service_id, item_seen in seen.items.items():
            if item_seen.running == "UNREADABLE":
                refusals[service_id] = f"{name}: {seen.evidence.get('problem', 'not readable')}"
            elif item_seen.running != "OLD" or seen.pending != "NONE":
                what = (
                    "a commit confirmed is running there"
                    if item_seen.running == "OLD"
                    else f"reads {section_text(item_seen.section)}, not what the plan started from"
                )
                refusals[service_id] = f"{name}: {what}: plan again"
    return {key: office.secrets.mask(text) for key, text in refusals.items()}


def _intend(
    session: Session,
    set_id: str,
    plan_id: str,
    attempt: int,
    items: tuple[PlanItem, ...],
    handles: Mapping[str, Handle],
) -> None:
    """Write the intent: orders, changes, participants, before the first byte is sent (W1)."""
    now = database_now(session)
    known = find_orders(session, [item.order.idempotency_key for item in items])
    changes = []
    sessions = {}
    for item in items:
        stored = known.get(item.order.idempotency_key)
        order = order_row(session, stored, item.order, plan_id, now)
        change = ChangeRow(
            change_id=new_id(),
            set_id=set_id,
            order_id=order.order_id,
            service_id=item.order.service_id,
            kind="service",
            state="INTENT",
            outcome="open",
            epoch=1,
            item=item_json(item),
            item_hash=item.item_hash(),
            refusal="",
            created_at=now,
            applied_at=None,
            closed_at=None,
        )
        changes.append(change)
        if item.session:
            sessions[change.change_id] = item.order.service_id
    row = SetRow(
        set_id=set_id,
        plan_id=plan_id,
        attempt=attempt,
        kind="service",
        created_at=now,
        first_write_at=now,
    )
    write_intent(session, row, tuple(changes), handles, sessions)
    intent = line("intent", services=len(items), devices=sorted(handles))
    note(session, set_id, intent, now=now)


@dataclass(slots=True)
class _Trial:
    """The part of a set between intent and decision."""

    office: Office
    crew: Crew
    interrupts: Interrupts
    set_id: str
    handles: Mapping[str, Handle]
    armed_at_s: dict[str, float] = field(default_factory=dict)

    def prepare(
        self, handles: Mapping[str, Handle]
    ) -> tuple[dict[str, Observation], dict[str, str]]:
        """Two waves, then read everything back; refusals by service_id, none = all is NEW."""
        mechanisms = {
            name: find_platform(handle.platform).mechanism for name, handle in handles.items()
        }
        replies: dict[str, Reply] = {}
        for wave in (ARMED, ("inverse",)):
            part = {name: handles[name] for name in handles if mechanisms[name] in wave}
            if self.interrupts.requested or any(
                reply.verdict != "SENT" for reply in replies.values()
            ):
                break
            sent_at = self.office.clock.boottime_s()
            self.armed_at_s.update(dict.fromkeys(part, sent_at) if wave is ARMED else {})
            replies |= self.crew.verb("prepare", part)
            self._tell_replies({name: replies[name] for name in part})
        seen = self.crew.observe(handles, startup=False)
        note_observations(self.office, self.set_id, seen)
        refusals = _refusals(handles, mechanisms, replies, seen)
        for name, observation in seen.items():
            if observation.running() == "NEW":
                self.office.tell(name, f"read back {rates_text(observation)}")
        masked = {key: self.office.secrets.mask(text) for key, text in refusals.items()}
        return seen, masked

    def _tell_replies(self, replies: Mapping[str, Reply]) -> None:
        note_replies(self.office, self.set_id, "prepare", replies)
        for name, reply in replies.items():
            reason = self.office.secrets.mask(reply.reason)
            text = "prepared" if reply.verdict == "SENT" else f"{reply.verdict.lower()}: {reason}"
            self.office.tell(name, text)

    def decide(self, seen: Mapping[str, Observation], refusals: dict[str, str]) -> str:
        """Return the durable verdict. A lost answer to COMMIT is settled by an ABORT row (W8)."""
        if not refusals and not self.interrupts.requested:
            self._extend(refusals)
        if not refusals and self.interrupts.requested:
            refusals["*"] = "stopped by a person before the decision"
        # a worker that slept past its lease decides nothing: who took over may have begun to
        self.crew.may_send()
        if not refusals:
            try:
                self._commit(seen)
            except EpochLostError:
                raise  # another incarnation decides: this one does nothing more (W7)
            except (BandmasterError, DBAPIError) as problem:
                refusals["*"] = self.office.secrets.mask(str(problem))
        verdict = "COMMIT" if not refusals else self._abort(refusals)
        if verdict == "COMMIT":
            refusals.clear()
        self.office.tell("decision", {"COMMIT": "committed", "ABORT": "aborted"}[verdict])
        return verdict

    def _abort(self, refusals: Mapping[str, str]) -> str:
        self.crew.may_send()
        return ensure_decided(self.office, self.set_id, refusals)

    def _extend(self, refusals: dict[str, str]) -> None:
        """Start timers anew that might fire before the confirm; abort where that fails (1.4)."""
        budget_s = (
            STATEMENT_TIMEOUT_MS + LOCK_TIMEOUT_MS
        ) / 1000 + self.office.settings.confirm_budget_s
        now = self.office.clock.boottime_s()
        short_of_time = {
            name: self.handles[name]
            for name, sent_at in self.armed_at_s.items()
            if self.handles[name].revert_after_s - (now - sent_at) < budget_s
        }
        for name, reply in self.crew.verb("extend", short_of_time).items():
            if reply.verdict != "SENT":
                refusals["*"] = f"{name}: the revert timer could not be extended: {reply.reason}"

    def _commit(self, seen: Mapping[str, Observation]) -> None:
        with reading(self.office.engine) as session:
            opened = load_set(session, self.set_id)
            passwords = take_passwords(self.office, session, opened)
            evidence = _evidence(opened, seen, database_now(session))
        left = COMMIT_TRIES
        while True:
            left -= 1
            try:
                with writing(self.office.engine) as session:
                    events = commit_set(session, opened, evidence, passwords)
                    decision = line("decision", verdict="COMMIT", seq=events[-1].seq)
                    note(session, self.set_id, decision, now=events[-1].recorded_at)
                break
            except GivenUp:
                # only this transaction is to be done again, while there is time to confirm it
                if not left:
                    raise
                self.crew.may_send()
        newest = Head(seq=events[-1].seq, hash=events[-1].hash)
        remember(self.office.engine, self.office.memory, head=newest)


def _evidence(
    opened: OpenSet, seen: Mapping[str, Observation], observed_at: dt.datetime
) -> dict[str, list[Evidence]]:
    """Return what the devices were just read to have, by service_id: the proof in the ledger."""
    evidence: dict[str, list[Evidence]] = {}
    for name, observation in seen.items():
        for item in opened.handles[name].items:
            rate = section_rate(observation.items[item.service_id].section)
            evidence.setdefault(item.service_id, []).append(
                Evidence(
                    device=name,
                    object=objects_text(item.objects),
                    down_kbps=rate.down_kbps,
                    up_kbps=rate.up_kbps,
                    digest=item.new_hash,
                    observed_at=observed_at,
                )
            )
    return evidence


def objects_text(objects: tuple[tuple[str, str | int], ...]) -> str:
    """Return an attachment's objects as one text: `interface=ge-0/0/1 unit=1042`."""
    return " ".join(f"{name}={value}" for name, value in objects)


def _refusals(
    handles: Mapping[str, Handle],
    mechanisms: Mapping[str, str],
    replies: Mapping[str, Reply],
    seen: Mapping[str, Observation],
) -> dict[str, str]:
    """Say which services stand in the way of a COMMIT, by what was read, and why."""
    refusals: dict[str, str] = {}
    for name, handle in handles.items():
        if name not in replies:
            continue  # its wave was never sent: not to blame
        wanted = "OURS" if mechanisms[name] in ARMED else "NONE"
        observation, reply = seen[name], replies[name]
        if observation.running() == "NEW" and observation.pending == wanted:
            continue
        why = reply.reason or "does not read back what it was told"
        if observation.running() == "NEW":
            why = f"its revert timer reads {observation.pending.lower()}, not ours"
        late = [i for i in handle.items if observation.items[i.service_id].running != "NEW"]
        blamed = late or list(handle.items)
        if mechanisms[name] == "inverse" and observation.running() == "MIXED":
            blamed = blamed[:1]  # a batch stops at its first bad line: the rest was not tried
        refusals |= {item.service_id: f"{name}: {why}" for item in blamed}
    if not refusals and any(name not in replies for name in handles):
        # the next wave was not sent: because of a person, or of a device that lost its answer
        doubts = [f"{n}: {reply.reason}" for n, reply in replies.items() if reply.verdict != "SENT"]
        refusals["*"] = "; ".join(doubts) or "stopped by a person before the decision"
    return refusals
