"""The BNG's access agent: logs subscribers in, accounts for them, obeys CoA and Disconnect.

It runs inside the BNG's namespace; `python -m lab session` talks to its control socket.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from lab.nas_agent_line import Line, LineError, Octets, Rates, parse_rates
from lab.nas_agent_radius import Nas, RadiusClient, Request, RequestReader

Json = dict[str, Any]
MISSING_ATTRIBUTE = 402
UNSUPPORTED_ATTRIBUTE = 401
NAS_MISMATCH = 403
INVALID_VALUE = 407
NO_SESSION = 503
NO_RESOURCES = 506
_CONTROL_S = 2.0
_NAMES_A_SESSION = ("Acct-Session-Id", "User-Name", "Framed-IP-Address", "NAS-Port-Id")
_NAMES_THE_NAS = ("NAS-IP-Address", "NAS-Identifier")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._+-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One live session on one line."""

    session_id: str
    line: Line
    address: str
    started: datetime
    rates: Rates
    at_start: Octets

    def octets(self) -> Octets:
        """Bytes of this session so far."""
        now = self.line.octets()
        return Octets(
            received=now.received - self.at_start.received, sent=now.sent - self.at_start.sent
        )

    def shown(self) -> Json:
        """The session as JSON."""
        return {
            "login": self.line.login,
            "session_id": self.session_id,
            "interface": self.line.interface,
            "address": self.address,
            "started": _utc(self.started),
            "down_kbps": self.rates.down_kbps,
            "up_kbps": self.rates.up_kbps,
        }


class Agent:
    """Sessions by login; every method either does its whole work or leaves things as they were."""

    def __init__(self, nas: Nas, lines: tuple[Line, ...], sessions_dir: Path) -> None:
        self._nas = nas
        self._lines = {line.login: line for line in lines}
        self._dir = sessions_dir
        self._radius = RadiusClient(nas)
        self._reader = RequestReader(nas.secret)
        self._sessions: dict[str, Session] = {}
        self._announced = False
        self._dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        for line in lines:  # a killed agent leaves files, and perhaps an open line
            self._file(line.login).unlink(missing_ok=True)
            line.close()

    def login(self, login: str) -> Json:
        """Open a session as the subscriber's router would; ValueError says why it was refused."""
        line = self._line(login)
        if login in self._sessions:
            return self._sessions[login].shown()
        if not self._announced:
            self._announced = self._radius.announce()
        password = line.password_file.read_text(encoding="utf-8").strip()
        answer = self._radius.login(login, password, line.interface)
        if not answer.accepted:
            raise ValueError(answer.reason)
        rates = parse_rates(answer.filter_id)
        line.set_rates(rates)
        line = replace(line, address=answer.address or line.address)
        line.open()
        session = Session(
            session_id=secrets.token_hex(8),
            line=line,
            address=line.address,
            started=datetime.now(UTC),
            rates=rates,
            at_start=line.octets(),
        )
        self._sessions[login] = session
        self._write(session)
        self._account("Start", session)
        _say(f"{login}: session {session.session_id} at {rates.down_kbps}/{rates.up_kbps} kbit/s")
        return session.shown()

    def logout(self, login: str, cause: str = "User-Request") -> Json:
        """Close a session; ValueError if there is none."""
        session = self._sessions.pop(self._line(login).login, None)
        if session is None:
            reason = f"{login} has no session"
            raise ValueError(reason)
        session.line.close()
        self._file(login).unlink(missing_ok=True)
        self._account("Stop", session, Acct_Terminate_Cause=cause)
        _say(f"{login}: session {session.session_id} ended, {cause}")
        return session.shown()

    def interim(self, login: str) -> Json:
        """Send an Interim-Update with the session's octets; ValueError if there is no session."""
        session = self._sessions.get(login)
        if session is None:
            reason = f"{login} has no session"
            raise ValueError(reason)
        acknowledged = self._account("Interim-Update", session)
        return {**session.shown(), "acknowledged": acknowledged}

    def interim_all(self) -> None:
        """Send an Interim-Update for every session."""
        for login in tuple(self._sessions):
            self.interim(login)

    def sessions(self) -> Json:
        """All live sessions."""
        return {"sessions": [session.shown() for session in self._sessions.values()]}

    def close(self) -> None:
        """End every session as a NAS that goes down in good order."""
        for login in tuple(self._sessions):
            self.logout(login, "NAS-Reboot")

    def answer(self, data: bytes, sender: tuple[str, int]) -> bytes:
        """The reply to a datagram of the dynamic authorization port; empty: say nothing."""
        known = self._reader.cached(sender, data)
        if known:
            _say(f"duplicate from {sender[0]}: same reply, no second effect")
            return known
        request = self._reader.read(data)
        if isinstance(request, str):
            _say(f"dropped a request from {sender[0]}: {request}")
            return b""
        cause, words = self._obey(request)
        verb = "Disconnect" if request.is_disconnect else "CoA"
        _say(f"{verb} from {sender[0]}: {'ACK' if cause == 0 else f'NAK {cause}'}, {words}")
        return self._reader.reply(sender, data, request, cause)

    def _obey(self, request: Request) -> tuple[int, str]:
        """Do what is asked; (0, what was done) or (Error-Cause, why not)."""
        cause, words = self._fault(request)
        if cause:
            return cause, words
        session = self._find(request)
        if session is None:
            return NO_SESSION, "no such session"
        if request.is_disconnect:
            self.logout(session.line.login, "Admin-Reset")
            return 0, f"{session.session_id} ended"
        try:
            rates = parse_rates(request.value("Filter-Id"))
        except ValueError as error:
            return INVALID_VALUE, str(error)
        try:
            session.line.set_rates(rates)
        except LineError as error:
            return NO_RESOURCES, str(error)
        self._sessions[session.line.login] = replace(session, rates=rates)
        return 0, f"{session.session_id} at {rates.down_kbps}/{rates.up_kbps} kbit/s"

    def _fault(self, request: Request) -> tuple[int, str]:
        names = {name for name, _ in request.attributes}
        allowed = {*_NAMES_A_SESSION, *_NAMES_THE_NAS}
        if not request.is_disconnect:
            allowed.add("Filter-Id")
        strange = (*request.unknown, *sorted(names - allowed))
        if strange:
            return UNSUPPORTED_ATTRIBUTE, f"not understood: {', '.join(strange)}"
        ours = {"NAS-IP-Address": self._nas.address, "NAS-Identifier": self._nas.identifier}
        if any(name in names and request.value(name) != ours[name] for name in _NAMES_THE_NAS):
            return NAS_MISMATCH, "meant for another NAS"
        if not names & set(_NAMES_A_SESSION):
            return MISSING_ATTRIBUTE, "nothing names a session"
        if not request.is_disconnect and "Filter-Id" not in names:
            return MISSING_ATTRIBUTE, "no Filter-Id"
        return 0, ""

    def _find(self, request: Request) -> Session | None:
        """The session that fits everything the request says about it."""
        for session in self._sessions.values():
            have = {
                "Acct-Session-Id": session.session_id,
                "User-Name": session.line.login,
                "Framed-IP-Address": session.address,
                "NAS-Port-Id": session.line.interface,
            }
            if all(request.value(name) in ("", have[name]) for name in _NAMES_A_SESSION):
                return session
        return None

    def _line(self, login: str) -> Line:
        if login not in self._lines:
            reason = f"no line has the login {login!r}"
            raise ValueError(reason)
        return self._lines[login]

    def _file(self, login: str) -> Path:
        if not _FILE_NAME.fullmatch(login):
            reason = f"login {login!r} cannot name a file"
            raise ValueError(reason)
        return self._dir / login

    def _write(self, session: Session) -> None:
        text = (
            f"session {session.session_id}\ninterface {session.line.interface}\n"
            f"address {session.address}\nstarted {_utc(session.started)}\n"
        )
        hidden = self._dir / f".{session.line.login}"
        hidden.write_text(text, encoding="ascii")
        hidden.rename(self._file(session.line.login))  # a reader sees all of it or nothing

    def _account(self, status: str, session: Session, **more: str) -> bool:
        line = session.line
        attributes = self._radius.session_attributes(line.login, line.interface, session.session_id)
        seconds = int((datetime.now(UTC) - session.started).total_seconds())
        sent = self._radius.account(
            status,
            {
                **attributes,
                "Framed_IP_Address": session.address,
                "Acct_Authentic": "RADIUS",
                "Acct_Session_Time": seconds,
                **more,
            },
            session.octets(),
        )
        if not sent:
            _say(f"{line.login}: nobody acknowledged Accounting {status}")
        return sent


class Loop:
    """Serves the CoA port, the control socket and the interim timer until told to end."""

    def __init__(self, agent: Agent, coa: socket.socket, control: socket.socket) -> None:
        self._agent = agent
        self._coa = coa
        self._control = control
        self._ending = False

    def end(self, *_signal: object) -> None:
        """Leave the loop after the present event."""
        self._ending = True

    def run(self, interim_s: int) -> None:
        """Serve; `interim_s` 0 sends no Interim-Update by itself."""
        woken, waker = socket.socketpair()
        waker.setblocking(False)  # noqa: FBT003 - the standard library's own signature
        signal.set_wakeup_fd(waker.fileno())
        with selectors.DefaultSelector() as selector, woken, waker:
            for source in (self._coa, self._control, woken):
                selector.register(source, selectors.EVENT_READ)
            due = time.monotonic() + interim_s
            while not self._ending:
                wait_s = max(0.0, due - time.monotonic()) if interim_s else None
                for key, _ in selector.select(wait_s):
                    self._serve(key.fileobj)
                if interim_s and time.monotonic() >= due:
                    self._agent.interim_all()
                    due = time.monotonic() + interim_s
            signal.set_wakeup_fd(-1)

    def _serve(self, source: object) -> None:
        if source is self._coa:
            data, sender = self._coa.recvfrom(4096)
            reply = self._agent.answer(data, sender)
            if reply:
                self._coa.sendto(reply, sender)
        elif source is self._control:
            connection, _ = self._control.accept()
            connection.settimeout(_CONTROL_S)
            with connection, connection.makefile("rw", encoding="utf-8") as lines:
                self._talk(lines)

    def _talk(self, lines: TextIO) -> None:
        """Answer one command; whoever hangs up or says nothing must not hold up subscribers."""
        try:
            asked = lines.readline()
        except OSError as error:
            _say(f"control: no command came: {error}")
            return
        answer = json.dumps(self._command(asked))
        try:
            lines.write(answer + "\n")
            lines.flush()
        except OSError as error:
            _say(f"control: the answer was not taken: {error}")

    def _command(self, line: str) -> Json:
        agent = self._agent
        try:
            asked = json.loads(line)
            verbs = {"login": agent.login, "logout": agent.logout, "interim": agent.interim}
            if asked["do"] == "sessions":
                return {"ok": True, "result": agent.sessions()}
            return {"ok": True, "result": verbs[asked["do"]](asked["login"])}
        except KeyError as error:
            return {"ok": False, "error": f"missing or unknown: {error.args[0]}"}
        except (ValueError, LineError) as error:
            return {"ok": False, "error": str(error)}


def call(control: Path, do: str, login: str = "") -> Json:
    """Ask a running agent: login, logout, interim (with a login) or sessions.

    Returns its answer; ValueError with its words if it refuses, OSError if it does not run.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(control))
        with connection.makefile("rw", encoding="utf-8") as lines:
            lines.write(json.dumps({"do": do, "login": login}) + "\n")
            lines.flush()
            answer = json.loads(lines.readline())
    if not answer["ok"]:
        raise ValueError(answer["error"])
    result: Json = answer["result"]
    return result


def main() -> int:
    """Run the agent that a configuration file describes."""
    parser = argparse.ArgumentParser(prog="python -m lab.nas_agent", description=__doc__)
    parser.add_argument("config", type=Path, help="JSON file written by the lab")
    config = json.loads(parser.parse_args().config.read_text(encoding="utf-8"))
    os.umask(0o022)
    nas = Nas(**{**config["nas"], "secret_file": Path(config["nas"]["secret_file"])})
    lines = tuple(
        Line(**{**line, "password_file": Path(line["password_file"])}) for line in config["lines"]
    )
    agent = Agent(nas, lines, Path(config["sessions_dir"]))
    control_path = Path(config["control_socket"])
    control_path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as control, socket.socket(type=socket.SOCK_DGRAM) as coa:
        control.bind(str(control_path))
        control_path.chmod(0o600)
        control.listen()
        loop = Loop(agent, coa, control)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, loop.end)
        coa.bind((nas.address, config["coa_port"]))
        loop.run(config["interim_s"])
        agent.close()
        control_path.unlink(missing_ok=True)
    return 0


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _say(text: str) -> None:
    print(f"{_utc(datetime.now(UTC))} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
