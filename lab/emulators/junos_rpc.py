"""What an emulated Junos device answers to each remote procedure call it implements."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Protocol

from lab.emulators.junos_config import Config, Policers, Problem
from lab.emulators.junos_database import Commit, Database, Holder, Refusal, refusal
from lab.emulators.junos_xml import error_node, node
from lab.emulators.nas_sessions import Sessions
from lab.emulators.smartax_clock import BOOT_TIME, Clock

MAX_CONFIRM_MIN = 65535


class Device(Protocol):
    """What the calls need of the device."""

    name: str
    db: Database
    clock: Clock
    sessions: Sessions
    booted_s: float
    programmed: Policers

    def kill(self, session_id: int) -> None:
        """End another session; raises Refusal if there is none."""


Body = list[ET.Element]
Call = Callable[[Device, Holder, ET.Element], Body]


def execute(device: Device, holder: Holder, rpc: ET.Element) -> Body:
    """Run one call; refusals become rpc-error elements, an unknown call too."""
    call = CALLS.get(rpc.tag)
    if call is None:
        problem = Problem(severity="error", message="syntax error", bad_element=rpc.tag)
        return [error_node(problem, "operation-not-supported")]
    try:
        return call(device, holder, rpc)
    except Refusal as no:
        errors = [error_node(problem, no.tag) for problem in no.problems]
        if rpc.tag == "commit-configuration":
            return [node("commit-results", *errors)]
        return errors


def names_of(rpc: ET.Element) -> tuple[str, ...]:
    """The names under which a fault may wait for this call.

    A commit also goes by "commit-configuration confirmed", "... check" or "... plain", a load by
    "load-configuration set" or "... rollback", a configuration read by "... compare" or "... read".
    """
    if rpc.tag == "commit-configuration":
        if rpc.find("check") is not None:
            return rpc.tag, f"{rpc.tag} check"
        confirmed = rpc.find("confirmed") is not None
        return rpc.tag, f"{rpc.tag} {'confirmed' if confirmed else 'plain'}"
    if rpc.tag == "load-configuration":
        return rpc.tag, f"{rpc.tag} {'rollback' if rpc.get('rollback') else 'set'}"
    if rpc.tag == "get-configuration":
        return rpc.tag, f"{rpc.tag} {'compare' if rpc.get('compare') else 'read'}"
    return (rpc.tag,)


def _lock(device: Device, holder: Holder, _rpc: ET.Element) -> Body:
    device.db.take_lock(holder)
    return [node("ok")]


def _unlock(device: Device, holder: Holder, _rpc: ET.Element) -> Body:
    device.db.release_lock(holder)
    return [node("ok")]


def _load(device: Device, holder: Holder, rpc: ET.Element) -> Body:
    number = rpc.get("rollback")
    if number is not None:
        device.db.load_rollback(holder, int(number) if number.isdigit() else -1)
        return [node("load-configuration-results", node("ok"))]
    lines = rpc.findtext("configuration-set")
    if rpc.get("action") != "set" or rpc.get("format") != "text" or lines is None:
        msg = "only action=set with configuration-set is implemented"
        raise refusal(msg)
    problems = device.db.load(holder, lines.splitlines())
    results = node("load-configuration-results", *(error_node(problem) for problem in problems))
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        results.append(node("load-error-count", str(len(errors))))
    else:
        results.append(node("ok"))
    return [results]


def _commit(device: Device, holder: Holder, rpc: ET.Element) -> Body:
    known = {"check", "confirmed", "confirm-timeout", "log", "synchronize"}
    for child in rpc:
        if child.tag not in known:
            msg = f"commit option {child.tag} is not implemented"
            raise refusal(msg)
    if rpc.find("check") is not None:
        device.db.check(holder)
        return [_commit_results("commit-check-success")]
    confirm_min = 0
    if rpc.find("confirmed") is not None:
        text = (rpc.findtext("confirm-timeout") or "10").strip()
        confirm_min = int(text) if text.isdigit() else 0
        if not 1 <= confirm_min <= MAX_CONFIRM_MIN:
            msg = "invalid value for confirm-timeout"
            raise refusal(msg)
    device.db.commit(holder, log=rpc.findtext("log") or "", confirm_min=confirm_min)
    return [_commit_results("commit-success")]


def _commit_results(outcome: str) -> ET.Element:
    return node("commit-results", node("routing-engine", node("name", "re0"), node(outcome)))


def _get_configuration(device: Device, _holder: Holder, rpc: ET.Element) -> Body:
    form = rpc.get("format", "xml")
    if rpc.get("compare") == "rollback" and form == "text":
        number = rpc.get("rollback", "0")
        text = device.db.compare(int(number) if number.isdigit() else -1)
        output = node("configuration-output", "\n" + text if text else "\n")
        return [node("configuration-information", output)]
    database = rpc.get("database", "candidate")
    if form not in ("text", "set") or database not in ("candidate", "committed"):
        msg = "only format text or set of database candidate or committed is implemented"
        raise refusal(msg)
    config = device.db.running if database == "committed" else device.db.edited
    config = _filtered(config, rpc)
    if form == "set":
        return [node("configuration-set", "\n".join(("", *config.set_lines(), "")))]
    last = device.db.history[0]
    what = "commit" if database == "committed" or device.db.candidate is None else "changed"
    by = f" by {last.user}" if what == "commit" else ""
    head = f"\n## Last {what}: {_date(last.at_s)}{by}\n"
    return [node("configuration-text", head + config.text())]


def _filtered(config: Config, rpc: ET.Element) -> Config:
    wanted = rpc.find("configuration")
    if wanted is None or not len(wanted):
        return config
    if any(len(top) for top in wanted):
        msg = "a filter below the top of the hierarchy is not implemented"
        raise refusal(msg)
    return config.only(frozenset(top.tag for top in wanted))


def _get_rollback(device: Device, _holder: Holder, rpc: ET.Element) -> Body:
    number = (rpc.findtext("rollback") or "").strip()
    form = (rpc.findtext("format") or "text").strip()
    config = device.db.rollback(int(number) if number.isdigit() else -1)
    if form not in ("text", "set"):
        msg = "only format text or set is implemented"
        raise refusal(msg)
    text = config.text() if form == "text" else "\n".join(config.set_lines()) + "\n"
    information = node("configuration-information", node("configuration-output", "\n" + text))
    return [node("rollback-information", information)]


def _get_commits(device: Device, _holder: Holder, _rpc: ET.Element) -> Body:
    entries = []
    for place, commit in enumerate(device.db.history):
        entry = node("commit-history", node("sequence-number", str(place)), *_described(commit))
        if place == 0 and device.db.pending is not None:
            entry.append(node("commit-confirmed", "rollback pending"))
        entries.append(entry)
    return [node("commit-information", *entries)]


def _get_revision(device: Device, _holder: Holder, _rpc: ET.Element) -> Body:
    last = device.db.history[0]
    epoch_s = _epoch_s(last.at_s)
    revision = node("revision", f"re0-{epoch_s}-{last.number}")
    return [node("commit-revision-information", revision, *_described(last))]


def _described(commit: Commit) -> Iterator[ET.Element]:
    yield node("user", commit.user)
    yield node("client", commit.client)
    yield node("date-time", _date(commit.at_s), seconds=str(_epoch_s(commit.at_s)))
    if commit.comment:
        yield node("comment", commit.comment)
    if commit.log:
        yield node("log", commit.log)


def _get_uptime(device: Device, _holder: Holder, _rpc: ET.Element) -> Body:
    now_s = device.clock.now_s()
    up_s = int(now_s - device.booted_s)
    now = node("date-time", _date(now_s), seconds=str(_epoch_s(now_s)))
    booted = node("date-time", _date(device.booted_s), seconds=str(_epoch_s(device.booted_s)))
    length = node("time-length", str(timedelta(seconds=up_s)), seconds=str(up_s))
    return [
        node(
            "system-uptime-information",
            node("current-time", now),
            node("system-booted-time", booted, length),
        )
    ]


def _get_interfaces(device: Device, _holder: Holder, rpc: ET.Element) -> Body:
    if rpc.find("routing-instance") is not None:
        msg = "routing-instance is not implemented"
        raise refusal(msg)
    interfaces = []
    for names, units in device.db.running.only(frozenset({"interfaces"})).tree().items():
        if names != ("interfaces",):
            continue
        for (port, *_), branch in units.items():
            physical = node("physical-interface", node("name", port))
            physical.append(node("admin-status", "up"))
            physical.append(node("oper-status", "up"))
            for words in branch:
                if words[0] == "unit":
                    name = node("name", f"{port}.{words[1]}")
                    physical.append(node("logical-interface", name))
            interfaces.append(physical)
    return [node("interface-information", *interfaces)]


def _get_software(device: Device, _holder: Holder, _rpc: ET.Element) -> Body:
    host = device.db.running.value("system", "host-name") or device.name
    return [
        node(
            "software-information",
            node("host-name", host),
            node("product-model", "mx204"),
            node("product-name", "mx204"),
            node("junos-version", "23.4R1.10"),
        )
    ]


def _get_chassis(_device: Device, _holder: Holder, _rpc: ET.Element) -> Body:
    chassis = node("chassis", node("name", "Chassis"), node("serial-number", "EM0000000001"))
    chassis.append(node("description", "MX204"))
    return [node("chassis-inventory", chassis)]


def _get_policers(device: Device, _holder: Holder, rpc: ET.Element) -> Body:
    """Which policers the forwarding plane has for each unit; the shape is a guess [K].

    One physical-interface per port, in it a logical-interface per unit, in it a policer-family per
    family; policer-input and policer-output as POLICER-UNIT-FAMILY-i and ...-o.
    """
    wanted = (rpc.findtext("interface-name") or "").strip()
    ports: dict[str, ET.Element] = {}
    for unit, families in device.programmed.items():
        port = unit.partition(".")[0]
        if wanted not in ("", unit, port):
            continue
        if port not in ports:
            ports[port] = node("physical-interface", node("name", port))
        logical = node("logical-interface", node("name", unit))
        for family, sides in families.items():
            entry = node("policer-family", node("policer-family-name", family))
            for side in ("input", "output"):
                if side in sides:
                    name = f"{sides[side]}-{unit}-{family}-{side[0]}"
                    entry.append(node(f"policer-{side}", name))
            logical.append(entry)
        ports[port].append(logical)
    return [node("interface-policer-information", *ports.values())]


def _get_subscribers(device: Device, _holder: Holder, rpc: ET.Element) -> Body:
    """Live sessions, all or those of `user-name`; the shape of the service part is a guess [K]."""
    user = rpc.findtext("user-name")
    rows = []
    for session in device.sessions.all():
        if user is not None and session.user != user.strip():
            continue
        row = node("subscriber", node("interface", session.interface))
        row.append(node("ip-address", session.ip))
        row.append(node("user-name", session.user))
        row.append(node("state", "Active"))
        row.append(node("radius-accounting-id", session.acct_session_id))
        epoch_s = str(_epoch_s(session.login_s))
        row.append(node("login-time", _date(session.login_s), seconds=epoch_s))
        row.extend(node("service-session-name", service) for service in session.services)
        if session.down_kbps:
            row.append(node("effective-shaping-rate", f"{session.down_kbps}k"))
        rows.append(row)
    return [node("subscribers-information", *rows)]


def _kill(device: Device, _holder: Holder, rpc: ET.Element) -> Body:
    text = (rpc.findtext("session-id") or "").strip()
    device.kill(int(text) if text.isdigit() else -1)
    return [node("ok")]


def _close(_device: Device, _holder: Holder, _rpc: ET.Element) -> Body:
    return [node("ok")]


def _date(at_s: float) -> str:
    return (BOOT_TIME + timedelta(seconds=at_s)).strftime("%Y-%m-%d %H:%M:%S UTC")


def _epoch_s(at_s: float) -> int:
    return int(BOOT_TIME.timestamp() + at_s)


CALLS: dict[str, Call] = {
    "lock-configuration": _lock,
    "unlock-configuration": _unlock,
    "load-configuration": _load,
    "commit-configuration": _commit,
    "get-configuration": _get_configuration,
    "get-rollback-information": _get_rollback,
    "get-commit-information": _get_commits,
    "get-commit-revision-information": _get_revision,
    "get-system-uptime-information": _get_uptime,
    "get-interface-information": _get_interfaces,
    "get-software-information": _get_software,
    "get-chassis-inventory": _get_chassis,
    "get-interface-policer-information": _get_policers,
    "get-subscribers": _get_subscribers,
    "kill-session": _kill,
    "close-session": _close,
}
