"""The subscriber sessions of an emulated NAS and the services that give them their rates."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace

from lab.emulators.base import Json

SERVICE = re.compile(r"[A-Za-z][\w-]*\(([0-9]+)([kmg]?),([0-9]+)([kmg]?)\)\Z", re.ASCII)
UNIT = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One live session; `services` are like `bandmaster(100000k,20000k)` (down, up).

    `login_s` is in device seconds; a rate of 0 means that nothing limits the session.
    """

    acct_session_id: str
    user: str
    ip: str = ""
    interface: str = ""
    services: tuple[str, ...] = ()
    down_kbps: int = 0
    up_kbps: int = 0
    login_s: float = 0.0


def rates_of(service: str) -> tuple[int, int]:
    """(down_kbps, up_kbps) of a service text; raises ValueError if it is none."""
    found = SERVICE.match(service)
    if found is None:
        msg = f"{service!r} is not NAME(DOWN,UP)"
        raise ValueError(msg)
    down, down_unit, up, up_unit = found.groups()
    return int(down) * UNIT[down_unit] // 1000, int(up) * UNIT[up_unit] // 1000


class Sessions:
    """The session table; ids are unique."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}

    def open(self, args: Json, login_s: float) -> Session:
        """A session from {user, acct_session_id[, ip][, interface][, service]}.

        Raises ValueError if a field is missing or the id is in use.
        """
        fields = {"user", "acct_session_id", "ip", "interface", "service"}
        if set(args) - fields or not {"user", "acct_session_id"} <= set(args):
            msg = "a session is user, acct_session_id and maybe ip, interface, service"
            raise ValueError(msg)
        identity = str(args["acct_session_id"])
        if identity in self._sessions:
            msg = f"session {identity} is open already"
            raise ValueError(msg)
        session = Session(
            acct_session_id=identity,
            user=str(args["user"]),
            ip=str(args.get("ip", "")),
            interface=str(args.get("interface", "")),
            login_s=login_s,
        )
        service = str(args.get("service", ""))
        self._sessions[identity] = session
        return self.serve(session, (service,)) if service else session

    def serve(self, session: Session, services: tuple[str, ...]) -> Session:
        """Give a session exactly these services; the last one sets the rates."""
        down_kbps, up_kbps = rates_of(services[-1]) if services else (0, 0)
        return self._put(replace(session, services=services, down_kbps=down_kbps, up_kbps=up_kbps))

    def limit(self, session: Session, down_kbps: int, up_kbps: int) -> Session:
        """Set the rates of a session without a service."""
        return self._put(replace(session, down_kbps=down_kbps, up_kbps=up_kbps))

    def close(self, acct_session_id: str) -> None:
        """End a session; raises ValueError if there is none."""
        if self._sessions.pop(acct_session_id, None) is None:
            msg = f"no session {acct_session_id!r}"
            raise ValueError(msg)

    def clear(self) -> None:
        """End all of them."""
        self._sessions.clear()

    def find(self, acct_session_id: str | None, user: str | None) -> Session | None:
        """The session that fits all that is given; by user alone only if it has one session."""
        fitting = [
            session
            for session in self._sessions.values()
            if acct_session_id in (None, session.acct_session_id) and user in (None, session.user)
        ]
        return fitting[0] if len(fitting) == 1 else None

    def all(self) -> tuple[Session, ...]:
        """Every session, oldest first."""
        return tuple(self._sessions.values())

    def listing(self) -> list[Json]:
        """Every session as JSON."""
        return [asdict(session) for session in self._sessions.values()]

    def _put(self, session: Session) -> Session:
        self._sessions[session.acct_session_id] = session
        return session
