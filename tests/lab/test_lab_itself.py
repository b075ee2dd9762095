"""The lab's own promises: shaping, routing, RADIUS, CoA, SNMP and SSH are real and agree."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from lab_rig import LOGIN, Json, RunningLab
from netmiko import ConnectHandler
from nornir import InitNornir
from pyrad import packet

from lab.servers.daemon import wait_until

HC_OUT_OCTETS = "1.3.6.1.2.1.31.1.1.1.10"
IF_NAME = "1.3.6.1.2.1.31.1.1.1.1"


def test_core_learns_subscribers_by_bgp(lab: RunningLab) -> None:
    """Goal: FRR carries the routes that packets take. Method: the core's kernel routes."""
    for subscriber in (1, 2, 3):
        route = lab.run("core", "ip", "route", "show", f"100.64.{subscriber}.0/24")
        assert "via 10.255.0.1" in route
        assert "proto bgp" in route


def test_static_line_follows_a_change_by_hand(lab: RunningLab) -> None:
    """Goal: a rate set on the BNG is what a running flow gets, and the neighbour's stays.

    Method: two flows that last over the changes; netmiko with the lab's key and host key.
    """
    ssh = lab.server("bng", "sshd")
    neighbour, flow = lab.flow("sub3"), lab.flow("sub1")
    box = ConnectHandler(
        device_type="linux",
        host=ssh["address"],
        username=ssh["username"],
        use_keys=True,
        key_file=ssh["key_file"],
        ssh_strict=True,
        alt_host_keys=True,
        alt_key_file=ssh["known_hosts"],
    )
    with ExitStack() as ends:
        ends.callback(flow.stop)
        ends.callback(neighbour.stop)
        ends.callback(box.disconnect)
        flow.assert_at(50000)
        for rate_kbps in (100000, 20000, 50000):
            line = f"tc class change dev acc1 parent 1: classid 1:10 htb rate {rate_kbps}kbit"
            assert box.send_command(f"{line} ceil {rate_kbps}kbit quantum 1514; echo rc $?") == (
                "rc 0"
            )
            flow.assert_at(rate_kbps)
        neighbour.assert_at(20000)


def test_upload_is_shaped_on_the_ifb(lab: RunningLab) -> None:
    """Goal: the other direction has a rate of its own. Method: an upload over 4 s of reports."""
    flow = lab.upload("sub1")
    with ExitStack() as ends:
        ends.callback(flow.stop)
        flow.assert_at(10000, over=12)


def test_accept_carries_the_old_tier_until_commit(
    lab: RunningLab, radius_tables: psycopg.Connection
) -> None:
    """Goal: FreeRADIUS sees a change of group at the commit and not before.

    Method: real logins while the changing transaction is open, after commit, after a rollback.
    """
    change = "update radius.radusergroup set groupname = %s where username = %s"
    assert lab.authenticate()["Filter-Id"] == ["50000/10000"]
    radius_tables.execute(change, ("home-100@linux_tc", LOGIN))
    assert lab.authenticate()["Filter-Id"] == ["50000/10000"]
    radius_tables.commit()
    assert lab.authenticate()["Filter-Id"] == ["100000/20000"]
    radius_tables.execute(change, ("home-50@linux_tc", LOGIN))
    radius_tables.rollback()
    assert lab.authenticate()["Filter-Id"] == ["100000/20000"]


def test_wrong_password_is_rejected_and_none_is_stored(
    lab: RunningLab, radius_tables: psycopg.Connection
) -> None:
    """Goal: a reject tells nothing and no password reaches radpostauth. Method: both outcomes."""
    rejected = lab.authenticate(password="wrong-one")
    assert rejected.code == packet.AccessReject
    assert "Filter-Id" not in rejected
    assert lab.authenticate().code == packet.AccessAccept
    rows = radius_tables.execute("select reply, pass from radpostauth order by id").fetchall()
    assert rows == [("Access-Reject", ""), ("Access-Accept", "")]


@pytest.mark.usefixtures("radius_tables")
def test_unsigned_login_is_dropped(lab: RunningLab) -> None:
    """Goal: FreeRADIUS demands a Message-Authenticator. Method: radclient without and with one."""
    server = lab.server("radius", "freeradius")
    to = (f"{server['address']}:{server['auth_port']}", "auth", "-S", server["secret_file"])
    words = f"User-Name={LOGIN},User-Password={lab.password()}"
    answers = [
        subprocess.run(
            ("radclient", "-r", "1", "-t", str(wait_s), *to),
            input=f"{words}{signed}",
            capture_output=True,
            text=True,
            check=False,
        )
        for signed, wait_s in ((",Message-Authenticator=0x00", 20), ("", 1))
    ]
    assert "Access-Accept" in answers[0].stdout
    assert "Received" not in answers[1].stdout


def test_session_lives_in_htb_files_and_accounting(
    lab: RunningLab, radius_tables: psycopg.Connection
) -> None:
    """Goal: login to logout as one story. Method: HTB, the session file, radacct at each step."""
    assert "blackhole" in lab.run("bng", "ip", "route", "show", "100.64.2.2")
    session = lab.session("login")
    assert (lab.rate_kbps("acc2"), lab.rate_kbps("ifb-acc2")) == (50000, 10000)
    file = lab.run("bng", "cat", f"/run/access-sessions/{LOGIN}").splitlines()
    assert file[:3] == [
        f"session {session['session_id']}",
        "interface acc2",
        "address 100.64.2.2",
    ]
    assert file[3] == f"started {session['started']}"
    flow = lab.flow("sub2")
    with ExitStack() as ends:
        ends.callback(flow.stop)
        flow.assert_at(50000)
    assert lab.session("interim")["acknowledged"]
    rows = "select acctsessionid, acctoutputoctets, acctstoptime is null from radacct"
    ((session_id, octets, is_open),) = radius_tables.execute(rows).fetchall()
    assert (session_id, is_open) == (session["session_id"], True)
    assert octets > 50000 * 1000 // 8  # more than a second of the flow
    radius_tables.commit()
    lab.session("logout")
    ((_, _, is_open),) = radius_tables.execute(rows).fetchall()
    assert not is_open
    assert not lab.run("bng", "ls", "/run/access-sessions")
    assert "blackhole" in lab.run("bng", "ip", "route", "show", "100.64.2.2")


def test_login_after_reconnect_carries_the_new_tier(
    lab: RunningLab, online: Json, radius_tables: psycopg.Connection
) -> None:
    """Goal: without CoA the next login applies the tier. Method: reconnect after a commit."""
    radius_tables.execute("update radusergroup set groupname = 'home-100@linux_tc'")
    radius_tables.commit()
    assert lab.rate_kbps("acc2") == 50000
    lab.session("logout")
    again = lab.session("login")
    assert again["session_id"] != online["session_id"]
    assert (lab.rate_kbps("acc2"), lab.rate_kbps("ifb-acc2")) == (100000, 20000)


def test_coa_changes_a_running_flow(lab: RunningLab, online: Json) -> None:
    """Goal: an ACK means the flow has the new rate, its connection kept. Method: up, then down."""
    neighbour, flow = lab.flow("sub3"), lab.flow("sub2")
    with ExitStack() as ends:
        ends.callback(flow.stop)
        ends.callback(neighbour.stop)
        flow.assert_at(50000)
        for down_kbps in (100000, 10000):
            request = lab.coa(
                Acct_Session_Id=online["session_id"],
                User_Name=LOGIN,
                Filter_Id=f"{down_kbps}/20000",
            )
            (reply,) = lab.exchange(request)
            assert reply.code == packet.CoAACK
            flow.assert_at(down_kbps)
        neighbour.assert_at(20000)
    assert lab.session("sessions")["sessions"][0]["down_kbps"] == 10000


@pytest.mark.parametrize(
    ("attributes", "cause"),
    [
        ({"Acct_Session_Id": "no-such-session"}, 503),
        ({"User_Name": LOGIN, "Framed_IP_Address": "100.64.9.9"}, 503),
        ({"Acct_Session_Id": None, "User_Name": None}, 402),
        ({"Filter_Id": None}, 402),
        ({"Filter_Id": "20000"}, 407),
        ({"Filter_Id": "0/20000"}, 407),
        ({"NAS_Identifier": "another"}, 403),
        ({"Class": b"x"}, 401),
    ],
)
def test_coa_is_refused_for_its_reason(
    lab: RunningLab, online: Json, attributes: dict[str, Any], cause: int
) -> None:
    """Goal: each NAK has the Error-Cause of RFC 5176, and nothing moved. Method: one fault each."""
    wanted: dict[str, Any] = {"Acct_Session_Id": online["session_id"], "Filter_Id": "99000/9000"}
    (reply,) = lab.exchange(lab.coa(**{**wanted, **attributes}))
    assert reply.code == packet.CoANAK
    assert reply["Error-Cause"] == [cause]
    assert (lab.rate_kbps("acc2"), lab.rate_kbps("ifb-acc2")) == (50000, 10000)


def test_coa_is_refused_whole_when_tc_fails(lab: RunningLab, online: Json) -> None:
    """Goal: 506 and the old rate in both directions. Method: the upload class is really gone."""
    tree = tree_of(10000)
    lab.run("bng", "tc", "qdisc", "del", "dev", "ifb-acc2", "root")
    try:
        (reply,) = lab.exchange(
            lab.coa(Acct_Session_Id=online["session_id"], Filter_Id="99000/9000")
        )
    finally:
        root = ["root", "handle", "1:", "htb", "default", "10"]
        lab.run("bng", "tc", "qdisc", "replace", "dev", "ifb-acc2", *root)
        lab.run("bng", "tc", "class", "replace", "dev", "ifb-acc2", *tree)
    assert (reply.code, reply["Error-Cause"]) == (packet.CoANAK, [506])
    assert lab.rate_kbps("acc2") == 50000


def test_unauthentic_coa_gets_silence(lab: RunningLab, online: Json) -> None:
    """Goal: unsigned, stale, undated, forged requests have no answer and no effect.

    Method: each is followed by a good request on the same socket; only that one is answered.
    """
    names = {"Acct_Session_Id": online["session_id"], "Filter_Id": "99000/9000"}
    forged = lab.coa(**names)
    forged.secret = b"not the secret"
    bad = [
        lab.coa(sign=False, **names),
        lab.coa(**{**names, "Event_Timestamp": int(time.time()) - 600}),
        lab.coa(**{**names, "Event_Timestamp": None}),
        forged,
    ]
    good = lab.coa(Acct_Session_Id=online["session_id"], Filter_Id="60000/10000")
    replies = lab.exchange(*bad, good, unanswered=len(bad))
    assert [reply.id for reply in replies] == [good.id]
    assert lab.rate_kbps("acc2") == 60000


def test_repeated_coa_has_one_effect(lab: RunningLab, online: Json) -> None:
    """Goal: a retransmission gets the same answer and does nothing. Method: a change between."""
    request = lab.coa(Acct_Session_Id=online["session_id"], Filter_Id="60000/10000")
    request.raw_packet = request.RequestPacket()
    between = lab.coa(Acct_Session_Id=online["session_id"], Filter_Id="70000/10000")
    first, second, third = lab.exchange(request, between, request)
    assert [first.code, second.code, third.code] == [packet.CoAACK] * 3
    assert first.raw_packet == third.raw_packet
    assert lab.rate_kbps("acc2") == 70000


def test_disconnect_ends_the_session(
    lab: RunningLab, online: Json, radius_tables: psycopg.Connection
) -> None:
    """Goal: ACK means offline and accounted; a second one finds nothing. Method: radacct."""
    (reply,) = lab.exchange(lab.coa(disconnect=True, Acct_Session_Id=online["session_id"]))
    assert reply.code == packet.DisconnectACK
    assert lab.session("sessions") == {"sessions": []}
    stopped = "select acctterminatecause from radacct where acctstoptime is not null"
    assert radius_tables.execute(stopped).fetchall() == [("Admin-Reset",)]
    (reply,) = lab.exchange(lab.coa(disconnect=True, Acct_Session_Id=online["session_id"]))
    assert (reply.code, reply["Error-Cause"]) == (packet.DisconnectNAK, [503])


def test_snmp_counts_what_a_flow_carried(lab: RunningLab) -> None:
    """Goal: ifHCOutOctets is evidence of traffic. Method: SNMPv3 against the kernel's counter.

    The agent refreshes its counters every 3 s, so the value is asked for until it moves.
    """
    counter = ("cat", "/sys/class/net/acc1/statistics/tx_bytes")
    index = next(oid for oid, name in snmp_walk(lab, IF_NAME) if name == "acc1").split(".")[-1]
    before = int(lab.run("bng", *counter))
    flow = lab.flow("sub1")
    with ExitStack() as ends:
        ends.callback(flow.stop)
        flow.assert_at(50000)
    carried = int(lab.run("bng", *counter))
    assert carried - before > 50000 * 1000 // 8

    def seen() -> int:
        return int(snmp_walk(lab, f"{HC_OUT_OCTETS}.{index}")[0][1])

    assert wait_until(lambda: seen() >= carried, 20)


def test_containerlab_files_feed_nornir(lab: RunningLab, tmp_path: Path) -> None:
    """Goal: Nornir's own inventory plugin reads what we wrote. Method: load it for real."""
    groups = tmp_path / "groups.yml"
    groups.write_text("bng: {}\n")
    hosts = Path(lab.facts["clab_dir"]) / "nornir-simple-inventory.yml"
    nornir = InitNornir(
        runner={"plugin": "serial"},
        logging={"enabled": False},
        inventory={
            "plugin": "SimpleInventory",
            "options": {"host_file": str(hosts), "group_file": str(groups)},
        },
    )
    bng = nornir.inventory.hosts["bng"]
    assert (bng.hostname, bng.platform, bng.username) == ("172.20.20.2", "linux", "root")
    assert [group.name for group in bng.groups] == ["bng"]


def test_no_secret_is_shown(lab: RunningLab) -> None:
    """Goal: secrets stay in 0600 files. Method: look for each in logs, lab.json, command lines."""
    state = Path(lab.facts["state_dir"])
    files = [*(state / "credentials").iterdir(), *(state / "postgres/credentials").iterdir()]
    held = [path for path in files if path.suffix != ".pub"]
    assert held
    assert {path.stat().st_mode & 0o777 for path in held} == {0o600}
    secrets = [line for path in held for line in path.read_text().splitlines() if len(line) > 20]
    shown = [path.read_text(errors="replace") for path in state.glob("**/*.log")]
    shown += [(state / "lab.json").read_text()]
    shown += [path.read_text() for path in Path(lab.facts["clab_dir"]).iterdir()]
    for daemon in lab.facts["daemons"]:
        shown.append(Path(f"/proc/{daemon['pid']}/cmdline").read_text())
    assert not [secret for secret in secrets for text in shown if secret in text]


def tree_of(rate_kbps: int) -> list[str]:
    """The words that name class 1:10 with its rate."""
    words = f"parent 1: classid 1:10 htb rate {rate_kbps}kbit ceil {rate_kbps}kbit quantum 1514"
    return words.split()


def snmp_walk(lab: RunningLab, oid: str) -> list[tuple[str, str]]:
    """(OID, value) of everything below `oid` on the BNG, by SNMPv3 authPriv."""
    agent = lab.server("bng", "snmpd")
    auth, priv = (lab.secret(agent[f"{kind}_passphrase_file"]) for kind in ("auth", "priv"))
    shown = subprocess.run(
        (
            *("snmpwalk", "-v3", "-l", "authPriv", "-u", agent["user"], "-On", "-OQ"),
            *("-a", "SHA-256", "-A", auth, "-x", "AES", "-X", priv),
            *(f"{agent['address']}:{agent['port']}", oid),
        ),
        env={"MIBS": "", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    pairs = (line.partition(" = ") for line in shown.stdout.splitlines())
    return [(oid, value.strip('"')) for oid, _, value in pairs]
