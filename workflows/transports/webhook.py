"""One signed document to one URL: the name is looked up once, and only public addresses are met."""

from __future__ import annotations

import http.client
import ipaddress
import re
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from inventory import WrongUse

from .addresses import Address, Network, refusal
from .words import shown

if TYPE_CHECKING:
    from urllib3.connection import HTTPConnection

ANSWER_BYTES = 64 * 1024  # of an answer's body; what is in it means nothing to us
_LONGEST_URL = 2_000
_LIKE = "Write it like https://billing.example/hook"
_HOST = re.compile(r"(?!-)[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")
_PRINTABLE = re.compile(r"[!-~]+")
_OK = range(200, 300)
_REDIRECTS = range(300, 400)
LookUp = Callable[..., list[tuple[Any, ...]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HookUrl:
    """The parts of a webhook's URL; `target` is the path with its query. Nothing else reads it."""

    scheme: str
    host: str
    port: int
    target: str

    def shown(self) -> str:
        """The URL without its query, which may hold what is nobody's business."""
        return f"{self.scheme}://{self.netloc()}{self.target.partition('?')[0]}"

    def netloc(self) -> str:
        """Host and port as an HTTP Host header wants them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme] == self.port
        return host if usual else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HookTarget:
    """Where to, and what a person allowed: networks that are not public, http to loopback.

    `ca_file` names the only authorities that are believed; "" = the system's. `timeout_s` is for
    everything after the name is looked up.
    """

    url: HookUrl
    allowed: tuple[Network, ...] = ()
    ca_file: str = ""
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HookReply:
    """What became of it: `problem` "" = taken (a 2xx); `status` 0 = no answer that counts."""

    status: int
    problem: str = ""


class _NotSentError(Exception):
    """Says why nothing was sent."""


def parse_hook_url(text: str, *, http: bool = False) -> HookUrl:
    """Return the parts of an https URL; with `http` one of http too.

    Raises WrongUse: another scheme, a user or password in it, a fragment, a host or port that is
    none, or characters that a header could be made of.
    """
    thing = "webhook URL"
    if not _PRINTABLE.fullmatch(text) or len(text) > _LONGEST_URL or "\\" in text:
        raise WrongUse(thing, "must be printable ASCII without blanks", "Percent-encode the rest.")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise WrongUse(thing, "is not a URL", _LIKE) from error
    if parts.scheme == "http" and not http:
        raise WrongUse(
            thing, "must be https", "For a test on this host alone: --http --allow 127.0.0.0/8"
        )
    if parts.scheme not in ("https", "http"):
        raise WrongUse(thing, "must be https", _LIKE)
    if "@" in parts.netloc:
        raise WrongUse(thing, "holds a user or a password", "The signature says who is calling.")
    if "#" in text:
        raise WrongUse(thing, "holds a fragment, which no server ever sees")
    host = parts.hostname or ""
    if not _HOST.fullmatch(host) or port == 0:
        raise WrongUse(thing, "names no host", _LIKE)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    usual = 443 if parts.scheme == "https" else 80
    return HookUrl(scheme=parts.scheme, host=host, port=port or usual, target=target)


def send_hook(
    target: HookTarget,
    body: bytes,
    headers: Mapping[str, str],
    *,
    look_up: LookUp = socket.getaddrinfo,
) -> HookReply:
    """POST the body once. Never raises; follows nothing, believes no proxy variable, waits bounded.

    The name is looked up once; if any of its addresses may not be met, none is, and the connection
    goes to exactly the address that was looked at. TLS checks the certificate for the host's name.
    """
    try:
        address = _address(target, look_up)
        return _post(target, address, body, headers)
    except _NotSentError as error:
        return HookReply(status=0, problem=str(error))


def _address(target: HookTarget, look_up: LookUp) -> Address:
    """Return the address to connect to; only its first is used, as the resolver orders them."""
    url = target.url
    try:
        rows = look_up(url.host, url.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise _NotSentError(f"{url.host} was not found: {shown(str(error))}") from error
    found: list[Address] = []
    for row in rows:
        try:
            found.append(ipaddress.ip_address(str(row[4][0])))
        except ValueError as error:
            raise _NotSentError(f"{url.host} has an address that is none") from error
    if not found:
        raise _NotSentError(f"{url.host} has no address")
    for address in found:
        problem = refusal(address, target.allowed)
        if not problem and url.scheme == "http" and not address.is_loopback:
            problem = f"{address} is not this host, and http is for this host alone"
        if problem:
            raise _NotSentError(f"refused: {problem} ({url.host})")
    return found[0]


def _post(
    target: HookTarget, address: Address, body: bytes, headers: Mapping[str, str]
) -> HookReply:
    from urllib3.exceptions import HTTPError  # noqa: PLC0415  # 0.1 s that only this act needs

    connection = _connection(target, address)
    watch = _Watch(connection)
    clock = threading.Timer(target.timeout_s, watch.cut)
    clock.start()
    try:
        return _exchange(target, watch, body, headers)
    except (OSError, ValueError, http.client.HTTPException, HTTPError) as error:
        cause = _root(error)
        if watch.late or isinstance(cause, TimeoutError):
            return HookReply(status=0, problem=f"took longer than {target.timeout_s:g} s")
        return HookReply(status=0, problem=shown(f"{type(cause).__name__}: {cause}"))
    finally:
        clock.cancel()
        with suppress(OSError):
            connection.close()


def _exchange(
    target: HookTarget, watch: _Watch, body: bytes, headers: Mapping[str, str]
) -> HookReply:
    watch.connection.connect()
    watch.opened = watch.connection.sock  # the library lets go of it when the head has come
    own = {"Host": target.url.netloc(), "Connection": "close", "Accept-Encoding": "identity"}
    watch.connection.request(
        "POST", target.url.target, body, {**headers, **own}, preload_content=False
    )
    answer = watch.connection.getresponse()
    try:
        if watch.late:  # a head that was cut off reads as one that ended
            raise TimeoutError
        with suppress(Exception):  # the status is the answer, whatever becomes of the rest
            answer.read(ANSWER_BYTES, decode_content=False)
    finally:
        answer.close()
    return HookReply(status=answer.status, problem=_judged(answer.status))


def _connection(target: HookTarget, address: Address) -> HTTPConnection:
    from urllib3.connection import HTTPConnection, HTTPSConnection  # noqa: PLC0415

    given: dict[str, Any] = {"host": str(address), "port": target.url.port}
    given["timeout"] = target.timeout_s
    if target.url.scheme == "http":
        return HTTPConnection(**given)
    try:
        context = ssl.create_default_context(cafile=target.ca_file or None)
    except OSError as error:
        raise _NotSentError(f"{target.ca_file} holds no certificate that can be read") from error
    return HTTPSConnection(**given, ssl_context=context, server_hostname=target.url.host)


class _Watch:
    """Ends a connection whose time is over: a peer that drips octets would hold it for ever."""

    def __init__(self, connection: HTTPConnection) -> None:
        self.connection = connection
        self.opened: socket.socket | None = None
        self.late = False

    def cut(self) -> None:
        """Shut the socket down, from the clock's own thread."""
        self.late = True
        opened = self.opened or self.connection.sock
        if opened is not None:
            with suppress(OSError):
                # past TLS, whose own state belongs to the thread that is reading
                socket.socket.shutdown(opened, socket.SHUT_RDWR)


def _judged(status: int) -> str:
    if status in _OK:
        return ""
    if status in _REDIRECTS:
        return f"answered {status}: redirects are not followed"
    return f"answered {status}"


def _root(error: BaseException) -> BaseException:
    """Return what a library's error was raised from: its own text shows objects of its own."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
