"""CoA against an emulated NAS, and against datagrams that a forger would send."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import io
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
from pyrad.client import Client
from pyrad.dictionary import Dictionary
from pyrad.packet import CoAPacket
from transport_rig import Rig, address, free_port

from device_templates import AccessSession, ReplyAttribute
from inventory import BadSettings, CoaTarget, Device, Rate, SecretRef
from workflows.transports import CoaReply, send_coa

StartBng = Callable[..., Rig]

SECRET = "radius-secret"
BEFORE = Rate(down_kbps=50_000, up_kbps=10_000)
AFTER = Rate(down_kbps=100_000, up_kbps=20_000)
LOGIN = "alice@isp"
SESSION = AccessSession(acct_session_id="s-1", login=LOGIN, rate=BEFORE, address="100.64.0.2")
OPEN = {
    "user": LOGIN,
    "acct_session_id": "s-1",
    "ip": "100.64.0.2",
    "interface": "pp0.1",
    "service": "bandmaster(50000k,10000k)",
}


class Nas:
    """An emulated Junos NAS with one session, asked as the orchestrator asks."""

    def __init__(self, rig: Rig, port: int) -> None:
        self.rig = rig
        coa = CoaTarget(port=port, secret=SecretRef(ref="test:x"))
        self.device = rig.context(coa=coa).device
        assert rig.platform.coa is not None
        self.attributes = rig.platform.coa(BEFORE, AFTER, False)  # noqa: FBT003 - the platform's signature

    def send(
        self,
        *,
        action: str = "coa",
        secret: str = SECRET,
        session: AccessSession = SESSION,
        timeout_s: float = 5.0,
    ) -> CoaReply:
        """One request, sent at most twice; `timeout_s` is short where no answer is expected."""
        attributes = self.attributes if action == "coa" else ()
        return send_coa(
            self.device, secret, session, attributes, action, tries=2, timeout_s=timeout_s
        )

    def rate(self) -> Rate:
        """The live rate as the router itself shows it; 0/0 when the session is gone."""
        read, parse = self.rig.platform.session_read, self.rig.platform.session_parse
        assert read is not None
        assert parse is not None
        wire = self.rig.open()
        found = parse(LOGIN, wire.ask(read(LOGIN)))
        wire.close()
        return found[0].rate if found else Rate(down_kbps=0, up_kbps=0)

    def fault(self, kind: str, arg: str = "", verb: str = "CoA-Request", count: int = 1) -> None:
        """Arm one fault of the NAS."""
        self.rig.fault(verb, kind, arg, count=count)

    def heard(self) -> list[str]:
        """The requests that arrived and were not dropped."""
        entries = self.rig.control("log")["entries"]
        return [e["text"] for e in entries if e["what"].endswith("-Request")]


@pytest.fixture
def nas(start_bng: StartBng) -> Nas:
    """A NAS with alice's session."""
    port = free_port(socket.SOCK_DGRAM)
    return Nas(start_bng(sessions=[OPEN], radius={"port": port, "secret": SECRET}), port)


def test_ack_changes_the_live_rate(nas: Nas) -> None:
    """Goal: the tagged service attributes of the platform's dictionary reach the session."""
    assert nas.send() == CoaReply(kind="ACK")
    assert nas.rate() == AFTER
    assert f"user={LOGIN} session=s-1" in nas.heard()[0]


def test_disconnect_ends_the_session(nas: Nas) -> None:
    """Goal: Disconnect-Request carries the session keys alone and ends it."""
    assert nas.send(action="disconnect").kind == "ACK"
    assert nas.rate() == Rate(down_kbps=0, up_kbps=0)


def test_unknown_session(nas: Nas) -> None:
    """Goal: NAK 503 tells that the subscriber is offline."""
    gone = AccessSession(acct_session_id="s-9", login=LOGIN, rate=BEFORE)
    for action in ("coa", "disconnect"):
        reply = nas.send(action=action, session=gone)
        assert (reply.kind, reply.error_cause) == ("NAK", 503)
        assert reply.text == "session context not found"


@pytest.mark.parametrize("cause", [401, 404, 506, 599])
def test_refusals_keep_their_cause(nas: Nas, cause: int) -> None:
    """Goal: Error-Cause arrives as it is, known to us or not; the session keeps its rate."""
    nas.fault("refuse", str(cause))
    reply = nas.send()
    assert (reply.kind, reply.error_cause) == ("NAK", cause)
    assert reply.text
    assert nas.rate() == BEFORE


def test_ack_without_effect_is_seen_by_reading(nas: Nas) -> None:
    """Goal: an ACK proves nothing; the session read does."""
    nas.fault("no_effect")
    assert nas.send().kind == "ACK"
    assert nas.rate() == BEFORE


def test_silence(nas: Nas) -> None:
    """Goal: no answer to any of the requests is SILENCE, not an error."""
    nas.fault("hang_before", count=5)
    reply = nas.send(timeout_s=0.2)
    assert (reply.kind, reply.dropped) == ("SILENCE", 0)
    assert len(nas.heard()) == 2


def test_lost_answer_has_one_effect(nas: Nas) -> None:
    """Goal: the repetition is the same request, so the NAS answers it without acting again."""
    nas.fault("hang_after")
    assert nas.send(timeout_s=0.5).kind == "ACK"
    first, second = nas.heard()
    assert second == f"{first} again"
    assert nas.rate() == AFTER


@pytest.mark.parametrize("kind", ["wrong_secret", "no_authenticator"])
def test_unsigned_answers_are_never_believed(nas: Nas, kind: str) -> None:
    """Goal: an ACK that is not signed twice is dropped and counted."""
    nas.fault(kind, count=5)
    reply = nas.send(timeout_s=0.5)
    assert (reply.kind, reply.dropped) == ("SILENCE", 2)
    assert "not signed" in reply.text


def test_replayed_answer_is_never_believed(nas: Nas) -> None:
    """Goal: yesterday's ACK does not fit today's request."""
    assert nas.send().kind == "ACK"
    nas.fault("replay", count=5)
    reply = nas.send(timeout_s=0.5)
    assert (reply.kind, reply.dropped) == ("SILENCE", 2)


def test_our_wrong_secret_is_silence(nas: Nas) -> None:
    """Goal: a NAS drops what we sign with another secret; it stands in no text of ours."""
    reply = nas.send(secret="not-the-secret", timeout_s=0.2)
    assert reply.kind == "SILENCE"
    assert "not-the-secret" not in repr(reply)
    assert nas.rate() == BEFORE


def test_nobody_listens(nas: Nas) -> None:
    """Goal: a closed port and an unknown name are SILENCE that say so."""
    nas.rig.control("die")
    nas.device = nas.rig.context(coa=CoaTarget(host=address(), port=free_port())).device
    assert "nobody listens" in nas.send(timeout_s=0.2).text
    nas.device = nas.rig.context(coa=CoaTarget(host="no.such.invalid", port=3799)).device
    assert nas.send().kind == "SILENCE"


def test_mistakes_of_ours_are_told(nas: Nas) -> None:
    """Goal: an attribute without a dictionary, no port and no secret are settings to mend."""
    nas.attributes = (ReplyAttribute(name="No-Such-Attribute", op=":=", value="1"),)
    with pytest.raises(BadSettings, match="No-Such-Attribute"):
        nas.send()
    with pytest.raises(BadSettings, match="secret"):
        nas.send(secret="")


class Forger:
    """A UDP port that answers every request with what `answer(request)` returns."""

    def __init__(self, answer: Callable[[bytes], tuple[bytes, ...]]) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, peer = self._socket.recvfrom(4096)
            if not data:
                return
            self.requests.append(data)
            for answer in self._answer(data):
                self._socket.sendto(answer, peer)

    def stop(self) -> None:
        """End the thread."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()


@pytest.fixture
def forge() -> Iterator[Callable[[Callable[[bytes], tuple[bytes, ...]]], Forger]]:
    """Start a forger that answers as told; it ends with the test."""
    running: list[Forger] = []

    def start(answer: Callable[[bytes], tuple[bytes, ...]]) -> Forger:
        running.append(Forger(answer))
        return running[-1]

    yield start
    for forger in running:
        forger.stop()


def ask(forger: Forger, *, tries: int = 1, timeout_s: float = 5.0) -> CoaReply:
    """One CoA-Request to the forger."""
    device = Device(
        name="bng1",
        role="bng",
        platform="linux_tc",
        host="127.0.0.1",
        port=22,
        coa=CoaTarget(port=forger.port),
    )
    attributes = (ReplyAttribute(name="Filter-Id", op=":=", value="100000/20000"),)
    return send_coa(device, SECRET, SESSION, attributes, tries=tries, timeout_s=timeout_s)


def signed(
    request: bytes, attributes: bytes = b"", *, code: int = 44, identifier: int | None = None
) -> bytes:
    """An answer as a NAS that knows the secret makes it, Message-Authenticator last."""
    secret = SECRET.encode()
    body = attributes + bytes((80, 18)) + bytes(16)
    number = request[1] if identifier is None else identifier
    head = bytes((code, number)) + (20 + len(body)).to_bytes(2, "big")
    mark = hmac.new(secret, head + request[4:20] + body, hashlib.md5).digest()
    body = body[:-16] + mark
    return head + _md5(head + request[4:20] + body) + body


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data + SECRET.encode()).digest()  # noqa: S324 - RFC 2865


def test_signed_by_hand_is_believed(forge: Callable[..., Forger]) -> None:
    """Goal: the checks agree with another implementation, written from RFC 2865 and 3579."""
    assert ask(forge(lambda request: (signed(request),))).kind == "ACK"
    cause = bytes((101, 6)) + (506).to_bytes(4, "big") + bytes((18, 6)) + b"\x1b[1m"
    reply = ask(forge(lambda request: (signed(request, cause, code=45),)))
    assert (reply.kind, reply.error_cause, reply.text) == ("NAK", 506, "resources unavailable")


def test_forgeries_before_the_answer_do_not_hide_it(forge: Callable[..., Forger]) -> None:
    """Goal: rubbish, cut-off and foreign datagrams are passed over until the real one comes."""

    def answers(request: bytes) -> tuple[bytes, ...]:
        good = signed(request)
        naked = good[:2] + (20).to_bytes(2, "big")
        naked += _md5(naked + request[4:20])
        return (
            b"",
            b"\x2c",
            good[:-1],
            naked,  # rightly signed by MD5 alone
            good[:-1] + bytes((good[-1] ^ 1,)),
            signed(request, code=2),
            signed(request, identifier=(request[1] + 1) % 256),
            signed(request, bytes((80, 18)) + bytes(16)),  # two Message-Authenticators
            signed(request, bytes((101, 0))),  # an attribute without length
            good,
        )

    reply = ask(forge(answers))
    assert (reply.kind, reply.dropped) == ("ACK", 9)


def test_requests_are_signed_stamped_and_repeated_alike(forge: Callable[..., Forger]) -> None:
    """Goal: what a strict NAS demands is there. Method: another library takes them apart."""
    forger = forge(lambda _request: ())
    before = dt.datetime.now(dt.UTC).timestamp()
    assert ask(forger, tries=3, timeout_s=0.2).kind == "SILENCE"
    assert len(forger.requests) == 3
    assert len(set(forger.requests)) == 1
    text = "ATTRIBUTE Event-Timestamp 55 date\nATTRIBUTE Framed-IP-Address 8 ipaddr\n"
    packet = CoAPacket(
        packet=forger.requests[0], secret=SECRET.encode(), dict=Dictionary(io.StringIO(text))
    )
    assert packet.VerifyCoARequest()
    assert packet.verify_message_authenticator()
    assert next(iter(packet.keys())) in (
        80,
        "Message-Authenticator",
    )  # first, as CVE-2024-3596 asks
    assert abs(packet["Event-Timestamp"][0] - before) < 60
    assert packet["Framed-IP-Address"] == ["100.64.0.2"]


def test_pyrad_agrees_with_our_signature_check(nas: Nas) -> None:
    """Goal: the emulated NAS speaks to pyrad's own client as it speaks to us."""
    client = Client(
        server=nas.device.host,
        coaport=nas.device.coa.port,
        secret=SECRET.encode(),
        dict=Dictionary(
            io.StringIO(
                "ATTRIBUTE User-Name 1 string\nATTRIBUTE Acct-Session-Id 44 string\n"
                "ATTRIBUTE Event-Timestamp 55 date\nATTRIBUTE Error-Cause 101 integer\n"
            )
        ),
        retries=1,
        timeout=2,
    )
    request = client.CreateCoAPacket(code=40, message_authenticator=True)
    request["User-Name"] = LOGIN
    request["Acct-Session-Id"] = "s-9"
    request["Event-Timestamp"] = int(dt.datetime.now(dt.UTC).timestamp())
    assert client.SendPacket(request)["Error-Cause"] == [503]
    client._CloseSocket()
