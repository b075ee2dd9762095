"""The rules of the protocol, each as a function that takes it out of the program by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any
from unittest import mock

from nornir.core.task import Result
from sqlalchemy import update
from sqlmodel import Session, col

from inventory import DeviceProblem, new_id
from orchestrator import coordinator, decide, drive, journal, recover, settle
from orchestrator.database import database_now, reading, writing
from orchestrator.leases import Leases
from workflows import Crew, Observation, Reply, tasks
from workflows.participant import SENT, classify
from workflows.transports import guard, napalm, netmiko

Put = Callable[[object, str, object], None]
Rows = journal.ChangeRow


def ledger_apart(put: Put) -> None:
    """The ledger is written in a transaction of its own, after the decision's."""
    real, held = decide.append, []

    def later(_session: Session, events: Sequence[Any], now: Any) -> Any:
        held.append((events, now))
        return (mock.Mock(seq=0, recorded_at=now),)

    def commit(trial: Any, seen: Any) -> None:
        commit_real(trial, seen)
        with writing(trial.office.engine) as session:
            real(session, *held.pop())

    commit_real = coordinator._Trial._commit
    put(decide, "append", later)
    put(coordinator._Trial, "_commit", commit)


def decide_first(put: Put) -> None:
    """The decision is taken on the plan's word, before any device is prepared."""

    def prepare(trial: Any, handles: Any) -> Any:
        seen = trial.crew.observe(handles, startup=False)
        return seen, {}

    put(coordinator._Trial, "prepare", prepare)


def no_epoch(put: Put) -> None:
    """Nobody shuts older incarnations out."""
    for module in (settle, recover):
        put(module, "bump_epoch", lambda _session, _set_id: None)
    put(recover, "doubt", lambda _session, _set_id: None)  # or its locks would do the same here


def no_drain(put: Put) -> None:
    """What an older session may still do is not waited for."""
    for kind in (napalm.NapalmWire, netmiko.NetmikoWire):
        put(kind, "drain", lambda _wire, _handle: SENT)


def trust_ok(put: Put) -> None:
    """A confirmation that was answered OK is done: nobody reads, neither before nor after."""
    verb_real, look_real = Crew.verb, drive._look

    def verb(crew: Crew, name: str, handles: Any) -> dict[str, Reply]:
        replies = verb_real(crew, name, handles)
        believed = {each for each, reply in replies.items() if reply.verdict == "SENT"}
        crew.__dict__["believed"] = believed if name == "confirm" else set()
        return replies

    def look(office: Any, crew: Crew, set_id: str, left: Any, seen: Any) -> Any:
        last = crew.__dict__.setdefault("last", {})
        believed = crew.__dict__.pop("believed", set()) & last.keys() & left.keys()
        others = {name: task for name, task in left.items() if name not in believed}
        found, at = look_real(office, crew, set_id, others, seen)
        last.update(seen | found)
        return found | {name: _as_told(last[name]) for name in believed}, at

    put(Crew, "verb", verb)
    put(drive, "_look", look)
    put(napalm.NapalmWire, "_need_ours", lambda wire, _token: wire._lock(30))


def _as_told(seen: Observation) -> Observation:
    items = {key: replace(item, running="NEW", startup="NEW") for key, item in seen.items.items()}
    return replace(seen, pending="NONE", items=items)


def no_write_ahead(put: Put) -> None:
    """The devices are armed before the intent is durable."""
    real = coordinator._compare

    def compare(office: Any, crew: Crew, items: Any, handles: Any) -> dict[str, str]:
        refusals = real(office, crew, items, handles)
        if not refusals:
            crew.verb("prepare", handles)
        return refusals

    put(coordinator, "_compare", compare)


def no_save(put: Put) -> None:
    """What runs is not kept for the next boot."""
    real = drive.next_step

    def step(goal: Any, seen: Observation) -> Any:
        found = real(goal, seen)
        return "done" if found == "save" else found

    put(drive, "next_step", step)


def coa_first(put: Put) -> None:
    """The live session is raised before the decision."""
    real = coordinator._Trial.decide

    def decide_it(trial: Any, seen: Any, refusals: Any) -> str:
        with reading(trial.office.engine) as session:
            opened = journal.load_set(session, trial.set_id)
            devices = coordinator.devices_of(session, tuple(opened.items.values()))
        tasks = tuple(
            task
            for change in opened.changes
            for task in settle.live_task(
                change.change_id, opened.items[change.change_id], back=False
            )
        )
        if tasks and not refusals:
            settle.drive_sessions(trial.office, trial.crew, trial.set_id, devices, tasks)
        return real(trial, seen, refusals)

    put(coordinator._Trial, "decide", decide_it)


def no_wait_for_coa(put: Put) -> None:
    """A change is closed although a CoA may still be on its way."""
    put(settle, "astray", lambda *_: {})


def no_lease(put: Put) -> None:
    """Nobody asks whether somebody else drives the device."""
    put(Leases, "acquire", lambda _leases, _devices, **_more: None)
    put(Leases, "start_renewing", lambda _leases: None)
    put(Leases, "fence", lambda _leases: None)
    put(Leases, "release", lambda _leases: None)


def asks_once(put: Put) -> None:
    """The lease is looked at before a login, and not again where a taker could see us."""

    def each(crew: Any, names: frozenset[str], act: Any) -> Any:
        def body(task: Any) -> Result:
            name = task.host.name
            crew._fence()
            try:
                wire = task.host.get_connection(tasks.WIRE, task.nornir.config)
                found = act(wire, tasks.platform(crew._devices[name].platform), name)
            except DeviceProblem as problem:
                crew._drop(name)
                found = problem
            return Result(host=task.host, result=found)

        return crew._run(names, body)

    put(Crew, "_each", each)
    put(napalm.NapalmWire, "_lock", lambda wire, wait_s: wire._session.lock(wait_s))


def posts_what_is_seen(put: Put) -> None:
    """Recovery bills what the device shows, whatever was decided."""
    real = settle._decided

    def decided(office: Any, set_id: str, refusals: Any) -> str:
        with writing(office.engine) as session:
            opened = journal.load_set(session, set_id)
            if "died" in str(refusals) and not journal.find_verdict(session, set_id):
                bill_what_is_seen(session, opened)
        return real(office, set_id, refusals)

    put(settle, "_decided", decided)


def bill_what_is_seen(session: Session, opened: journal.OpenSet) -> None:
    """Post every change of the set, without a decision."""
    now = database_now(session)
    orders = opened.orders
    plans = {plan.code: plan for plan in decide.list_plans(session)}
    for change in opened.changes:
        item = opened.items[change.change_id]
        service = decide.services_many(session, [change.service_id])[0]
        accounts = decide.accounts_many(session, {item.account_id})
        after = decide._after(service, item, now, accounts[item.account_id])
        decide.keep_services(session, [(service, after)])
        decide.write_radius(session, [item], {}, back=False)
        event = decide._event(plans, orders[change.order_id], change, item, after, {})
        decide.append(session, [event], now)


def key_not_unique(put: Put) -> None:
    """The caller's key is not looked up, and may be there twice."""

    def row(session: Any, _known: Any, order: Any, plan_id: str, now: Any) -> Any:
        key = new_id()
        fresh = replace(order, idempotency_key=key, order_id=key)
        return real(session, None, fresh, plan_id, now)

    real = journal.order_row
    put(coordinator, "order_row", row)


def no_compare(put: Put) -> None:
    """What stands on the device is overwritten without a look."""

    def expect(wire: Any, platform: Any, handle: Any, allowed: Any) -> Any:
        found = guard.read_sections(wire, platform, handle.objects()).sections
        seen = {
            classify(item.before, item.after, section)
            for item, section in zip(handle.items, found, strict=True)
        }
        return seen.pop() if len(seen) == 1 and seen <= allowed else "MIXED"

    def step(goal: Any, seen: Observation) -> Any:
        found = real(goal, seen)
        return ("prepare" if goal == "NEW" else "abort") if found == "foreign section" else found

    real = drive.next_step
    put(guard, "expect", expect)
    put(drive, "next_step", step)


def no_abort_row(put: Put) -> None:
    """An abort is the absence of a COMMIT when somebody looked; its row comes with the close."""

    def abort(session: Session, opened: journal.OpenSet, _refusals: Any) -> None:
        session.execute(
            update(Rows).where(col(Rows.set_id) == opened.set_id).values(state="ABORTED")
        )

    def verdict(session: Session, set_id: str) -> str:
        found = real(session, set_id)
        states = {change.state for change in journal.load_set(session, set_id).changes}
        return "ABORT" if states == {"ABORTED"} else found

    def close(session: Session, opened: Any, change: Any, now: Any, *, excused: bool) -> None:
        if change.state == "ABORTED" and not real(session, opened.set_id):
            facts = {"set_id": opened.set_id, "verdict": "ABORT", "decided_at": now}
            session.add(decide.DecisionRow(change_id=change.change_id, **facts))
        close_real(session, opened, change, now, excused=excused)

    real, close_real = journal.find_verdict, settle._close
    put(settle, "abort_set", abort)
    put(settle, "find_verdict", verdict)
    put(settle, "_close", close)
    put(recover, "find_verdict", verdict)


def any_goal(put: Put) -> None:
    """A pass closes whatever goal stands at its end, not the one it has read."""
    real = settle._close

    def close(session: Session, opened: Any, change: Any, now: Any, *, excused: bool) -> None:
        stands = session.get_one(Rows, change.change_id, populate_existing=True)
        real(session, opened, stands, now, excused=excused)

    put(settle, "_close", close)


def no_compare_and_set(put: Put) -> None:
    """States are written without a look at the state before; the epoch still is compared."""

    def moved(session: Session, change_ids: Any, epoch: int, _was: str, **values: Any) -> None:
        result: Any = session.execute(
            update(Rows)
            .where(col(Rows.change_id).in_(change_ids), col(Rows.epoch) == epoch)
            .values(**values)
        )
        if result.rowcount != len(change_ids):
            raise journal.EpochLostError("change set", "another worker has taken it over", "")

    put(settle, "move", moved)


def both(*removals: Callable[[Put], None]) -> Callable[[Put], None]:
    """Several rules at once."""

    def remove(put: Put) -> None:
        for each in removals:
            each(put)

    return remove
