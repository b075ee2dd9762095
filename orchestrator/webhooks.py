"""Webhooks: subscriptions, and the loop that tells other systems what the ledger has grown by."""

from __future__ import annotations

import datetime as dt
import ipaddress
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from sqlmodel import Session

from billing_bridge import (
    EVENT_TYPES,
    Claimed,
    WebhookRow,
    add_webhook,
    claim,
    delay_s,
    fill_outbox,
    find_webhook,
    head_at,
    ledger_head,
    list_webhooks,
    not_taken,
    remove_webhook,
    requeue,
    signed_headers,
    taken,
)
from inventory import (
    BandmasterError,
    SecretRef,
    WrongUse,
    canonical_json,
    check_code,
    instant_text,
    new_id,
)
from workflows import HookReply, HookTarget, parse_hook_url, send_hook

from .audit import audit
from .database import database_now, reading, writing
from .office import Office

AT_ONCE = 8  # subscriptions served side by side
PER_ROUND = 200  # deliveries of one subscription before the others are looked at again
LEAST_SECRET_OCTETS = 16
_CLAIM_FACTOR = 4  # a claim outlasts name, connection, answer, and the record of them


class HookPort(Protocol):
    """Sends one signed document, and brings back what came of it."""

    def __call__(self, target: HookTarget, body: bytes, headers: Mapping[str, str], /) -> HookReply:
        """Return what became of it; never raise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewHook:
    """What a person typed. `after` = begin behind this seq of the ledger; -1 = the newest."""

    name: str
    url: str
    secret: SecretRef
    types: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    http: bool = False
    ca_file: str = ""
    after: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one round did for a subscription; `problem` is the last one, "" = none."""

    name: str
    taken: int = 0
    failed: int = 0
    dead: int = 0
    more: bool = False  # there may be more to do at once
    problem: str = ""


def subscribe(office: Office, asked: NewHook, actor: str) -> WebhookRow:
    """Keep a subscription. Nothing is sent.

    Raises BadField (name), WrongUse (URL, type, network, a secret that is none), BadSettings (a
    secret that is not there), Refused (the name is used), UnknownName (no such seq).
    """
    check_code("webhook", "name", asked.name)
    parse_hook_url(asked.url, http=asked.http)
    networks = _networks(asked.allowed)
    for kind in asked.types:
        if kind not in EVENT_TYPES:
            raise WrongUse(f"--type {kind}", "is no event", f"Events are: {', '.join(EVENT_TYPES)}")
    ca_file = _readable(asked.ca_file)
    _secret(office, asked.secret)
    with writing(office.engine) as session:
        row = WebhookRow(
            name=asked.name,
            url=asked.url,
            secret_ref=asked.secret.ref,
            types=",".join(sorted(set(asked.types))),
            active=True,
            http=asked.http,
            allowed=",".join(networks),
            allowed_by=actor if networks or asked.http else "",
            ca_file=ca_file,
            added_by=actor,
            added_at=database_now(session),
            taken=0,
            last_taken_at=None,
            last_problem="",
        )
        begin = ledger_head(session) if asked.after < 0 else head_at(session, asked.after)
        add_webhook(session, row, begin)
        detail = f"{parse_hook_url(asked.url, http=True).shown()} allowed: {row.allowed or 'none'}"
        audit(session, actor, "webhook add", asked.name, detail + (" http" if asked.http else ""))
    return row


def unsubscribe(office: Office, name: str, actor: str) -> int:
    """Remove a subscription with what it has not taken; return how many deliveries that were."""
    with writing(office.engine) as session:
        gone = remove_webhook(session, name)
        audit(session, actor, "webhook remove", name, f"{gone} deliveries not taken")
    return gone


def switch(office: Office, name: str, actor: str, *, active: bool) -> None:
    """Stop telling a subscription, or go on where it stopped: nothing is lost in between."""
    with writing(office.engine) as session:
        row = find_webhook(session, name)
        row.active = active
        session.add(row)
        audit(session, actor, "webhook resume" if active else "webhook pause", name, "")


def retry(office: Office, name: str, seqs: Sequence[int], actor: str) -> int:
    """Let dead letters wait again; return how many."""
    with writing(office.engine) as session:
        count = requeue(session, name, seqs, database_now(session))
        audit(session, actor, "webhook retry", name, f"{count} deliveries")
    return count


def try_hook(office: Office, name: str, send: HookPort = send_hook) -> HookReply:
    """Send a signed document of type bandmaster.test, which is in no ledger, once."""
    with reading(office.engine) as session:
        row = find_webhook(session, name)
        now = database_now(session)
    document = {
        "specversion": "1.0",
        "id": new_id(),
        "source": "bandmaster",
        "type": "bandmaster.test",
        "subject": name,
        "time": instant_text(now),
    }
    body = canonical_json(document).encode()
    secret = _secret(office, SecretRef(ref=row.secret_ref))
    return send(_target(office, row), body, signed_headers(secret, body, _seconds(now)))


def run(office: Office, send: HookPort = send_hook) -> tuple[Told, ...]:
    """Tell every active subscription what is due, until nothing is; a failure ends its turn."""
    totals: dict[str, Told] = {}
    while True:
        found = run_round(office, send)
        for told in found:
            before = totals.get(told.name, Told(name=told.name))
            totals[told.name] = replace(
                told,
                taken=before.taken + told.taken,
                failed=before.failed + told.failed,
                dead=before.dead + told.dead,
                problem=told.problem or before.problem,
            )
        if not any(told.more for told in found):
            return tuple(totals.values())


def run_round(office: Office, send: HookPort = send_hook) -> tuple[Told, ...]:
    """Do one turn of every active subscription, side by side: none waits for another's slow host.

    Raises Refused where the store was put back from a copy: others may know more than it does.
    """
    office.check_store()
    with reading(office.engine) as session:
        states = list_webhooks(session, ledger_head(session))
    rows = [state.row for state in states if state.row.active]
    if not rows:
        return ()
    with ThreadPoolExecutor(min(AT_ONCE, len(rows))) as pool:
        return tuple(pool.map(lambda row: _turn(office, row, send), rows))


def watch(office: Office, send: HookPort = send_hook) -> None:
    """Run again and again until a person stops it."""
    while True:
        try:
            found = run_round(office, send)
        except BandmasterError as problem:
            office.tell("webhook", str(problem))
            found = ()
        for told in found:
            if told.problem:
                office.tell(f"webhook {told.name}", told.problem)
        if not any(told.more for told in found):
            office.clock.sleep(office.settings.watch_s)


def _turn(office: Office, row: WebhookRow, send: HookPort) -> Told:
    told = Told(name=row.name)
    try:
        secret = _secret(office, SecretRef(ref=row.secret_ref))
        target = _target(office, row)
        with writing(office.engine) as session:
            more = fill_outbox(session, row.name, database_now(session))
        for _ in range(PER_ROUND):
            claimed = _claim(office, row.name)
            if claimed is None:
                return replace(told, more=more)
            told = _deliver(office, told, claimed, secret, lambda b, h: send(target, b, h))
            if told.problem:  # whoever is down is asked once a round, and not for each event
                return told
    except BandmasterError as problem:
        return replace(told, problem=str(problem))
    return replace(told, more=True)


def _claim(office: Office, name: str) -> Claimed | None:
    with writing(office.engine) as session:
        lease_s = office.settings.webhook_timeout_s * _CLAIM_FACTOR
        return claim(session, name, database_now(session), lease_s)


def _deliver(
    office: Office,
    told: Told,
    claimed: Claimed,
    secret: str,
    post: Callable[[bytes, Mapping[str, str]], HookReply],
) -> Told:
    with reading(office.engine) as session:
        now = database_now(session)
    reply = post(claimed.body, signed_headers(secret, claimed.body, _seconds(now)))
    dead = bool(reply.problem) and claimed.attempts >= office.settings.webhook_attempts
    with writing(office.engine) as session:
        _record(session, claimed, reply, dead=dead)
    if not reply.problem:
        return replace(told, taken=told.taken + 1)
    problem = f"seq {claimed.seq}, attempt {claimed.attempts}: {reply.problem}"
    if dead:
        return replace(told, dead=told.dead + 1, problem=f"{problem}; given up")
    return replace(told, failed=told.failed + 1, problem=problem)


def _record(session: Session, claimed: Claimed, reply: HookReply, *, dead: bool) -> None:
    now = database_now(session)
    if not reply.problem:
        taken(session, claimed, now)
        return
    draw = secrets.randbelow(1_000) / 1_000
    wait = dt.timedelta(seconds=delay_s(claimed.attempts, draw))
    not_taken(session, claimed, reply.problem, now + wait, dead=dead)


def _target(office: Office, row: WebhookRow) -> HookTarget:
    return HookTarget(
        url=parse_hook_url(row.url, http=row.http),
        allowed=tuple(map(ipaddress.ip_network, filter(None, row.allowed.split(",")))),
        ca_file=row.ca_file,
        timeout_s=office.settings.webhook_timeout_s,
    )


def _networks(texts: Sequence[str]) -> list[str]:
    found = []
    for text in texts:
        try:
            found.append(str(ipaddress.ip_network(text)))
        except ValueError as error:
            raise WrongUse(
                f"--allow {text}", "is not a network", "Write it like 10.20.0.0/16 or fd00:1::/48."
            ) from error
    return found


def _readable(place: str) -> str:
    """Return the whole path of a file that is there, wherever `webhook run` is started from."""
    if place and not Path(place).is_file():
        raise WrongUse(f"--ca-file {place}", "cannot be read", "Name a PEM file of authorities.")
    return str(Path(place).resolve()) if place else ""


def _secret(office: Office, ref: SecretRef) -> str:
    """Return the secret; WrongUse where none is named or it is too short to sign with."""
    if not ref.ref:
        raise WrongUse("--secret", "is missing", "Write env:NAME, file:/path or keyring:NAME.")
    secret = office.secrets(ref)
    if len(secret.encode()) < LEAST_SECRET_OCTETS:
        raise WrongUse(
            f"secret {ref}", f"is shorter than {LEAST_SECRET_OCTETS} octets and can be guessed"
        )
    return secret


def _seconds(now: dt.datetime) -> int:
    return int(now.timestamp())
