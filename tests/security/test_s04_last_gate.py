"""S4: just before a line is sent, it must belong to the owned paths of its own service.

What each platform owns is tested in tests/device_templates/test_injection.py; here hostile handles
stand where the journal keeps them, and the devices' own logs are read.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, select, update

from device_templates import as_section, platform
from inventory import Device, SecretRef, table_of
from lab.small_isp import SmallIsp
from orchestrator.answers import answer_exception
from orchestrator.clock import HostClock
from orchestrator.database import make_engine, reading
from orchestrator.exceptions import list_open
from orchestrator.recover import recover
from orchestrator.rows import ParticipantRow
from tests.conftest import StartFleet
from tests.orchestrator.rig import Rig, at_tier, make_rig
from tests.tree import tree
from workflows.participant import Handle, HandleItem, Wire, WireContext
from workflows.transports import cli_session, connect

from .hostile import HostileHost, shell

BNG, OLT = "bng-fra-1", "olt-fra-1"
PARTS = table_of(ParticipantRow)


class DeadError(BaseException):
    """The worker dies at once: nothing handles this."""


class _Hasty(HostClock):
    def sleep(self, seconds: float) -> None:
        """Do not."""


@pytest.fixture
def rig(
    tmp_path: Path, start_fleet: StartFleet, subnet: str, monkeypatch: pytest.MonkeyPatch
) -> Rig:
    """Six services on one BNG and one OLT; the program waits for nothing."""
    isp = SmallIsp(subnet=subnet, services=6, olts=1, save_s=0.02)
    engine = make_engine(f"sqlite:///{tmp_path / 'bandmaster.db'}")
    made = make_rig(tmp_path, start_fleet(*isp.specs()), isp, engine, monkeypatch.setenv)
    made.office = replace(made.office, clock=_Hasty())
    monkeypatch.setattr(cli_session, "LINE_S", 1.0)
    return made


def _die_prepared(rig: Rig, service_id: str) -> None:
    """Prepare both devices and die before the decision: recovery has to undo it."""
    alive = rig.office

    def heard(participant: str, text: str) -> None:
        if participant == OLT and text.startswith("read back"):
            raise DeadError(text)

    rig.office = replace(alive, tell=heard)
    with pytest.raises(DeadError):
        rig.tier(service_id, "fiber-500")
    rig.office = alive


Alter = Callable[[dict[str, Any]], None]


def _lines(**lines: list[str]) -> Alter:
    def alter(item: dict[str, Any]) -> None:
        for name, more in lines.items():
            item[name] = [*item[name], *more]

    return alter


def _object(name: str, value: object) -> Alter:
    def alter(item: dict[str, Any]) -> None:
        item["objects"] = [[k, value if k == name else v] for k, v in item["objects"]]

    return alter


def _handles(engine: Engine) -> dict[str, dict[str, Any]]:
    """The journalled handles of the newest set, by device."""
    with engine.begin() as connection:
        newest = connection.execute(select(func.max(PARTS.c.set_id))).scalar_one()
        query = select(PARTS).where(PARTS.c.set_id == newest, PARTS.c.role == "device")
        return {row.name: json.loads(row.handle) for row in connection.execute(query)}


def _put(engine: Engine, device: str, handle: dict[str, Any]) -> None:
    """Rewrite a device's handle in the newest set."""
    with engine.begin() as connection:
        newest = connection.execute(select(func.max(PARTS.c.set_id))).scalar_one()
        where = (PARTS.c.set_id == newest) & (PARTS.c.name == device)
        done = connection.execute(update(PARTS).where(where).values(handle=json.dumps(handle)))
        assert done.rowcount == 1


EVE = "set system login user eve class super-user"
HOSTILE: dict[str, tuple[str, Alter]] = {
    "svc-1001": (BNG, _lines(inverse=[EVE])),
    "svc-1002": (
        BNG,
        _lines(inverse=["delete interfaces ge-0/0/1 unit 1006 family inet policer input"]),
    ),
    "svc-1003": (OLT, _lines(inverse=["undo service-port 1006"])),
    "svc-1004": (OLT, _lines(inverse=["service-port 1004 adminstatus enable\nreboot system"])),
    "svc-1005": (OLT, _object("service_port", "1005\nundo service-port 1006")),
}


def _retry(rig: Rig) -> None:
    """Answer what was asked because of the altered handle, and settle what is left."""
    with reading(rig.office.engine) as session:
        asked = list_open(session)
    for row in asked:
        answer_exception(rig.office, row.exception_id, "retry", "tester", "the journal was mended")
    recover(rig.office)


def test_a_hostile_handle_in_the_journal_sends_nothing(rig: Rig) -> None:
    """Goal: recovery believes no journal. Method: altered while its worker is dead, then mended."""
    for service_id, (device, alter) in HOSTILE.items():
        _die_prepared(rig, service_id)
        kept = _handles(rig.office.engine)[device]
        altered = json.loads(json.dumps(kept))
        alter(altered["items"][0])
        _put(rig.office.engine, device, altered)
        before = rig.fleet.control(device, "log")["last"]
        recovered = recover(rig.office)
        assert recovered.outcome.exit_code() != 0 or recovered.skipped, service_id
        told = rig.fleet.control(device, "log", since=before)["entries"]
        said = "\n".join(f"{entry['what']} {entry['text']}" for entry in told)
        assert said  # it was asked, at least
        for word in ("eve", "1006", "undo service-port", "reboot", "delete interfaces"):
            assert word not in said, (service_id, said)
        _put(rig.office.engine, device, kept)
        _retry(rig)
        at_tier(rig, service_id, "fiber-100")
    assert "1006" in rig.fleet.control(OLT, "dump")["running"]["service_ports"]


def test_an_unaltered_journal_is_undone(rig: Rig) -> None:
    """The control: what the test above alters is what recovery would have used."""
    _die_prepared(rig, "svc-1001")
    assert recover(rig.office).outcome.items[0].ending == "aborted"
    sent = [entry["text"] for entry in rig.fleet.control(OLT, "log")["entries"]]
    assert any("service-port 1001 inbound" in text for text in sent)


LINUX_SECTION = {"state": "on", "down_kbps": "100000", "up_kbps": "20000"}
GOOD_LINE = "ip link set dev sub1 down"
BAD_ITEMS: dict[str, dict[str, Any]] = {
    "a foreign line": {
        "forward": (GOOD_LINE, "useradd eve"),
        "inverse": (GOOD_LINE, "useradd eve"),
    },
    "a line with a tail": {
        "forward": (f"{GOOD_LINE}; useradd eve",),
        "inverse": (f"{GOOD_LINE} && useradd eve",),
    },
    "two lines in one": {
        "forward": (f"{GOOD_LINE}\nuseradd eve",),
        "inverse": (f"{GOOD_LINE}\u2028useradd eve",),
    },
    "another's line": {
        "forward": ("ip link set dev eve down",),
        "inverse": ("ip link set dev eve down",),
    },
    "an object that is a command": {
        "objects": (("interface", "sub1; useradd eve"), ("class_minor", "10"))
    },
    "an object that is a path": {
        "objects": (("interface", "../../eve"), ("class_minor", "10")),
    },
}


def _open(host: HostileHost, folder: Path) -> Wire:
    known_hosts = folder / "known_hosts"
    known_hosts.write_text(f"[{host.address}]:{host.port} {host.host_key}\n")
    known_hosts.chmod(0o600)
    device = Device(
        name="box",
        role="bng",
        platform="linux_tc",
        host=host.address,
        port=host.port,
        username="noc",
        password=SecretRef(ref="test:hunter2"),
        timeout_s=60,
    )
    wire = connect(
        WireContext(
            device=device,
            resolve=lambda ref: ref.ref.partition(":")[2],
            known_hosts=str(known_hosts),
            timeout_s=60,
        ),
        platform("linux_tc"),
    )
    wire.open()
    return wire


def test_a_shell_gets_no_line_but_owned_ones(tmp_path: Path, subnet: str) -> None:
    """Goal: the same on a box whose lines a shell runs. Method: it writes all lines down."""
    with HostileHost(f"{subnet}.1", shell("\0 never", lambda _mark: ())) as host:
        wire = _open(host, tmp_path)
        for what, bad in BAD_ITEMS.items():
            section = as_section(LINUX_SECTION)
            item = HandleItem(
                **{
                    "service_id": "svc-1",
                    "objects": (("interface", "sub1"), ("class_minor", "10")),
                    "before": section,
                    "after": as_section({**LINUX_SECTION, "state": "off"}),
                    "forward": (GOOD_LINE,),
                    "inverse": ("ip link set dev sub1 up",),
                    **bad,
                }
            )
            handle = Handle(
                device="box", platform="linux_tc", token="0197.1", items=(item,), revert_after_s=60
            )
            for verb in ("prepare", "abort", "save"):
                if verb == "save" and "objects" not in bad:
                    continue  # saving renders its lines anew, from the objects alone
                reply = getattr(wire, verb)(handle)
                assert reply.verdict == "REFUSED", (what, verb, reply)
        for lines in (("useradd eve",), ("ip link set dev eve down",)):
            assert wire.send_profiles(lines).verdict == "REFUSED"
        wire.close()
        said = "\n".join(host.heard)
        assert "exec sh -s" in said  # it does write down what comes
        assert "eve" not in said, said


SENDERS = {"send_all": "a line or more", "load": "a candidate"}
# what may stand as the lines of a sender: made or let through by a gate in the same function
GATES = {"guard.forward_lines", "guard.inverse_lines", "gate_profiles"}
MAKERS = {"dead_man.disarm", "switch.disarm", "switch.arm", "keep"}


@pytest.mark.parametrize("path", ["napalm", "netmiko"])
def test_every_sender_is_given_what_a_gate_let_through(path: str) -> None:
    """Goal: no wire sends past the gate. Method: where the lines of each call come from."""
    module = tree(f"workflows/transports/{path}.py")
    checked = 0
    for function in [n for n in ast.walk(module) if isinstance(n, ast.FunctionDef)]:
        if any(isinstance(n, ast.FunctionDef) and n is not function for n in ast.walk(function)):
            continue  # its inner function is looked at by itself
        made = {
            target.id: ast.unparse(node.value.func)
            for node in ast.walk(function)
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for node in ast.walk(function):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in SENDERS or "_session" not in ast.unparse(node.func):
                continue
            (given,) = node.args
            source = (
                made.get(given.id, "nothing known")
                if isinstance(given, ast.Name)
                else ast.unparse(given.func)
                if isinstance(given, ast.Call)
                else ast.unparse(given)
            )
            checked += 1
            assert any(source.endswith(end) for end in GATES | MAKERS), (function.name, source)
    assert checked >= 3
