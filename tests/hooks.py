"""The other side of a webhook: a server that writes down what it is sent, and answers."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = Callable[["Handler"], None]


@dataclass(slots=True)
class Receiver:
    """What came in: bodies with their headers (in lower case), and how many connections."""

    url: str
    connections: int = 0
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)  # a script saw its peer go
    answer: Answer = field(default_factory=lambda: status(200))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def ids(self) -> list[str]:
        """The event ids that came, in order, repeats too."""
        return [json.loads(body)["id"] for body in self.bodies]


class Handler(BaseHTTPRequestHandler):
    """Reads one request and lets the receiver's script answer it."""

    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def do_POST(self) -> None:
        """Take it down, then answer."""
        length = int(self.headers["Content-Length"])
        self.receiver.bodies.append(self.rfile.read(length))
        named = {name.lower(): value for name, value in self.headers.items()}
        self.receiver.headers.append(named)
        self.receiver.answer(self)

    do_GET = do_POST  # noqa: N815  # the name that the library calls

    def log_message(self, *_words: Any) -> None:
        """Say nothing."""


def status(code: int, *more: tuple[str, str]) -> Answer:
    """An answer of a status alone."""

    def answer(handler: Handler) -> None:
        handler.send_response(code)
        for name, value in (("Content-Length", "0"), *more):
            handler.send_header(name, value)
        handler.end_headers()

    return answer


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver

    def get_request(self) -> Any:
        """Count a connection before anything is said on it."""
        found = super().get_request()
        self.receiver.connections += 1
        return found

    def handle_error(self, *_words: Any) -> None:
        """A peer that hangs up is what some tests are about."""


@contextmanager
def receiver(
    context: ssl.SSLContext | None = None, address: str = "127.0.0.1", port: int = 0
) -> Iterator[Receiver]:
    """Run a receiver on a loopback address, with TLS where a context is given."""
    handler = type("Bound", (Handler,), {})
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    server = type("Bound", (_Server,), {"address_family": family})((address, port), handler)
    found = Receiver(url=f"{'https' if context else 'http'}://{address}:{server.server_port}")
    handler.receiver = server.receiver = found
    if context:
        # the handshake in the connection's own thread: one that never comes must hold nobody up
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A certificate authority of a test's own."""

    folder: Path
    key: ec.EllipticCurvePrivateKey
    own: x509.Certificate

    @property
    def file(self) -> str:
        """Where its certificate stands."""
        return str(self.folder / "ca.pem")

    def context(self, *names: str, age_days: int = 0) -> ssl.SSLContext:
        """Return a server's context with a certificate for these names, `age_days` old."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = _certificate(names[0], key, self.key, self.own.subject, age_days)
        spelled = x509.SubjectAlternativeName([_spelled(name) for name in names])
        signed = made.add_extension(spelled, critical=False).sign(self.key, hashes.SHA256())
        place = self.folder / f"{names[0].replace('*', '_')}-{age_days}.pem"
        place.write_bytes(_pem(key) + signed.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(place)
        return context


def authority(folder: Path) -> Authority:
    """Make an authority in a folder."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    own = (
        _certificate("tests", key, key, name, 0)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))
    return Authority(folder=folder, key=key, own=own)


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer_key: ec.EllipticCurvePrivateKey,
    issuer: x509.Name,
    age_days: int,
) -> x509.CertificateBuilder:
    began = dt.datetime.now(dt.UTC) - dt.timedelta(days=1 + age_days)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + dt.timedelta(days=10))
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _spelled(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


_watching: list[list[tuple[str, Any]]] = []


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        where = arguments[1] if event == "socket.connect" else arguments[0]
        for found in _watching:
            found.append((event, where))


sys.addaudithook(_hear)


@contextmanager
def sockets() -> Iterator[list[tuple[str, Any]]]:
    """Write down every connection and look-up of this process, as Python itself announces them."""
    found: list[tuple[str, Any]] = []
    _watching.append(found)
    try:
        yield found
    finally:
        _watching.remove(found)
