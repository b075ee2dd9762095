"""The webhook's wire over real sockets and real TLS: what counts as taken, and what it refuses."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inventory import WrongUse
from tests.hooks import Authority, Handler, Receiver, authority, receiver, sockets, status
from workflows import HookReply, HookTarget, parse_hook_url, send_hook

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
NAME = "billing.example"


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def tls(ca: Authority) -> Iterator[Receiver]:
    """A receiver with a good certificate for NAME."""
    with receiver(ca.context(NAME)) as found:
        yield found


def at_loopback(*_asked: object, **_given: object) -> list[tuple[object, ...]]:
    """A resolver that knows one host, which is here."""
    return [(2, 1, 6, "", ("127.0.0.1", 0))]


def send(ca: Authority, url: str, timeout_s: float = 5.0, file: str = "") -> HookReply:
    target = HookTarget(
        url=parse_hook_url(url, http=True),
        allowed=LOOPBACK,
        ca_file=file or ca.file,
        timeout_s=timeout_s,
    )
    return send_hook(target, b'{"id":"1"}', {"X-Own": "yes"}, look_up=at_loopback)


def test_a_document_arrives_as_it_was_made(ca: Authority, tls: Receiver) -> None:
    reply = send(ca, f"https://{NAME}:{tls.port}/in?tenant=5")
    assert reply == HookReply(status=200)
    headers = tls.headers[0]
    assert tls.bodies == [b'{"id":"1"}']
    assert (headers["host"], headers["x-own"]) == (f"{NAME}:{tls.port}", "yes")
    assert headers["connection"] == "close"


@pytest.mark.parametrize("code", [199, 300, 304, 400, 401, 404, 410, 429, 500, 503, 599])
def test_only_a_2xx_is_taken(ca: Authority, tls: Receiver, code: int) -> None:
    if code == 199:  # a server may send any number of such before it answers
        tls.answer = lambda h: h.wfile.write(b"HTTP/1.1 199 Odd\r\n\r\n")  # type: ignore[func-returns-value]
    else:
        tls.answer = status(code)
    reply = send(ca, f"https://{NAME}:{tls.port}/")
    assert reply.problem.startswith(f"answered {code}")


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(ca: Authority, tls: Receiver, code: int) -> None:
    with receiver() as inside:
        tls.answer = status(code, ("Location", inside.url))
        reply = send(ca, f"https://{NAME}:{tls.port}/")
    assert reply.problem == f"answered {code}: redirects are not followed"
    assert (tls.connections, inside.connections) == (1, 0)


def test_tls_is_believed_for_the_hosts_name_alone(ca: Authority, tmp_path: Path) -> None:
    """Goal: wrong name, old certificate, other authority, no TLS: nothing of the body is sent."""
    (tmp_path / "other").mkdir()
    others = authority(tmp_path / "other")
    empty = tmp_path / "empty.pem"
    empty.touch()
    cases = [
        (ca.context("other.example"), "", "mismatch"),
        (ca.context("127.0.0.1"), "", "mismatch"),
        (ca.context(NAME, age_days=30), "", "expired"),
        (ca.context(NAME), others.file, "CERTIFICATE_VERIFY_FAILED"),
        (ca.context(NAME), str(empty), "no certificate that can be read"),
        (None, "", "SSL"),
    ]
    for context, file, words in cases:
        with receiver(context) as found:
            reply = send(ca, f"https://{NAME}:{found.port}/", file=file)
            assert (reply.status, found.bodies) == (0, []), words
            assert words.lower() in reply.problem.lower()


def _drip(handler: Handler) -> None:
    """Begin an answer and never end its first header."""
    stop = threading.Event()
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not stop.wait(0.05):
            handler.wfile.write(b"x")
    except OSError:
        return


def _continue(handler: Handler) -> None:
    """Ask for patience without end."""
    try:
        while True:
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    except OSError:
        return


def _silent(handler: Handler) -> None:
    """Say nothing until the other side has gone."""
    handler.connection.recv(1)


@pytest.mark.parametrize("answer", [_drip, _continue, _silent])
def test_a_slow_answer_is_cut_off(ca: Authority, tls: Receiver, answer: object) -> None:
    tls.answer = answer  # type: ignore[assignment]
    reply = send(ca, f"https://{NAME}:{tls.port}/", timeout_s=0.5)
    assert reply == HookReply(status=0, problem="took longer than 0.5 s")


def _drip_body(handler: Handler) -> None:
    """Answer, then never end what follows: taken it is, but nobody waits for it."""
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not threading.Event().wait(0.05):
            handler.wfile.write(b"x")
    except OSError:
        handler.receiver.left.set()


def test_a_body_that_drips_holds_nobody(ca: Authority, tls: Receiver) -> None:
    tls.answer = _drip_body
    assert send(ca, f"https://{NAME}:{tls.port}/", timeout_s=0.5) == HookReply(status=200)
    assert tls.left.wait(30)


def _endless(handler: Handler) -> None:
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n")
        while True:
            handler.wfile.write(b"\x1f\x8b" * 50_000)
    except OSError:
        return


def test_an_answer_without_end_is_not_read_to_it(ca: Authority, tls: Receiver) -> None:
    tls.answer = _endless
    assert send(ca, f"https://{NAME}:{tls.port}/") == HookReply(status=200)


def _headers(handler: Handler) -> None:
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 10_000 + b"\r\n")
    except OSError:
        return


@pytest.mark.parametrize(
    "answer",
    [
        _headers,
        lambda h: h.wfile.write(b"\x00" * 100_000 + b"\r\n\r\n"),
        lambda h: h.connection.close(),
    ],
)
def test_nonsense_is_not_taken(ca: Authority, tls: Receiver, answer: object) -> None:
    tls.answer = answer  # type: ignore[assignment]
    reply = send(ca, f"https://{NAME}:{tls.port}/")
    assert reply.status == 0
    assert reply.problem


def test_no_proxy_of_the_environment_is_used(
    ca: Authority, tls: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        assert send(ca, f"https://{NAME}:{tls.port}/").status == 200
    assert proxy.connections == 0


def test_nobody_there_is_a_problem_and_no_error(ca: Authority, tls: Receiver) -> None:
    with receiver() as gone:
        pass
    assert "Refused" in send(ca, f"https://{NAME}:{gone.port}/").problem
    missing = HookTarget(url=parse_hook_url("https://nobody.invalid/"))
    with sockets() as seen:
        reply = send_hook(missing, b"", {}, look_up=_nowhere)
    assert "nobody.invalid was not found" in reply.problem
    assert seen == []
    assert tls.connections == 0


def _nowhere(*_asked: object, **_given: object) -> list[tuple[object, ...]]:
    raise OSError(-2, "Name or service not known")


BAD_URLS = [
    ("http://billing.example/", "must be https"),
    ("ftp://billing.example/", "must be https"),
    ("file:///etc/passwd", "must be https"),
    ("gopher://billing.example/", "must be https"),
    ("billing.example/hook", "must be https"),
    ("", "printable ASCII"),
    ("https://", "names no host"),
    ("https:///hook", "names no host"),
    ("https://user:secret@billing.example/", "a user or a password"),
    ("https://billing.example@127.0.0.1/", "a user or a password"),
    ("https://billing.example/#part", "a fragment"),
    ("https://billing.example:0/", "names no host"),
    ("https://billing.example:65536/", "is not a URL"),
    ("https://billing.example:x/", "is not a URL"),
    ("https://billing.example/a b", "printable ASCII"),
    ("https://billing.example/\r\nX-Own: 1", "printable ASCII"),
    ("https://billing.example\\@127.0.0.1/", "printable ASCII"),
    ("https://b\u00fccher.example/", "printable ASCII"),
    ("https://\u2460\u2461\u2466.0.0.1/", "printable ASCII"),
    ("https://[fe80::1%25lo]/", "names no host"),
    ("https://[::1/", "is not a URL"),
    ("https://billing.example/" + "x" * 2000, "printable ASCII"),
]


@pytest.mark.parametrize(("url", "words"), BAD_URLS)
def test_what_is_no_address_for_a_webhook_is_refused(url: str, words: str) -> None:
    with pytest.raises(WrongUse) as refused:
        parse_hook_url(url)
    assert words in f"{refused.value} {refused.value.remedy}"
    assert "secret" not in str(refused.value)
