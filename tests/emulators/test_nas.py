"""The emulated NAS as pyrad's own client sees it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from junos_rig import SESSION, bng, opened, wait_until
from pyrad import packet
from pyrad.client import Client, Timeout
from pyrad.dictionary import Dictionary

from lab.emulators.base import Json
from lab.emulators.fleet import Fleet
from tests.conftest import StartFleet

OLD_SERVICE = SESSION["service"]
NEW_SERVICE = "bandmaster(100000k,20000k)"
SECRET = "radius-secret"
DICTIONARY = """
ATTRIBUTE User-Name             1   string
ATTRIBUTE NAS-IP-Address        4   ipaddr
ATTRIBUTE Filter-Id             11  string
ATTRIBUTE NAS-Identifier        32  string
ATTRIBUTE Proxy-State           33  octets
ATTRIBUTE Acct-Session-Id       44  string
ATTRIBUTE Event-Timestamp       55  date
ATTRIBUTE Message-Authenticator 80  octets
ATTRIBUTE Error-Cause           101 integer
VENDOR ERX 4874
BEGIN-VENDOR ERX
ATTRIBUTE ERX-Service-Activate   65 string has_tag
ATTRIBUTE ERX-Service-Deactivate 66 string
END-VENDOR ERX
"""
CHANGE = {
    "User-Name": "alice@isp",
    "Acct-Session-Id": "s-1",
    "ERX-Service-Deactivate": OLD_SERVICE,
    "ERX-Service-Activate:1": NEW_SERVICE,
}
WHO = {"User-Name": "alice@isp", "Acct-Session-Id": "s-1"}

Ask = Callable[..., Any]


class Nas:
    """One device with a NAS, and a client that knows its secret."""

    def __init__(self, fleet: Fleet, address: str) -> None:
        self.fleet = fleet
        self.client = Client(
            server=address,
            secret=SECRET.encode(),
            dict=Dictionary(io.StringIO(DICTIONARY)),
            retries=1,
            timeout=5,
        )

    def do(self, verb: str, /, **args: Any) -> Json:
        """Control the device."""
        return self.fleet.control("bng1", verb, **args)

    def request(
        self,
        attributes: dict[str, Any],
        *,
        code: int = packet.CoARequest,
        signed: bool = True,
        age_s: int | None = 0,
    ) -> packet.CoAPacket:
        """A request, stamped `age_s` seconds ago, or not at all."""
        request = self.client.CreateCoAPacket(code=code, message_authenticator=signed)
        for name, value in attributes.items():
            request[name] = value
        if age_s is not None:
            request["Event-Timestamp"] = int(time.time()) - age_s
        return request

    def hears_nothing(self, request: packet.CoAPacket) -> None:
        """Send a request once; an answer to it fails the test."""
        self.client.timeout = 0.2
        with pytest.raises(Timeout):
            self.client.SendPacket(request)
        self.client.timeout = 5

    def ask(self, attributes: dict[str, Any], **how: Any) -> Any:
        """The answer; its Message-Authenticator is there and right, or the test fails."""
        request = self.request(attributes, **how)
        answer = self.client.SendPacket(request)
        assert answer.message_authenticator
        return answer

    @property
    def service(self) -> tuple[str, ...]:
        """The services of the only session."""
        (session,) = self.do("sessions")["sessions"]
        services: tuple[str, ...] = session["services"]
        return services

    def received(self) -> list[str]:
        """The requests that were not dropped."""
        return [e["what"] for e in self.do("log")["entries"] if e["what"].endswith("-Request")]


@pytest.fixture
def start_nas(start_fleet: StartFleet, subnet: str) -> Iterator[Callable[..., Nas]]:
    started: list[Nas] = []

    def start(**radius: Any) -> Nas:
        spec = bng(subnet, sessions=[SESSION], radius={"port": 3799, "secret": SECRET, **radius})
        started.append(Nas(start_fleet(spec), spec.address))
        return started[-1]

    yield start
    for nas in started:
        nas.client._CloseSocket()


def test_a_change_is_acknowledged_and_seen_by_the_router(
    start_nas: Callable[..., Nas], subnet: str
) -> None:
    nas = start_nas()
    assert nas.ask(CHANGE).code == packet.CoAACK
    assert nas.service == (NEW_SERVICE,)
    with opened(bng(subnet)) as driver:
        row = driver.device.rpc.get_subscribers(user_name="alice@isp").find("subscriber")
        assert row.findtext("service-session-name") == NEW_SERVICE
        assert row.findtext("effective-shaping-rate") == "100000k"


def test_a_repeated_change_is_harmless(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas()
    for _ in range(2):
        assert nas.ask(CHANGE).code == packet.CoAACK
        assert nas.service == (NEW_SERVICE,)


def test_the_same_bytes_twice_have_one_effect(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas()
    request = nas.request(CHANGE)
    first = nas.client.SendPacket(request)
    back = {**CHANGE, "ERX-Service-Deactivate": NEW_SERVICE, "ERX-Service-Activate:1": OLD_SERVICE}
    assert nas.ask(back).code == packet.CoAACK
    second = nas.client.SendPacket(request)
    assert second.raw_packet == first.raw_packet
    assert nas.service == (OLD_SERVICE,)


def test_a_lost_answer_is_given_again_without_a_second_effect(
    start_nas: Callable[..., Nas],
) -> None:
    nas = start_nas()
    nas.client.retries, nas.client.timeout = 50, 0.2
    nas.do("fault", verb="CoA-Request", kind="hang_after")
    assert nas.ask(CHANGE).code == packet.CoAACK
    texts = [e["text"] for e in nas.do("log")["entries"] if e["what"] == "CoA-Request"]
    assert [text.endswith(" again") for text in texts[:2]] == [False, True]
    assert nas.service == (NEW_SERVICE,)


@pytest.mark.parametrize(
    ("attributes", "cause"),
    [
        ({**CHANGE, "Acct-Session-Id": "s-9"}, 503),
        ({**CHANGE, "User-Name": "bob@isp"}, 503),
        (WHO, 402),
        ({"ERX-Service-Activate:1": NEW_SERVICE}, 402),
        ({**CHANGE, "NAS-Identifier": "bng9"}, 403),
        ({**CHANGE, "NAS-IP-Address": "127.0.0.9"}, 403),
        ({**CHANGE, "ERX-Service-Activate:1": "bandmaster(fast)"}, 407),
    ],
)
def test_a_wrong_request_is_refused_with_its_cause(
    start_nas: Callable[..., Nas], attributes: dict[str, Any], cause: int
) -> None:
    nas = start_nas()
    answer = nas.ask(attributes)
    assert answer.code == packet.CoANAK
    assert answer["Error-Cause"] == [cause]
    assert nas.service == (OLD_SERVICE,)


@pytest.mark.parametrize("cause", [401, 403, 404, 407, 501, 506])
def test_a_refusal_can_be_ordered(start_nas: Callable[..., Nas], cause: int) -> None:
    nas = start_nas()
    nas.do("fault", verb="CoA-Request", kind="refuse", arg=cause)
    answer = nas.ask(CHANGE)
    assert (answer.code, answer["Error-Cause"]) == (packet.CoANAK, [cause])
    assert nas.service == (OLD_SERVICE,)
    assert nas.ask(CHANGE).code == packet.CoAACK


def test_a_refusal_needs_a_number(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas()
    with pytest.raises(ValueError, match="refuse needs a number"):
        nas.do("fault", verb="CoA-Request", kind="refuse", arg="no")


def test_strict_services_refuse_what_is_not_active(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas(strict_services=True)
    assert nas.ask(CHANGE).code == packet.CoAACK
    answer = nas.ask(CHANGE)
    assert (answer.code, answer["Error-Cause"]) == (packet.CoANAK, [506])


def test_an_answer_names_the_proxy_state(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas()
    assert nas.ask({**CHANGE, "Proxy-State": b"via"})["Proxy-State"] == [b"via"]


@pytest.mark.parametrize(
    ("kind", "service"),
    [
        ("hang_before", OLD_SERVICE),
        ("hang_after", NEW_SERVICE),
        ("wrong_secret", NEW_SERVICE),
    ],
)
def test_silence_leaves_either_state(
    start_nas: Callable[..., Nas], kind: str, service: str
) -> None:
    nas = start_nas()
    nas.do("fault", verb="CoA-Request", kind=kind)
    nas.hears_nothing(nas.request(CHANGE))
    assert nas.received() == ["CoA-Request"]
    assert nas.service == (service,)


def test_a_replayed_answer_answers_nothing(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas()
    nas.ask(CHANGE)
    nas.do("fault", verb="CoA-Request", kind="replay")
    nas.hears_nothing(nas.request(CHANGE))


def test_an_answer_can_lack_its_authenticator(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas()
    nas.do("fault", verb="CoA-Request", kind="no_authenticator")
    answer = nas.client.SendPacket(nas.request(CHANGE))
    assert answer.code == packet.CoAACK
    assert not answer.message_authenticator


def test_an_acknowledgement_can_be_without_effect(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas()
    nas.do("fault", verb="CoA-Request", kind="no_effect")
    assert nas.ask(CHANGE).code == packet.CoAACK
    assert nas.service == (OLD_SERVICE,)


@pytest.mark.parametrize(("kind", "before"), [("delay", OLD_SERVICE), ("answer_late", NEW_SERVICE)])
def test_an_answer_can_come_late(start_nas: Callable[..., Nas], kind: str, before: str) -> None:
    nas = start_nas()
    nas.do("fault", verb="CoA-Request", kind=kind, arg=10)
    request = nas.request(CHANGE)
    nas.hears_nothing(request)
    assert nas.service == (before,)
    nas.do("advance", seconds=10)
    nas.client._socket.settimeout(5)
    answer = request.CreateReply(packet=nas.client._socket.recv(4096))
    assert request.VerifyReply(answer)
    assert nas.service == (NEW_SERVICE,)


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"signed": False}, "no Message-Authenticator"),
        ({"age_s": None}, "no Event-Timestamp"),
        ({"age_s": 400}, "Event-Timestamp outside the window"),
        ({"age_s": -400}, "Event-Timestamp outside the window"),
    ],
)
def test_a_request_that_proves_nothing_is_dropped(
    start_nas: Callable[..., Nas], how: dict[str, Any], reason: str
) -> None:
    nas = start_nas()
    nas.hears_nothing(nas.request(CHANGE, **how))
    last = nas.do("log")["entries"][-1]
    assert (last["what"], last["text"]) == ("radius dropped", reason)
    assert nas.service == (OLD_SERVICE,)


def test_a_request_with_another_secret_is_dropped(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas()
    nas.client.secret = b"guess"
    nas.hears_nothing(nas.request(CHANGE))
    assert nas.do("log")["entries"][-1]["text"] == "wrong secret"


def test_a_changed_request_is_dropped(start_nas: Callable[..., Nas], subnet: str) -> None:
    nas = start_nas()
    raw = bytearray(nas.request(CHANGE).RequestPacket())
    raw[-1] ^= 1
    nas.client._SocketOpen()
    nas.client._socket.sendto(bytes(raw), (f"{subnet}.1", 3799))
    nas.client._socket.sendto(b"\x2b", (f"{subnet}.1", 3799))
    wait_until(lambda: len(nas.do("log")["entries"]) == 2)
    assert [e["text"] for e in nas.do("log")["entries"]] == ["wrong secret", "malformed"]


def test_a_disconnect_ends_the_session(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas()
    answer = nas.ask(WHO, code=packet.DisconnectRequest)
    assert answer.code == packet.DisconnectACK
    assert nas.do("sessions")["sessions"] == []
    answer = nas.ask(WHO, code=packet.DisconnectRequest)
    assert (answer.code, answer["Error-Cause"]) == (packet.DisconnectNAK, [503])
    nas.do("session_open", **{**SESSION, "acct_session_id": "s-2"})
    assert nas.ask({**CHANGE, "Acct-Session-Id": "s-2"}).code == packet.CoAACK


def test_the_filter_dialect_takes_down_and_up(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas(dialect="filter-id")
    assert nas.ask({**WHO, "Filter-Id": "100000/20000"}).code == packet.CoAACK
    (session,) = nas.do("sessions")["sessions"]
    assert (session["down_kbps"], session["up_kbps"]) == (100_000, 20_000)
    assert nas.ask(WHO).code == packet.CoAACK  # nothing asked, nothing done, no complaint
    answer = nas.ask({**WHO, "Filter-Id": "fast"})
    assert (answer.code, answer["Error-Cause"]) == (packet.CoANAK, [407])
    assert nas.do("sessions")["sessions"] == [session]


def test_a_dead_device_hears_nothing(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas()
    nas.do("die")
    nas.hears_nothing(nas.request(CHANGE))
    assert nas.received() == []
    nas.do("revive")
    assert nas.ask(CHANGE).code == packet.CoAACK


def test_sessions_have_ids_of_their_own(start_nas: Callable[..., Nas]) -> None:
    nas = start_nas()
    with pytest.raises(ValueError, match="s-1 is open already"):
        nas.do("session_open", **SESSION)
    with pytest.raises(ValueError, match="no session 's-9'"):
        nas.do("session_close", acct_session_id="s-9")
    with pytest.raises(ValueError, match="user, acct_session_id"):
        nas.do("session_open", user="x")
