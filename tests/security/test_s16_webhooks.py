"""S16: a webhook meets public addresses alone, once looked up, signed, and follows nothing."""

from __future__ import annotations

import hmac
import ipaddress
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from billing_bridge import check_signature, signed_headers
from inventory import Refused, WrongUse
from tests.hooks import Receiver, receiver, sockets
from workflows import HookReply, HookTarget, parse_hook_url, send_hook
from workflows.transports.addresses import refusal

SECRET = "a-secret-of-enough-octets"
# as an attacker writes them; each is asked of this host's own resolver where it is a number
HOSTS = Path(__file__).with_name("s16_hosts.txt").read_text(encoding="utf-8").split()
NEVER = ("169.254.169.254", "100.100.100.200", "168.63.129.16", "fd00:ec2::254", "224.0.0.1", "::")


@pytest.fixture
def inside() -> Iterator[Receiver]:
    """What must never be met: something that listens on loopback without TLS."""
    with receiver() as found:
        yield found


def answering(*answers: tuple[str, ...]) -> tuple[list[str], object]:
    """A resolver of an attacker's: each time it is asked it says the next thing."""
    asked: list[str] = []
    turn = itertools.cycle(answers)

    def look_up(host: str, _port: int, **_given: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(0, 1, 6, "", (address, 0)) for address in next(turn)]

    return asked, look_up


@pytest.mark.parametrize("host", HOSTS)
def test_no_address_that_is_not_public_is_met(inside: Receiver, host: str) -> None:
    """Goal: 0 connections, https and http. Method: the audit events of Python's own sockets."""
    with sockets() as seen:
        for scheme in ("https", "http"):
            url = parse_hook_url(f"{scheme}://{host}:{inside.port}/", http=True)
            reply = send_hook(HookTarget(url=url), b"{}", {})
            assert reply.status == 0
            assert "refused: " in reply.problem or "was not found" in reply.problem
    assert [where for event, where in seen if event != "socket.getaddrinfo"] == []
    assert inside.connections == 0


MIXED = [
    ("8.8.8.8", "127.0.0.1"),
    ("127.0.0.1", "8.8.8.8"),
    ("2606:4700::1111", "::ffff:127.0.0.1"),
    ("8.8.8.8", "not an address"),
    (),
]


@pytest.mark.parametrize("addresses", MIXED)
def test_one_bad_address_among_good_ones_is_enough(addresses: tuple[str, ...]) -> None:
    _asked, look_up = answering(addresses)
    target = HookTarget(url=parse_hook_url("https://mixed.example/"))
    with sockets() as seen:
        reply = send_hook(target, b"{}", {}, look_up=look_up)  # type: ignore[arg-type]
    assert (reply.status, seen) == (0, [])


def test_a_name_that_is_bound_anew_gains_nothing(inside: Receiver) -> None:
    """Goal: looked up once, and met where it was looked up.

    Method: a resolver that changes its mind with every question, two receivers on one port, and all
    sockets of this process watched.
    """
    allowed = (ipaddress.ip_network("127.0.0.2/32"),)
    with receiver(address="127.0.0.2", port=inside.port) as good:
        url = parse_hook_url(f"http://rebind.example:{good.port}/", http=True)
        for answers in ((("127.0.0.2",), ("127.0.0.1",)), (("127.0.0.1",), ("127.0.0.2",))):
            asked, look_up = answering(*answers)
            with sockets() as seen:
                reply = send_hook(
                    HookTarget(url=url, allowed=allowed),
                    b"{}",
                    {},
                    look_up=look_up,  # type: ignore[arg-type]
                )
            met = [where[0] for event, where in seen if event == "socket.connect"]
            assert asked == ["rebind.example"]
            assert "rebind.example" not in [where for _, where in seen]
            if answers[0] == ("127.0.0.2",):
                assert (reply, met) == (HookReply(status=200), ["127.0.0.2"])
            else:
                assert (reply.status, met) == (0, [])
    assert (good.connections, inside.connections) == (1, 0)


def test_what_was_allowed_is_met_and_nothing_beside_it(inside: Receiver) -> None:
    url = parse_hook_url(f"http://localhost:{inside.port}/", http=True)
    _asked, here = answering(("127.0.0.1",))
    target = HookTarget(url=url, allowed=(ipaddress.ip_network("127.0.0.0/30"),))
    assert send_hook(target, b"{}", {}, look_up=here).status == 200  # type: ignore[arg-type]
    for address in ("127.0.0.4", "10.0.0.1", "::1"):
        _asked, there = answering((address,))
        reply = send_hook(target, b"{}", {}, look_up=there)  # type: ignore[arg-type]
        assert reply.problem.startswith("refused: ")
    assert inside.connections == 1


def test_metadata_is_never_met_whatever_was_allowed() -> None:
    everything = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
    for text in NEVER:
        assert refusal(ipaddress.ip_address(text), everything)
    for text in ("10.1.2.3", "192.168.0.1", "fd00:1::1", "127.0.0.1"):
        assert not refusal(ipaddress.ip_address(text), everything)


def test_http_is_for_this_host_alone() -> None:
    _asked, look_up = answering(("10.0.0.1",))
    target = HookTarget(
        url=parse_hook_url("http://inside.example/", http=True),
        allowed=(ipaddress.ip_network("10.0.0.0/8"),),
    )
    with sockets() as seen:
        reply = send_hook(target, b"{}", {}, look_up=look_up)  # type: ignore[arg-type]
    assert "http is for this host alone" in reply.problem
    assert seen == []
    with pytest.raises(WrongUse, match="must be https"):
        parse_hook_url("http://inside.example/")


PUBLIC = ["8.8.8.8", "1.1.1.1", "193.0.6.139", "2606:4700::1111", "2001:4860:4860::8888",
          "64:ff9b::808:808", "2002:808:808::1"]  # fmt: skip


def test_public_addresses_are_met() -> None:
    """Goal: the demands above can fail: not everything is refused. Nothing is sent here."""
    assert [refusal(ipaddress.ip_address(text)) for text in PUBLIC] == [""] * len(PUBLIC)


@settings(max_examples=2000)
@given(st.integers(0, 2**32 - 1))
@example(0x7F000001)
@example(0xA9FEA9FE)
def test_an_address_inside_another_is_judged_as_itself(number: int) -> None:
    inner = ipaddress.IPv4Address(number)
    wanted = refusal(inner)
    assert bool(wanted) or inner.is_global
    for outer in (
        (0xFFFF << 32) | number,
        int(ipaddress.IPv6Address("64:ff9b::")) | number,
        (0x2002 << 112) | (number << 80) | 1,
    ):
        assert refusal(ipaddress.IPv6Address(outer)) == wanted


@settings(max_examples=2000)
@given(st.binary(min_size=16, max_size=16))
def test_no_ipv6_address_that_is_not_global_is_met(octets: bytes) -> None:
    address = ipaddress.IPv6Address(octets)
    if not refusal(address):
        assert address.is_global
        assert address.packed[0] >> 5 == 1 or address.packed[:2] in (b"\x00\x64", b"\x00\x00")


def test_a_signature_is_over_timestamp_and_body() -> None:
    """Goal: the documented form, computed without our code; one changed octet spoils it."""
    body = b'{"id":"0197a3f2"}'
    headers = signed_headers(SECRET, body, 1_790_000_000)
    digest = hmac.new(SECRET.encode(), b"1790000000." + body, "sha256").hexdigest()
    assert headers["Bandmaster-Signature"] == f"v1={digest}"
    assert headers["Bandmaster-Timestamp"] == "1790000000"
    lowered = {name.lower(): value for name, value in headers.items()}
    for spelled in (headers, lowered):
        assert check_signature(SECRET, spelled, body, 1_790_000_299) == "0197a3f2"
    stamp, sign = "bandmaster-timestamp", "bandmaster-signature"
    forged = [
        (SECRET, lowered, b'{"id":"0197a3f3"}', 0),
        (SECRET, lowered, body + b" ", 0),
        ("another-secret-of-enough", lowered, body, 0),
        (SECRET, lowered, body, 301),
        (SECRET, lowered, body, -301),
        (SECRET, {**lowered, stamp: "1790000001"}, body, 0),
        (SECRET, {**lowered, stamp: ""}, body, 0),
        (SECRET, {**lowered, stamp: "\u0661790000000"}, body, 0),
        (SECRET, {**lowered, stamp: "9" * 4000}, body, 0),
        (SECRET, {**lowered, sign: "v1="}, body, 0),
        (SECRET, {**lowered, sign: f"v0={digest}"}, body, 0),
        (SECRET, {**lowered, sign: f"v1={digest}\u00e9"}, body, 0),
        (SECRET, {}, body, 0),
    ]
    for secret, given_headers, octets, late_s in forged:
        with pytest.raises(Refused):
            check_signature(secret, given_headers, octets, 1_790_000_000 + late_s)
