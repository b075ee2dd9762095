"""S10: a forged, unsigned or replayed answer of a NAS never counts, in whatever way it is made.

A NAS that answers by RFC, and one whose faults the emulator has, are in
tests/workflows/test_transport_radius.py. A forger here sees the request, but has no secret.
"""

from __future__ import annotations

import hashlib
import hmac
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from types import TracebackType
from typing import Self

import pytest

from device_templates import AccessSession, ReplyAttribute
from inventory import CoaTarget, Device, Rate
from tests.desk import tier
from tests.tree import ROOMS, imports, modules
from workflows.transports import CoaReply, send_coa

from .conftest import COA, Guarded

SECRET = "sixteen-octets-of-secret"
RATE = Rate(down_kbps=1, up_kbps=1)
SESSION = AccessSession(acct_session_id="s-1", login="alice@isp", rate=RATE)
ACK, NAK = 44, 45
Answer = Callable[[bytes], tuple[bytes, ...]]
QUICK_S, LONG_S = 0.3, 60.0  # where no answer is to be believed; where one is to come


class Forger:
    """A UDP port that answers every request with whatever `answer(request)` says."""

    def __init__(self, answer: Answer, host: str) -> None:
        self._answer = answer
        self.requests: list[bytes] = []
        self.peers: list[tuple[str, int]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self._socket.bind((host, 0))
        self.host, self.port = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", (self.host, self.port))
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, peer = self._socket.recvfrom(4096)
            if not data:
                return
            self.peers.append(peer)
            self.requests.append(data)
            for answer in self._answer(data):
                self._socket.sendto(answer, peer)


Forge = Callable[[Answer], Forger]


@pytest.fixture
def forge(subnet: str) -> Iterator[Forge]:
    """Start a forger; it ends with the test."""
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(Forger(answer, f"{subnet}.9"))


def ask(forger: Forger, timeout_s: float, session: AccessSession = SESSION) -> CoaReply:
    """One CoA-Request, sent once."""
    device = Device(
        name="bng1",
        role="bng",
        platform="linux_tc",
        host=forger.host,
        port=22,
        coa=CoaTarget(port=forger.port),
    )
    attributes = (ReplyAttribute(name="Filter-Id", op=":=", value="100000/20000"),)
    return send_coa(device, SECRET, session, attributes, tries=1, timeout_s=timeout_s)


def signed(
    request: bytes, code: int = ACK, secret: str = SECRET, more: bytes = b"", *, mark: bool = True
) -> bytes:
    """An answer signed as RFC 2865 and 3579 say, by another implementation than ours."""
    key = secret.encode()
    body = more + (bytes((80, 18)) + bytes(16) if mark else b"")
    head = bytes((code, request[1])) + (20 + len(body)).to_bytes(2, "big")
    if mark:
        body = body[:-16] + hmac.new(key, head + request[4:20] + body, hashlib.md5).digest()
    digest = hashlib.md5(head + request[4:20] + body + key).digest()  # noqa: S324 - RFC 2865
    return head + digest + body


def test_the_real_answer_is_believed(forge: Forge) -> None:
    """The control of all below."""
    assert ask(forge(lambda request: (signed(request),)), LONG_S).kind == "ACK"


def test_no_single_bit_of_an_answer_can_be_turned(forge: Forge) -> None:
    """Goal: every bit counts. Method: the real answer with each of its 352 bits turned."""
    for first in range(0, 8 * 44, 150):
        reply = ask(forge(partial(_turned, first)), QUICK_S)
        assert reply.kind == "SILENCE"
        assert reply.dropped >= 1, reply


def _turned(first: int, request: bytes) -> tuple[bytes, ...]:
    """The real answer with one bit turned, for 150 bits from the first on."""
    real = signed(request, more=bytes((18, 6)) + b"done")
    return tuple(
        real[: bit // 8] + bytes((real[bit // 8] ^ (1 << bit % 8),)) + real[bit // 8 + 1 :]
        for bit in range(first, min(first + 150, 8 * len(real)))
    )


UNSIGNED: dict[str, Answer] = {
    "signed with MD5 alone": lambda request: (signed(request, mark=False),),
    "another secret": lambda request: (signed(request, secret="another-secret-of-16"),),
    "no secret": lambda request: (signed(request, secret=""),),
    "zeros for signatures": lambda request: (
        bytes((ACK, request[1], 0, 38)) + bytes(16) + bytes((80, 18)) + bytes(16),
    ),
    "the request itself": lambda request: (request, bytes((ACK,)) + request[1:]),
    "an ACK to Access-Request": lambda request: (signed(request, 2),),
    "an ACK to Disconnect": lambda request: (signed(request, 41),),
    "two signatures": lambda request: (signed(request, more=bytes((80, 18)) + bytes(16)),),
    "a signature of no length": lambda request: (signed(request, more=bytes((80, 0))),),
    "an answer cut off": lambda request: (signed(request)[:-1], signed(request)[:20]),
    "a length beyond the end": lambda request: (
        signed(request)[:2] + (4096).to_bytes(2, "big") + signed(request)[4:],
    ),
    "little": lambda _request: (b"", b"\x2c", bytes(19), bytes(4000)),
}


@pytest.mark.parametrize("how", UNSIGNED)
def test_what_is_not_signed_as_it_must_be(forge: Forge, how: str) -> None:
    reply = ask(forge(UNSIGNED[how]), QUICK_S)
    assert reply.kind == "SILENCE"
    assert reply.dropped >= 1
    assert "not signed" in reply.text


def test_noise(forge: Forge) -> None:
    """Goal: no octets crash it or are believed. Method: 3,000 from a fixed seed, right headers."""
    rng = random.Random(1)  # noqa: S311 - the same noise each time
    for _ in range(20):
        forger = forge(
            lambda request: tuple(
                bytes((rng.choice((ACK, NAK)), request[1]))
                + rng.choice((20, 38, 60)).to_bytes(2, "big")
                + rng.randbytes(rng.randrange(16, 60))
                for _ in range(150)
            )
        )
        assert ask(forger, QUICK_S).kind == "SILENCE"


def test_yesterday_s_answers(forge: Forge) -> None:
    """Goal: no replay. Method: 40 like requests a second, each answer that was right to another."""
    kept: list[bytes] = []

    def answers(request: bytes) -> tuple[bytes, ...]:
        old = tuple(one[:1] + request[1:2] + one[2:] for one in kept) + tuple(kept)
        kept.append(signed(request))
        return (*old, signed(request, NAK))

    forger = forge(answers)
    for number in range(40):
        reply = ask(forger, LONG_S)
        assert (reply.kind, reply.dropped) == ("NAK", 2 * number)
    assert len({request[4:20] for request in forger.requests}) == 40  # no two alike


def test_a_right_answer_from_another_address(forge: Forge, subnet: str) -> None:
    """Goal: only the NAS may answer. Method: rightly signed, from another port and address."""
    with ExitStack() as stack:
        others = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2)]
        for host, other in zip((f"{subnet}.9", f"{subnet}.10"), others, strict=True):
            other.bind((host, 0))

        def elsewhere(request: bytes) -> tuple[bytes, ...]:
            for other in others:
                other.sendto(signed(request), forger.peers[-1])
            return ()

        forger = forge(elsewhere)
        reply = ask(forger, QUICK_S)
    assert (reply.kind, reply.dropped) == ("SILENCE", 0)
    assert len(forger.requests) == 1


def test_a_session_that_no_request_can_name(forge: Forge) -> None:
    """Goal: what a NAS shows as an identity may be anything: it is told, and nothing is sent."""
    forger = forge(lambda request: (signed(request),))
    for identity in ("x" * 254, "\u00fc" * 127):
        session = AccessSession(acct_session_id=identity, login="alice@isp", rate=RATE)
        reply = ask(forger, QUICK_S, session)
        assert (reply.kind, "too long" in reply.text) == ("SILENCE", True)
    assert forger.requests == []
    assert ask(forger, LONG_S, AccessSession(acct_session_id="x" * 253, login="a", rate=RATE)).kind


@pytest.mark.parametrize("fault", ["wrong_secret", "no_authenticator", "replay"])
def test_a_whole_change_believes_no_forged_ack(guarded: Guarded, fault: str) -> None:
    """Goal: S10 end to end: what counts is the rate that is read, and no forged ACK is noted."""
    desk = guarded.desk
    desk.good(*tier("svc-1002"))  # an ACK to replay
    desk.control("bng-fra-1", "fault", verb="CoA-Request", kind=fault, count=9)
    desk.run(*tier("svc-1001"))
    steps = [row for row in desk.world()[0]["journal_step"] if "'coa'" in row]
    assert len(steps) >= 2
    assert ["ACK" in row for row in steps].count(True) == 1


def test_doctor_names_a_short_secret(guarded: Guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: RADIUS stands on its secret alone. Method: 15 octets, then what is there."""
    assert "CoA secret" not in guarded.desk.run("doctor", "--json").out
    short = COA[:15]
    monkeypatch.setenv("BM_COA_SECRET", short)
    told = guarded.desk.run("doctor", "--json")
    assert "CoA secret: shorter than 16 octets" in told.out
    assert short not in told.text


def test_one_module_speaks_radius() -> None:
    users = {
        path
        for path in modules(*ROOMS)
        for module, _ in imports(path)
        if module.partition(".")[0] == "pyrad"
    }
    assert users == {"workflows/transports/radius.py"}
