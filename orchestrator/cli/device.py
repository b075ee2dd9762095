"""`bandmaster device`: the managed nodes, whether they answer and what they show."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from . import desk
from .ask import agreed, refuse_without_person
from .options import JsonFlag, Yes, command, new_group
from .output import Painted, clean, data, say, show, table, utc
from .progress import Progress

if TYPE_CHECKING:
    from inventory import Device
    from orchestrator.line_views import DeviceCheck
    from workflows import HostKey

Name = Annotated[str, typer.Argument(help="The device.", metavar="DEVICE", show_default=False)]
DRIFT = 3


def add(app: typer.Typer) -> None:
    """Add the commands to the tree."""
    group = new_group("Routers and OLTs: list, look, check, prepare.")
    command(group, "list", "device list")(list_)
    command(group, "show", "device show olt-fra-3")(show_)
    command(group, "check", "device check", "device check olt-fra-3 bng-fra-1")(check)
    command(group, "profiles", "device profiles olt-fra-3", "device profiles olt-fra-3 --apply")(
        profiles
    )
    command(group, "enroll-key", "device enroll-key olt-fra-3")(enroll_key)
    app.add_typer(group, name="device")


def list_(json: JsonFlag = False) -> None:
    """List all devices, with what holds them."""
    from inventory import list_devices
    from orchestrator.database import reading
    from orchestrator.holds import list_holds

    with desk.store() as (settings, engine), reading(engine) as session:
        devices = list_devices(session)
        held = {row.device for row in list_holds(session)}
    if json:
        data([_value(device) for device in devices])
        return
    rows = [
        (
            device.name,
            device.role,
            device.platform,
            f"{device.host}:{device.port}",
            device.site or "-",
            _key_word(settings.known_hosts, device),
            Painted("on hold", "warn") if held & {device.name, "*"} else "-",
        )
        for device in devices
    ]
    table(("device", "role", "platform", "address", "site", "host key", "hold"), rows)


def show_(name: Name, json: JsonFlag = False) -> None:
    """Show one device: how it is reached, its host key, who drives it now, what it carries."""
    from inventory import find_device, list_services
    from orchestrator.database import reading
    from orchestrator.holds import list_holds
    from orchestrator.leases import list_leases
    from workflows import enrolled

    with desk.store() as (settings, engine), reading(engine) as session:
        device = find_device(session, name)
        services = list_services(session, device=name)
        leases = [row for row in list_leases(session) if row.device == name]
        holds = [row for row in list_holds(session) if row.device in (name, "*")]
    keys = (
        () if device.role == "radius" else enrolled(settings.known_hosts, device.host, device.port)
    )
    if json:
        data(
            {
                **_value(device),
                "host_keys": [key.fingerprint for key in keys],
                "services": [service.service_id for service in services],
                "leases": [row.model_dump() for row in leases],
                "holds": [row.model_dump() for row in holds],
            }
        )
        return
    snmp = f"SNMP v{device.snmp.version} port {device.snmp.port}" if device.snmp.port else "none"
    coa = f"{device.coa.host or device.host}:{device.coa.port}" if device.coa.port else "none"
    lines = [
        ("device", f"{device.name}, {device.role}, {device.platform}, site {device.site or '-'}"),
        ("address", f"{device.host}:{device.port}, timeout {device.timeout_s} s"),
        ("login", _login(device)),
        ("evidence", snmp),
        ("CoA", coa),
        ("host key", ", ".join(key.fingerprint for key in keys) or "not enrolled"),
        ("services", _counted([service.state for service in services])),
    ]
    lines += [
        ("lease", f"{r.purpose} by process {r.pid} on {r.host} since {utc(r.since)}")
        for r in leases
    ]
    lines += [("hold", f"since {utc(r.since)} by {r.actor}: {r.reason}") for r in holds]
    for word, text in lines:
        show(f"{word:<10}  {clean(text)}")


def check(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Devices; all of them without it.", metavar="DEVICE..."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Log in, read every line of ours and compare it with the ledger; nothing is changed.

    Ends with 0 when all is as the ledger says, 3 on drift, 1 when a device cannot be used.
    """
    from orchestrator.line_views import check_devices

    with desk.office(Progress()) as office:
        found = check_devices(office, names or ())
    if json:
        data([_check_value(one) for one in found])
    else:
        _tell(found)
    if any(one.problem for one in found):
        raise typer.Exit(1)
    raise typer.Exit(DRIFT if any(one.drifted for one in found) else 0)


def _check_value(one: DeviceCheck) -> dict[str, object]:
    return {
        "device": one.device,
        "problem": one.problem,
        "drifted": one.drifted,
        "lines": one.lines,
    }


def _tell(found: tuple[DeviceCheck, ...]) -> None:
    rows: list[tuple[str | Painted, ...]] = []
    for one in found:
        if one.problem:
            rows.append((one.device, Painted("unusable", "bad"), desk.mask(one.problem)))
        elif one.drifted:
            wrong = sum(not line.ok for line in one.lines)
            rows.append(
                (one.device, Painted("drift", "warn"), f"{wrong} of {len(one.lines)} lines differ")
            )
        else:
            text = f"{len(one.lines)} lines as the ledger says"
            rows.append((one.device, Painted("ok", "good"), text))
        rows += [("", f"  {line.service_id}", line.what) for line in one.lines if not line.ok]
    table(("device", "", "what"), rows)
    for remedy in sorted({one.remedy for one in found if one.problem and one.remedy}):
        say(clean(remedy))


def profiles(
    name: Name,
    apply: Annotated[bool, typer.Option("--apply", help="Make them (asks first).")] = False,
    yes: Yes = False,
    json: JsonFlag = False,
) -> None:
    """Show the rate profiles a device lacks for the catalogue's tiers, or make them.

    A tier change is then one line on the device. No subscriber is touched and nothing is billed.
    Ends with 3 while profiles are missing.
    """
    from orchestrator.profiles import apply_profiles, plan_profiles

    if apply:
        refuse_without_person(yes=yes)
    with desk.office(Progress()) as office:
        lines = plan_profiles(office, name)
        if json and not apply:
            data({"device": name, "missing": lines})
        else:
            for line in lines:
                show(f"  + {clean(line)}")
        if not lines:
            say(f"{name} has every profile the catalogue needs.")
            return
        if not apply:
            say(
                f"{len(lines)} lines are missing. Make them: "
                f"bandmaster device profiles {name} --apply"
            )
            raise typer.Exit(DRIFT)
        if not agreed(f"Send these {len(lines)} lines to {name}?", yes=yes):
            raise typer.Exit(DRIFT)
        apply_profiles(office, name, desk.actor())
    say(f"{name}: {len(lines)} lines sent, read back and saved.")


def enroll_key(
    name: Name,
    fingerprint: Annotated[
        str, typer.Option(help="Accept this key only: SHA256:...", metavar="SHA256:...")
    ] = "",
    yes: Yes = False,
) -> None:
    """Believe the host key a device shows from here on; the deed is written down.

    Compare the fingerprint with what the device's own console shows, or give it with
    --fingerprint. No login is tried.
    """
    from orchestrator.keys import enroll_key as enroll

    refuse_without_person(yes=yes or bool(fingerprint))

    def accept(new: HostKey, old: tuple[HostKey, ...]) -> bool:
        was = ", ".join(key.fingerprint for key in old) or "none"
        say(f"{name}: enrolled {was}")
        say(f"{' ' * len(name)}  shows    {new.fingerprint} ({new.kind})")
        if fingerprint:
            if fingerprint != new.fingerprint:
                say(f"{name}: that is not the fingerprint you gave, {fingerprint}.")
            return fingerprint == new.fingerprint
        if [key.fingerprint for key in old] == [new.fingerprint]:
            return True
        return agreed("Is this the device's own key? Believe it from now on?", yes=yes)

    with desk.office() as office:
        key = enroll(office, name, desk.actor(), accept)
    if key is None:
        say("Nothing was enrolled.")
        raise typer.Exit(1 if fingerprint else DRIFT)
    say(f"{name}: {key.fingerprint} is enrolled.")


def _value(device: Device) -> dict[str, object]:
    """A device as JSON values; references to secrets show their scheme only."""
    return {
        "name": device.name,
        "role": device.role,
        "platform": device.platform,
        "host": device.host,
        "port": device.port,
        "site": device.site,
        "username": device.username,
        "password": str(device.password),
        "key_file": device.key_file,
        "timeout_s": device.timeout_s,
        "snmp_port": device.snmp.port,
        "coa_port": device.coa.port,
    }


def _login(device: Device) -> str:
    key_file = device.key_file or "none"
    return f"{device.username or '-'}, password {device.password}, key file {key_file}"


def _key_word(known_hosts: str, device: Device) -> str:
    from workflows import enrolled

    if device.role == "radius":
        return "-"
    return "enrolled" if enrolled(known_hosts, device.host, device.port) else "not enrolled"


def _counted(states: list[str]) -> str:
    counts = {state: states.count(state) for state in sorted(set(states))}
    return ", ".join(f"{count} {state}" for state, count in counts.items()) or "none"
