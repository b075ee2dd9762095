"""`bandmaster usage`: what was measured on its way into the ledger, and what is left over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import desk
from .options import JsonFlag, Reason, command, new_group
from .output import Painted, clean, data, say, show, table, utc
from .trouble import stopped_with

if TYPE_CHECKING:
    import datetime as dt

    from billing_bridge import UsageException, UsedWindow
    from orchestrator.collect import Round
    from orchestrator.office import Office
    from orchestrator.usage import Counted
    from orchestrator.usage_people import PeriodUsage

SLOT_S = 300  # as long as a slot of the percentile
_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("What services have used.")
    command(group, "radius", "usage radius")(radius)
    command(group, "collect", "usage collect", "usage collect --watch")(collect)
    command(group, "percentile", "usage percentile", "usage percentile --again")(percentile)
    command(group, "import", "usage import may.csv --mapping cdr.yaml")(import_)
    command(group, "show", "usage show svc-1042", "usage show svc-1042 --days 62 --json")(show_)
    odd = new_group("Usage that could not be counted, with what it may cost.")
    command(odd, "list", "usage exceptions list", "usage exceptions list --all --json")(list_)
    command(
        odd,
        "resolve",
        "usage exceptions resolve u-0197a3f2 record --service svc-1042",
        'usage exceptions resolve u-0197a3f2 ignore --reason "test line of our own"',
    )(resolve)
    group.add_typer(odd, name="exceptions")
    app.add_typer(group, name="usage")


def radius(json: JsonFlag = False) -> None:
    """Read FreeRADIUS's accounting and post what is new, hour by hour, into the ledger.

    Run it from a timer every few minutes: it reads new rows and those of open sessions, and may be
    stopped anywhere. An hour is counted once it is over (setting usage_wait_s); what comes later
    corrects it.
    """
    from orchestrator.usage import read_radacct, roll_up

    with desk.store() as (settings, engine):
        kept = read_radacct(engine)
        counted = roll_up(engine, settings, desk.actor())
    if json:
        data({"read": kept, "counted": counted})
        return
    show(f"{kept.readings} new readings")
    tell(counted, kept.exceptions)


def collect(
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on, a round every five minutes, until stopped.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Read the counters of the interfaces that carry services, by SNMP, and count what is due.

    Each interface is kept once in five minutes, whoever reads it and how often. What a restart, a
    silent device or an impossible count leaves unknown stays unknown. Ends with 1 where a device
    could not be read; what goes on is stopped by Ctrl-C or SIGTERM and ends with 0.
    """
    if not watch:
        with desk.office() as office:
            done = _round(office, json=json)
        raise typer.Exit(int(bool(done.unread)))
    import time

    from inventory import BandmasterError

    words = "Stopped. What was read is kept, and is counted by the next round."
    with stopped_with(0, words), desk.office() as office:
        while True:
            try:
                _round(office, json=json)
            except BandmasterError as problem:  # a store that is away comes back
                say(clean(str(problem)))
            office.clock.sleep(SLOT_S - time.time() % SLOT_S)


def _round(office: Office, *, json: bool) -> Round:
    from orchestrator.collect import collect as read
    from orchestrator.usage import roll_up

    done = read(office)
    counted = roll_up(office.engine, office.settings, desk.actor())
    if json:
        data({"collected": done, "counted": counted})
    else:
        show(f"{done.samples} interfaces of {done.devices} devices")
        if not done.devices:
            # those with a login are counted by RADIUS
            say("No service without a login is on a device that has `snmp` in the inventory.")
        _tell_unread(done)
        tell(counted)
    return done


def percentile(
    again: Annotated[
        bool, typer.Option("--again", help="Compute what was posted once more, and correct it.")
    ] = False,
    json: JsonFlag = False,
) -> None:
    """Post the 95th percentile of the periods that are over, where the plan commits to a rate.

    Run it once a day. It looks at the two newest periods; slots that are not known count neither as
    zero nor as anything else, and the coverage is posted with the rate.
    """
    from billing_bridge import METHOD
    from orchestrator.usage import post_percentiles

    with desk.store() as (settings, engine):
        counted = post_percentiles(engine, settings, desk.actor(), again=again)
    if json:
        data({"counted": counted, "method": METHOD})
    else:
        tell(counted)
        show(METHOD)


def import_(
    file: Annotated[Path, typer.Argument(help="CSV with a header line.", metavar="FILE")],
    mapping: Annotated[
        Path, typer.Option(help="YAML: which column is what.", metavar="MAP")
    ] = Path("usage.yaml"),
    json: JsonFlag = False,
) -> None:
    """Post usage of a CSV file: each line a window of a service, by a mapping of its columns.

    A mapping says `service` (with `by: login` where it is a login), `since`, `until` or `window_s`,
    `time_zone` of times without an offset, perhaps a `key`, and `meters`: for each of down, up and
    p95 its `column` and `unit` (or `unit_column`). The same lines again change nothing; a line that
    cannot be read stops the file before anything is written.
    """
    from orchestrator.usage_import import import_usage

    with desk.store() as (settings, engine):
        counted = import_usage(engine, settings, file, mapping, desk.actor())
    if json:
        data(counted)
    else:
        tell(counted)


def _tell_unread(done: Round) -> None:
    for name, why in done.unread.items():
        say(f"{name}: not read: {clean(why)}")
    for name, interfaces in done.missing.items():
        say(f"{name}: has no 64-bit counters of {', '.join(map(clean, interfaces))}")
    for name, services in done.shared.items():
        say(f"{name}: carries {services}: counted for neither")


def tell(counted: Counted, exceptions: int = 0) -> None:
    """Say what came into the ledger, and that exceptions wait where any are new."""
    show(f"{counted.events} events, {counted.unchanged} windows stand as they were")
    if new := counted.exceptions + exceptions:
        say(f"{new} new exceptions wait for a decision: bandmaster usage exceptions list")


def show_(
    service: Annotated[str, typer.Argument(help="The service.", metavar="SERVICE")],
    days: Annotated[int, typer.Option(help="How many days back.", min=1, max=3660)] = 31,
    json: JsonFlag = False,
) -> None:
    """Show what a service has used, by date, as the ledger has it."""
    from billing_bridge import METHOD
    from orchestrator.usage_people import usage_view

    with desk.store() as (_settings, engine):
        view = usage_view(engine, service, days)
    if json:
        data(view)
        return
    show(f"{view.service_id}, dates of {view.time_zone}, from {utc(view.since)}")
    table(
        ("date", "down", "up"),
        [(f"{date}", size(down), size(up)) for date, (down, up) in view.dates.items()],
    )
    if not view.dates:
        say("The ledger has no bytes of it there.")
    if view.counted is not None:
        _show_counted(view.counted)
    rates = [window for window in view.windows if window.unit == "bit_per_s"]
    for window in rates:
        show(_rate(window))
    if rates:
        show(METHOD)
    if view.exceptions:
        show()
        table(COLUMNS, [_row(one) for one in view.exceptions])


def _show_counted(counted: PeriodUsage) -> None:
    period = f"{counted.plan_code}, {counted.since} to {counted.until}"
    of = f" of {size(counted.allowance_bytes)} included" if counted.allowance_bytes else ""
    show(f"{period}: {size(counted.counted_bytes)} counted{of}")
    if counted.slowed:
        show(
            f"beyond fair use of {size(counted.fair_use_bytes)}: the line may be slowed down to "
            f"{counted.fair_use_tier}, which costs nothing"
        )


def size(bytes_: int) -> str:
    """Return bytes as people read them: 1 kB is 1000 bytes."""
    value, unit = float(bytes_), 0
    while abs(value) >= 1000 and unit < len(_UNITS) - 1:  # noqa: PLR2004 - of the units
        value, unit = value / 1000, unit + 1
    return f"{value:.3f} {_UNITS[unit]}" if unit else f"{bytes_} B"


def _rate(window: UsedWindow) -> str:
    covered = f"{window.coverage_bp / 100:.2f} % of the slots" if window.coverage_bp >= 0 else ""
    return (
        f"{utc(window.since, seconds=False)} to {utc(window.until, seconds=False)}: "
        f"{window.quantity} bit/s, {window.samples} samples, {covered}"
    )


COLUMNS = ("id", "kind", "price", "of", "from", "quantity", "why")


def list_(
    every: Annotated[bool, typer.Option("--all", help="Those decided as well.")] = False,
    json: JsonFlag = False,
) -> None:
    """List usage that could not be counted, dearest first."""
    from billing_bridge import list_problems
    from orchestrator.database import reading

    with desk.store() as (_settings, engine), reading(engine) as session:
        found = list_problems(session, closed=every)
    if json:
        data(found)
    elif found:
        table(COLUMNS, [_row(one) for one in found])
    else:
        say("All usage is counted.")


def _row(one: UsageException) -> tuple[str | Painted, ...]:
    from inventory import money_text
    from orchestrator.journal import short

    money = money_text(one.amount_minor, one.currency, one.exponent) if one.currency else "-"
    state = "" if one.status == "open" else f" ({one.status})"
    return (
        short(one.exception_id, "u"),
        f"{one.kind}{state}",
        Painted(money, "warn"),
        one.service_id or one.identifier,
        _since(one.since),
        size(one.quantity) if one.unit == "byte" else f"{one.quantity} {one.unit}",
        str(one.evidence.get("why", "-")),
    )


def _since(instant: dt.datetime | None) -> str:
    return utc(instant, seconds=False)


def resolve(
    identifier: Annotated[str, typer.Argument(help="The exception, as listed.", metavar="ID")],
    action: Annotated[str, typer.Argument(help="record, ignore or ack.", metavar="ACTION")],
    service: Annotated[
        str, typer.Option(help="Whose usage it is, where that is not known.", metavar="SERVICE")
    ] = "",
    reason: Reason = "",
    json: JsonFlag = False,
) -> None:
    """Decide about one: count it after all, leave it out for good, or say that it is looked after.

    `record` counts usage of a login that nobody had (--service names whose it is), or of longer ago
    than is counted by itself. `ignore` needs --reason.
    """
    from orchestrator.database import reading
    from orchestrator.usage_people import answer_problem

    from .ids import resolve as resolve_id

    with desk.store() as (_settings, engine):
        with reading(engine) as session:
            _, exception_id = resolve_id(session, "u", identifier)
        found = answer_problem(engine, exception_id, action, service, desk.actor(), reason)
    if json:
        data(found)
    else:
        show(f"{identifier}: {found.status} by {found.decided_by}")
