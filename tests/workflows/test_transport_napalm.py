"""The NAPALM wire against an emulated Junos router, through the unchanged libraries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from transport_rig import PASSWORD, TOKEN, FalseHost, Rig, address, free_port

from inventory import (
    HostKeyChanged,
    HostKeyUnknown,
    LoginRefused,
    Refused,
    SecretRef,
    Unreachable,
    Unreadable,
)
from workflows.participant import Handle, Wire
from workflows.transports import enroll, napalm, netconf_guard, netconf_session

StartBng = Callable[..., Rig]

UNIT: dict[str, str | int] = {"interface": "ge-0/0/1", "unit": 1042}
OTHER_UNIT: dict[str, str | int] = {"interface": "ge-0/0/1", "unit": 1043}
BY_HAND = "set interfaces ge-0/0/1 unit 1042 family inet policer output DOWN-200"


@pytest.fixture
def bng(start_bng: StartBng) -> Rig:
    """A router whose clock stands still."""
    return start_bng()


@pytest.fixture
def wire(bng: Rig) -> Wire:
    """An open wire to it."""
    return bng.open()


@pytest.fixture
def handle(bng: Rig, wire: Wire) -> Handle:
    """A change of one unit to the new tier."""
    return bng.handle(wire, UNIT)


def test_the_whole_way(bng: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: prepare, extend, confirm, save, each seen from another session."""
    assert wire.prepare(handle).verdict == "SENT"
    seen = bng.observed(handle)
    assert (seen.running(), seen.startup(), seen.pending) == ("NEW", "OLD", "OURS")
    assert TOKEN in seen.revision
    bng.control("advance", seconds=60)
    assert wire.extend(handle).verdict == "SENT"
    assert bng.control("dump")["pending_s"] == 120
    assert wire.confirm(handle).verdict == "SENT"
    assert wire.save(handle).verdict == "SENT"
    seen = bng.observed(handle)
    assert (seen.running(), seen.startup(), seen.pending) == ("NEW", "NEW", "NONE")


def test_both_framings(start_bng: StartBng) -> None:
    """Goal: chunked NETCONF works as well. Method: the device offers base:1.1."""
    bng = start_bng(framing="1.1")
    wire = bng.open()
    handle = bng.handle(wire, UNIT, OTHER_UNIT)
    assert wire.prepare(handle).verdict == "SENT"
    assert wire.confirm(handle).verdict == "SENT"
    assert bng.observed(handle).running() == "NEW"


def test_reads_need_no_lock(bng: Rig, wire: Wire) -> None:
    """Goal: a person who edits exclusively does not stop reading."""
    bng.control("lock")
    assert dict(bng.read(wire, UNIT).sections[0])["output"] == "DOWN-100"
    assert bng.read(wire, UNIT).sections == bng.read(bng.open(), UNIT).sections
    assert "lock-configuration" not in bng.seen()


def test_lock_is_kept_from_prepare_to_close(bng: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: nobody can commit inside the confirm window."""
    wire.prepare(handle)
    wire.confirm(handle)
    assert bng.control("dump")["lock"] == "bandmaster"
    wire.close()
    assert bng.observed(handle).running() == "NEW"
    assert bng.seen().count("lock-configuration") == 1


def test_lock_of_a_person_refuses(
    bng: Rig, wire: Wire, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a held lock is waited for, then refused naming the holder; nothing is loaded."""
    monkeypatch.setattr(napalm, "LOCK_WAIT_S", 0)
    bng.control("lock")
    reply = wire.prepare(handle)
    assert reply.verdict == "REFUSED"
    assert "noc" in reply.reason
    assert "load-configuration" not in bng.seen()


def test_lock_is_waited_for(
    bng: Rig, wire: Wire, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: the lock is taken once the person is gone. Method: they leave while we wait."""
    monkeypatch.setattr(netconf_session.time, "sleep", lambda _s: bng.control("unlock"))
    bng.control("lock")
    assert wire.prepare(handle).verdict == "SENT"


def test_lock_is_not_asked_for_without_a_lease(
    bng: Rig, wire: Wire, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: W13, also for who waits for the lock. Method: it ends while a person has it."""
    lost: list[float] = []

    def may_send() -> None:
        if lost:
            raise Refused("lease", "is over")

    session = wire._session  # type: ignore[attr-defined]
    monkeypatch.setattr(session, "_context", replace(session._context, may_send=may_send))
    monkeypatch.setattr(netconf_session.time, "sleep", lost.append)
    bng.control("lock")
    reply = wire.prepare(handle)
    assert (reply.verdict, reply.reason) == ("REFUSED", "lease: is over")
    assert bng.seen().count("lock-configuration") == 1


def test_unsaved_edits_of_a_person_refuse(
    bng: Rig, wire: Wire, handle: Handle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: edits somebody left in the candidate are never committed by us."""
    monkeypatch.setattr(napalm, "LOCK_WAIT_S", 0)
    bng.control("edit_uncommitted", lines=[BY_HAND])
    reply = wire.prepare(handle)
    assert reply.verdict == "REFUSED"
    assert "modified" in reply.reason
    assert bng.control("dump")["commits"] == 1


def test_section_that_differs_refuses(bng: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: W10, a value set by hand since the plan is never overwritten, by no verb."""
    bng.control("edit", lines=[BY_HAND])
    for verb in (wire.prepare, wire.abort):
        reply = verb(handle)
        assert reply.verdict == "REFUSED"
        assert "owned section differs" in reply.reason
        assert "DOWN-200" in reply.reason
    assert "load-configuration" not in bng.seen()


def test_line_of_another_service_is_not_sent(bng: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: S4, a stored line that is not the item's own is stopped just before sending."""
    item = replace(handle.items[0], forward=("set system root-authentication",))
    before = bng.last()
    reply = wire.prepare(replace(handle, items=(item,)))
    assert reply.verdict == "REFUSED"
    assert "root-authentication" in reply.reason
    assert bng.seen(before) == []


def test_commit_check_refuses(bng: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: the device's own words arrive, the candidate is clean again, the wire still works."""
    bng.control("edit", lines=["delete firewall policer DOWN-500"])
    reply = wire.prepare(handle)
    assert reply.verdict == "REFUSED"
    assert "DOWN-500" in reply.reason
    assert bng.control("dump")["candidate"] is None
    assert wire.pending(handle)[0] == "NONE"


def test_refused_load(bng: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: a refused line ends in REFUSED and a clean candidate."""
    bng.fault("load-configuration", "refuse", "syntax error")
    reply = wire.prepare(handle)
    assert (reply.verdict, "syntax error" in reply.reason) == ("REFUSED", True)
    assert bng.control("dump")["candidate"] is None


@pytest.mark.parametrize(
    ("kind", "running"),
    [
        ("drop_before", "OLD"),
        ("drop_after", "NEW"),
        ("hang_before", "OLD"),
        ("hang_after", "NEW"),
        ("garbage", "NEW"),
    ],
)
def test_lost_answer_of_a_commit(bng: Rig, kind: str, running: str) -> None:
    """Goal: UNKNOWN whatever happened; a new session drains and reads the truth."""
    wire = bng.open(timeout_s=1)
    handle = bng.handle(wire, UNIT)
    bng.fault("commit-configuration", kind)
    assert wire.prepare(handle).verdict == "UNKNOWN"
    before = bng.last()
    assert wire.confirm(handle).verdict == "UNKNOWN"
    assert "commit-configuration" not in bng.seen(before)  # nothing more on a session in doubt
    wire.close()
    second = bng.open()
    assert second.drain(handle).verdict == "SENT"
    second.close()
    seen = bng.observed(handle)
    assert seen.running() == running
    assert seen.pending == ("OURS" if running == "NEW" else "NONE")


def test_commit_that_happens_late(
    bng: Rig, handle: Handle, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: drain does not believe a device where an older session may still commit."""
    monkeypatch.setattr(napalm, "DRAIN_WAIT_S", 0)
    bng.fault("commit-configuration", "late", "30")
    assert wire.prepare(handle).verdict == "UNKNOWN"
    wire.close()
    second = bng.open()
    reply = second.drain(handle)
    assert reply.verdict == "UNKNOWN"
    assert "bandmaster" in reply.reason
    bng.control("advance", seconds=30)
    assert second.drain(handle).verdict == "SENT"
    assert second.pending(handle)[0] == "OURS"
    assert second.abort(handle).verdict == "SENT"
    assert bng.observed(handle).running() == "OLD"


@pytest.mark.parametrize("kind", ["drop_before", "drop_after"])
def test_lost_answer_of_a_confirm(bng: Rig, wire: Wire, handle: Handle, kind: str) -> None:
    """Goal: confirming again after an unknown outcome ends confirmed, by reading not counting."""
    wire.prepare(handle)
    bng.fault("commit-configuration", kind)
    assert wire.confirm(handle).verdict == "UNKNOWN"
    wire.close()
    second = bng.open()
    pending, _ = second.pending(handle)
    assert pending == ("OURS" if kind == "drop_before" else "NONE")
    reply = second.confirm(handle)
    assert reply.verdict == ("SENT" if kind == "drop_before" else "REFUSED")
    assert bng.observed(handle).startup() == "NEW"


def test_expired_timer_cannot_be_confirmed_or_extended(
    bng: Rig, wire: Wire, handle: Handle
) -> None:
    """Goal: where NAPALM says yes to a late confirm, we say that nothing is pending."""
    wire.prepare(handle)
    bng.control("expire")
    before = bng.last()
    for verb in (wire.confirm, wire.extend):
        reply = verb(handle)
        assert reply.verdict == "REFUSED"
        assert "nothing pending" in reply.reason
    assert "commit-configuration" not in bng.seen(before)
    assert bng.observed(handle).running() == "OLD"


def test_commit_check_of_a_person_confirms(start_bng: StartBng) -> None:
    """Goal: the case in which NAPALM's has_pending lies for ever is seen as NONE."""
    bng = start_bng()
    wire = bng.open()
    handle = bng.handle(wire, UNIT)
    wire.prepare(handle)
    wire.close()  # the lock is gone, a person may check
    bng.control("commit_check")
    assert bng.open().pending(handle)[0] == "NONE"
    assert bng.observed(handle).startup() == "NEW"


def test_foreign_timer_is_never_confirmed(bng: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: no verb commits while somebody else's commit waits for its confirmation."""
    bng.control("edit", lines=["set system host-name bng9"], confirm_min=5, log="by hand")
    assert wire.pending(handle)[0] == "FOREIGN"
    before = bng.last()
    for reply in (
        wire.prepare(handle),
        wire.extend(handle),
        wire.confirm(handle),
        wire.abort(handle),
        wire.send_profiles(("set firewall policer UP-1M then discard",)),
    ):
        assert reply.verdict == "REFUSED"
    assert "commit-configuration" not in bng.seen(before)
    assert bng.control("dump")["pending"]


def test_abort_in_the_window_and_after(bng: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: abort ends the timer and undoes, also what was confirmed; repeating it does nothing."""
    wire.prepare(handle)
    assert wire.abort(handle).verdict == "SENT"
    assert not bng.control("dump")["pending"]
    assert bng.observed(handle).startup() == "OLD"
    wire.prepare(handle)
    wire.confirm(handle)
    assert wire.abort(handle).verdict == "SENT"
    assert bng.observed(handle).startup() == "OLD"
    commits = bng.control("dump")["commits"]
    assert wire.abort(handle).verdict == "SENT"
    assert bng.control("dump")["commits"] == commits


def test_prepare_again_starts_the_timer_anew(bng: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: verbs may be repeated; the handle's own `after` is no difference."""
    wire.prepare(handle)
    bng.control("advance", seconds=100)
    assert wire.prepare(handle).verdict == "SENT"
    assert bng.control("dump")["pending_s"] == 120
    assert wire.pending(handle)[0] == "OURS"


def test_close_leaves_the_pending_commit(bng: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: close() neither confirms nor reverts; any session can go on."""
    wire.prepare(handle)
    wire.close()
    wire.close()
    assert bng.control("dump")["pending"]
    assert bng.open().confirm(handle).verdict == "SENT"


@pytest.mark.parametrize("seconds", [0, -60, 90])
def test_only_whole_minutes(wire: Wire, handle: Handle, seconds: int) -> None:
    """Goal: 0 would be a commit for good, so it is a mistake of the caller's."""
    for verb in (wire.prepare, wire.extend):
        with pytest.raises(ValueError, match="multiple of 60"):
            verb(replace(handle, revert_after_s=seconds))


def test_data_plane_that_did_not_follow(start_bng: StartBng) -> None:
    """Goal: a configuration that forwarding did not take is MIXED, and abort undoes it."""
    bng = start_bng(not_programmed=True)
    wire = bng.open()
    handle = bng.handle(wire, UNIT)
    assert wire.prepare(handle).verdict == "SENT"
    assert bng.observed(handle).running() == "MIXED"
    assert wire.abort(handle).verdict == "SENT"
    assert bng.observed(handle).running() == "OLD"


def test_profiles(bng: Rig, wire: Wire) -> None:
    """Goal: profiles are kept, and a line that is no profile's is not sent."""
    line = "set firewall policer UP-1M then discard"
    assert wire.send_profiles((line,)).verdict == "SENT"
    assert line in bng.control("dump")["startup"]
    before = bng.last()
    assert wire.send_profiles(("set system host-name x",)).verdict == "REFUSED"
    assert bng.seen(before) == []


def test_unknown_call_is_unreadable(wire: Wire) -> None:
    """Goal: what the device refuses to answer is Unreadable, a bad query a mistake of ours."""
    with pytest.raises(Unreadable, match="refused"):
        wire.ask(("rpc:get-nothing-at-all",))
    with pytest.raises(ValueError, match="not a query"):
        wire.ask(("show version",))


def test_lost_reading_is_unreachable(bng: Rig, wire: Wire, handle: Handle) -> None:
    """Goal: a broken read is Unreachable, and so is every one after it."""
    bng.fault("get-commit-information", "drop_before")
    for _ in range(2):
        with pytest.raises(Unreachable):
            wire.pending(handle)


def test_answer_without_end_is_cut(bng: Rig, wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a hostile device cannot fill our memory. Method: a small limit, a long answer."""
    monkeypatch.setattr(netconf_guard, "MAX_REPLY", 2000)
    bng.control("edit", lines=[f"set system host-name {'x' * 3000}"])
    with pytest.raises(Unreachable, match="longer than 2000"):
        wire.ask(("config:committed",))


def test_the_limit_is_per_answer(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a long session is no hostile device."""
    (config,) = wire.ask(("config:committed",))
    monkeypatch.setattr(netconf_guard, "MAX_REPLY", 2 * len(config))
    assert wire.ask(("config:committed",) * 5) == (config,) * 5


def test_unknown_host_gets_nothing(bng: Rig) -> None:
    """Goal: without an enrolled key not even a connection is made."""
    with FalseHost(address()) as false:
        with pytest.raises(HostKeyUnknown, match="no password was sent"):
            bng.wire(host=false.host, port=false.port).open()
        assert false.connections == 0


@pytest.mark.parametrize("same_kind", [True, False])
def test_changed_host_gets_no_password(bng: Rig, *, same_kind: bool) -> None:
    """Goal: another key than the enrolled one ends the login before user name and password."""
    with FalseHost(host := address()) as false, FalseHost(address()) as other:
        enrolled = other.host_key if same_kind else _ed25519(bng)
        enroll(bng.known_hosts, host, false.port, enrolled)
        with pytest.raises(HostKeyChanged, match="no password was sent") as caught:
            bng.wire(host=host, port=false.port).open()
        assert (false.heard.users, false.heard.passwords) == ([], [])
        assert "enroll-key" in caught.value.remedy
        # the same host with its key enrolled is told the password: the recorder does record
        enroll(bng.known_hosts, host, false.port, false.host_key)
        with pytest.raises(LoginRefused):
            bng.wire(host=host, port=false.port).open()
        assert false.heard.passwords == [PASSWORD]


def _ed25519(bng: Rig) -> netconf_session.hostkeys.HostKey:
    return netconf_session.hostkeys.enrolled(bng.known_hosts, bng.spec.address, bng.spec.port)[0]


def test_user_known_hosts_are_not_consulted(
    bng: Rig, tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: a key that only ~/.ssh/known_hosts has is not believed."""
    with FalseHost(host := address()) as false, FalseHost(address()) as other:
        home = str(tmp_path)
        monkeypatch.setenv("HOME", home)
        enroll(f"{home}/.ssh/known_hosts", host, false.port, false.host_key)
        enroll(bng.known_hosts, host, false.port, other.host_key)
        with pytest.raises(HostKeyChanged):
            bng.wire(host=host, port=false.port).open()
        assert false.heard.users == []


def test_wrong_password(bng: Rig) -> None:
    """Goal: LoginRefused, and the secret stands nowhere."""
    with pytest.raises(LoginRefused) as caught:
        bng.wire(password=SecretRef(ref="test:not-the-password")).open()
    assert "not-the-password" not in f"{caught.value!r} {caught.value.__cause__!r}"


def test_nobody_there(bng: Rig) -> None:
    """Goal: a closed port is Unreachable."""
    host, port = address(), free_port()
    enroll(bng.known_hosts, host, port, _ed25519(bng))
    with pytest.raises(Unreachable, match=host):
        bng.wire(host=host, port=port).open()


def test_session_of_a_subscriber(start_bng: StartBng) -> None:
    """Goal: the query with arguments brings the live session."""
    session = {
        "user": "alice@isp",
        "acct_session_id": "s-1",
        "ip": "100.64.0.2",
        "interface": "pp0.1",
        "service": "bandmaster(50000k,10000k)",
    }
    bng = start_bng(sessions=[session, {**session, "user": "bob@isp", "acct_session_id": "s-2"}])
    read, parse = bng.platform.session_read, bng.platform.session_parse
    assert read is not None
    assert parse is not None
    (found,) = parse("alice@isp", bng.open().ask(read("alice@isp")))
    assert (found.acct_session_id, found.rate.down_kbps) == ("s-1", 50_000)
