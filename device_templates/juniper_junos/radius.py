"""Speaks to a Junos BNG over RADIUS: the service of a tier, and the sessions that have it."""

from __future__ import annotations

import re

from device_templates.platform import AccessSession, ReplyAttribute
from device_templates.reading import below, first_text, unreadable, xml_root
from inventory import UNKNOWN_RATE, BadField, Rate

from .reading import PLATFORM_NAME

SESSION_LIST = ("rpc:get-subscribers extensive=",)
SERVICE = "bandmaster"  # the dynamic profile that takes (down, up) as its two parameters
_ACTIVATE = "ERX-Service-Activate:1"
_DEACTIVATE = "ERX-Service-Deactivate"
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)
_SERVICE = re.compile(rf"{SERVICE}\(([0-9]{{1,12}})([kmg]?),([0-9]{{1,12}})([kmg]?)\)", re.ASCII)
_BPS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


def service(rate: Rate) -> str:
    """Return a tier's service with its parameters, e.g. `bandmaster(500000k,100000k)`."""
    return f"{SERVICE}({rate.down_kbps}k,{rate.up_kbps}k)"


def radius_reply(rate: Rate, suspended: bool) -> tuple[ReplyAttribute, ...]:  # noqa: ARG001, FBT001
    """Return the group's reply; while suspended, `rate` is the suspended tier's."""
    return (ReplyAttribute(name=_ACTIVATE, op=":=", value=service(rate)),)


def coa(before: Rate, after: Rate, suspended: bool) -> tuple[ReplyAttribute, ...]:  # noqa: ARG001, FBT001
    """Return what changes a live session: the old service goes, the new one comes.

    An unknown old rate is deactivated by the service's bare name.
    """
    old = SERVICE if before == UNKNOWN_RATE else service(before)
    new = ReplyAttribute(name=_ACTIVATE, op=":=", value=service(after))
    if before == after:
        return (new,)
    return (ReplyAttribute(name=_DEACTIVATE, op=":=", value=old), new)


def session_read(login: str) -> tuple[str, ...]:
    """Return the query for one login; BadField for a login that could say more than a name."""
    if not _LOGIN.fullmatch(login):
        thing = f"login {login!r:.80}"
        raise BadField(thing, "holds a character that may not reach a device")
    return (f"rpc:get-subscribers user-name={login} extensive=",)


def session_parse(login: str, replies: tuple[str, ...]) -> tuple[AccessSession, ...]:
    """Return the login's sessions, or with login "" everybody's.

    Raises Unreadable for anything but a subscribers-information.
    The rate is that of the session's one active service of ours (the shape is [K]); none, or two
    that disagree, is a rate that is not known.
    """
    root = xml_root(PLATFORM_NAME, replies[0], "subscribers-information")
    sessions = []
    for row in below(root, "subscriber"):
        user = first_text(row, "user-name")
        if not user or login not in ("", user):
            continue
        identity = first_text(row, "radius-accounting-id")
        if not identity:
            raise unreadable(PLATFORM_NAME, "a subscriber has no radius-accounting-id")
        names = {(name.text or "").strip() for name in below(row, "service-session-name")}
        rates = {_rate(found) for found in map(_SERVICE.fullmatch, names) if found}
        sessions.append(
            AccessSession(
                acct_session_id=identity,
                login=user,
                rate=rates.pop() if len(rates) == 1 else UNKNOWN_RATE,
                interface=first_text(row, "interface"),
                address=first_text(row, "ip-address"),
                started=first_text(row, "login-time"),
            )
        )
    return tuple(sessions)


def _rate(found: re.Match[str]) -> Rate:
    down, up = (int(found[i]) * _BPS[found[i + 1]] // 1000 for i in (1, 3))
    return Rate(down_kbps=down, up_kbps=up)
