"""`bandmaster webhook`: other systems are told what the ledger grows by, until they take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import desk
from .options import JsonFlag, Yes, command, new_group
from .output import Painted, clean, data, paint, say, show, table
from .trouble import stopped_with

if TYPE_CHECKING:
    from billing_bridge import DeliveryRow, HookState
    from orchestrator.webhooks import Told

Name = Annotated[str, typer.Argument(help="The subscription.", metavar="NAME")]
NewName = Annotated[str, typer.Argument(help="Its name from now on.", metavar="NAME")]
Url = Annotated[str, typer.Argument(help="Where to: https://HOST/PATH.", metavar="URL")]
Secret = Annotated[
    str,
    typer.Option(
        help="Where its secret is kept, never the secret: env:NAME, file:/path, keyring:S/N.",
        metavar="REF",
    ),
]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Only events of this type; again for more.", metavar="TYPE"),
]
After = Annotated[
    int, typer.Option(help="Begin behind this seq; without it the newest.", min=-1, metavar="SEQ")
]
Allow = Annotated[
    list[str] | None,
    typer.Option(help="A network that is not public and may be met.", metavar="NET"),
]
Http = Annotated[bool, typer.Option("--http", help="Without TLS, to loopback alone: for tests.")]
CaFile = Annotated[
    str, typer.Option(help="Believe these authorities instead of the system's.", metavar="FILE")
]
Watch = Annotated[bool, typer.Option("--watch", help="Again and again, until stopped.")]
EXIT_WAITING = 3
EXIT_DEAD = 4


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("Webhooks: signed events of the ledger, sent until they are taken.")
    command(
        group,
        "add",
        "webhook add crm https://crm.example/hook --secret env:CRM_HOOK --type invoice.issued",
        "webhook add erp https://erp.corp.example/in --secret file:erp.key --allow 10.20.0.0/16",
    )(add_)
    command(group, "list", "webhook list")(list_)
    command(group, "test", "webhook test crm")(try_)
    command(group, "run", "webhook run", "webhook run --watch")(run)
    command(group, "dead", "webhook dead", "webhook dead crm")(dead)
    command(group, "retry", "webhook retry crm", "webhook retry crm --seq 48211")(retry)
    command(group, "pause", "webhook pause crm")(pause)
    command(group, "resume", "webhook resume crm")(resume)
    command(group, "remove", "webhook remove crm --yes")(remove)
    app.add_typer(group, name="webhook")


def add_(
    name: NewName,
    url: Url,
    secret: Secret = "",
    type_: Types = None,
    after: After = -1,
    allow: Allow = None,
    http: Http = False,
    ca_file: CaFile = "",
    json: JsonFlag = False,
) -> None:
    """Subscribe a URL to the ledger. Nothing is sent until `webhook test` or `webhook run`.

    Private, loopback and link-local addresses are refused unless --allow names their network;
    who allowed it is recorded.
    """
    from inventory import SecretRef
    from orchestrator.webhooks import NewHook, subscribe

    asked = NewHook(
        name=name,
        url=url,
        secret=SecretRef(ref=secret),
        types=tuple(type_ or ()),
        allowed=tuple(allow or ()),
        http=http,
        ca_file=ca_file,
        after=after,
    )
    with desk.office() as office:
        row = subscribe(office, asked, desk.actor())
    if json:
        data({"name": row.name, "types": _types(row.types), "allowed": row.allowed}, acted=True)
        return
    say(f"{name} is subscribed to {row.types or 'every event'}. Try it: bandmaster webhook test")
    if row.allowed:
        say(paint(f"It may meet {row.allowed}: allowed by {row.allowed_by}.", "warn"))


def list_(json: JsonFlag = False) -> None:
    """List the subscriptions, what waits for each, and what was given up."""
    from billing_bridge import ledger_head, list_webhooks
    from orchestrator.database import reading

    with desk.store() as (_settings, engine), reading(engine) as session:
        states = list_webhooks(session, ledger_head(session))
    if json:
        data([_value(state) for state in states])
    elif states:
        header = ("name", "to", "events", "taken", "waiting", "dead", "behind", "last problem")
        table(header, [_row(state) for state in states])
    else:
        say("No system is subscribed.")


def try_(name: Name, json: JsonFlag = False) -> None:
    """Send one signed document of type bandmaster.test now; ends with 1 where it is not taken."""
    from orchestrator.webhooks import try_hook

    with desk.office() as office:
        reply = try_hook(office, name)
    if json:
        data(reply)
    elif reply.problem:
        say(paint(f"{name}: {clean(reply.problem)}", "bad"))
    else:
        say(f"{name}: taken, answered {reply.status}.")
    raise typer.Exit(1 if reply.problem else 0)


def run(watch: Watch = False, json: JsonFlag = False) -> None:
    """Tell every subscription what is due. Keep `webhook run --watch` running for that.

    Ends with 3 where something was not taken and is tried again later, 4 where something was given
    up and waits for a person.
    """
    from orchestrator.webhooks import run as act
    from orchestrator.webhooks import watch as act_always

    from .progress import Progress

    words = "Stopped. What was not taken is sent again by the next run."
    with stopped_with(0 if watch else EXIT_WAITING, words), desk.office(Progress()) as office:
        if watch:
            act_always(office)
        found = act(office)
    if json:
        data(found)
    else:
        _tell(found)
    code = EXIT_WAITING if any(told.problem for told in found) else 0
    raise typer.Exit(EXIT_DEAD if any(told.dead for told in found) else code)


def dead(
    name: Annotated[str, typer.Argument(help="Of this one alone.", metavar="NAME")] = "",
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, metavar="N")] = 100,
    json: JsonFlag = False,
) -> None:
    """List what was given up, with the reason; it waits for `webhook retry`."""
    from billing_bridge import dead_letters, find_webhook
    from orchestrator.database import reading

    with desk.store() as (_settings, engine), reading(engine) as session:
        if name:
            find_webhook(session, name)
        rows = dead_letters(session, name, limit)
    if json:
        data([row.model_dump() for row in rows])
    elif rows:
        table(("webhook", "seq", "type", "attempts", "reason"), [_letter(row) for row in rows])
    else:
        say("Nothing was given up.")


def retry(
    name: Name,
    seq: Annotated[
        list[int] | None,
        typer.Option(help="Only this one; again for more.", metavar="SEQ"),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Let dead letters wait again, all of them or some."""
    from orchestrator.webhooks import retry as act

    with desk.office() as office:
        count = act(office, name, tuple(seq or ()), desk.actor())
    if json:
        data({"name": name, "waiting_again": count}, acted=True)
    else:
        say(f"{count} wait again. They are sent by: bandmaster webhook run")


def pause(name: Name) -> None:
    """Tell it nothing more for now; what comes meanwhile is told when it resumes."""
    from orchestrator.webhooks import switch

    with desk.office() as office:
        switch(office, name, desk.actor(), active=False)
    say(f"{name} is paused. Go on: bandmaster webhook resume")


def resume(name: Name) -> None:
    """Go on where it was paused."""
    from orchestrator.webhooks import switch

    with desk.office() as office:
        switch(office, name, desk.actor(), active=True)
    say(f"{name} is told again from where it stopped.")


def remove(name: Name, yes: Yes = False) -> None:
    """Remove a subscription with what it has not taken yet."""
    from billing_bridge import find_webhook
    from orchestrator.database import reading
    from orchestrator.webhooks import unsubscribe

    from .ask import agreed, refuse_without_person

    refuse_without_person(yes=yes)
    with desk.office() as office:
        with reading(office.engine) as session:
            find_webhook(session, name)
        if not agreed(f"Forget {name} and what it has not taken?", yes=yes):
            raise typer.Exit(3)
        gone = unsubscribe(office, name, desk.actor())
    say(f"{name} is removed; {gone} deliveries were not taken.")


def _types(text: str) -> list[str]:
    return text.split(",") if text else []


def _shown(state: HookState) -> str:
    from workflows import parse_hook_url

    return parse_hook_url(state.row.url, http=True).shown()


def _value(state: HookState) -> dict[str, object]:
    row = state.row
    return {
        "name": row.name,
        "url": _shown(state),
        "types": _types(row.types),
        "active": row.active,
        "http": row.http,
        "allowed": row.allowed.split(",") if row.allowed else [],
        "allowed_by": row.allowed_by,
        "added_by": row.added_by,
        "added_at": row.added_at,
        "taken": row.taken,
        "last_taken_at": row.last_taken_at,
        "waiting": state.waiting,
        "dead": state.dead,
        "behind": state.behind,
        "last_problem": row.last_problem,
    }


def _row(state: HookState) -> tuple[str | Painted, ...]:
    row = state.row
    return (
        row.name if row.active else f"{row.name} (paused)",
        _shown(state),
        row.types or "all",
        str(row.taken),
        str(state.waiting),
        Painted(str(state.dead), "warn" if state.dead else ""),
        str(state.behind),
        row.last_problem or "-",
    )


def _letter(row: DeliveryRow) -> tuple[str, ...]:
    return (row.name, str(row.seq), row.type, str(row.attempts), row.problem)


def _tell(found: tuple[Told, ...]) -> None:
    if not found:
        say("No system is subscribed.")
    for told in found:
        show(f"{told.name}: {told.taken} taken")
        if told.problem:
            say(paint(f"{told.name}: {clean(told.problem)}", "warn"))
    if any(told.dead for told in found):
        say("Given up, a person is needed: bandmaster webhook dead")
