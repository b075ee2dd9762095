"""The bare baseline: one tier change by a plain napalm and netmiko script, which keeps no record.

It asks and tells the devices exactly what an applied change does, in the same order and with the
same things side by side: no store, no plan, no lease, no ledger, no host keys.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree
from napalm import get_network_driver
from ncclient.transport import session as ncclient_session
from netmiko import ConnectHandler
from pyrad.dictionary import Dictionary
from pyrad.packet import CoAPacket

import device_templates.juniper_junos
import workflows.transports
from lab.small_isp import CLI_PORT, COA_PORT, NETCONF_PORT, TIERS, SmallIsp

COA_REQUEST, COA_ACK = 43, 44
STOCK_TICK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plain:
    """The script. `lean`: without the waits that the two libraries bring by themselves."""

    isp: SmallIsp
    lean: bool

    def change(self, service_id: str, plan_code: str) -> None:
        """Move one service to a tier; RuntimeError where a device does not show it."""
        ours = ncclient_session.TICK
        ncclient_session.TICK = ours if self.lean else STOCK_TICK_S
        bng, olt = _Bng(self.isp, service_id), _Olt(self.isp, service_id, lean=self.lean)
        try:
            with ThreadPoolExecutor(max_workers=2) as side_by_side:
                self._change(bng, olt, plan_code, side_by_side)
        finally:
            ncclient_session.TICK = ours

    def _change(
        self, bng: _Bng, olt: _Olt, plan_code: str, side_by_side: ThreadPoolExecutor
    ) -> None:
        def both(*acts: Callable[[], object]) -> None:
            list(side_by_side.map(lambda act: act(), acts))

        both(bng.open, olt.open)
        bng.prepare(plan_code)
        olt.prepare(plan_code)
        both(lambda: bng.read(plan_code), lambda: olt.read(plan_code))
        both(bng.confirm, olt.save)
        both(lambda: bng.read(plan_code), lambda: olt.read(plan_code, saved=True))
        bng.move_session(plan_code)
        both(bng.close, olt.close)


class _Bng:
    def __init__(self, isp: SmallIsp, service_id: str) -> None:
        self._isp = isp
        self._number = int(service_id.rpartition("-")[2])
        self._host = f"{isp.subnet}.1"
        self._driver: Any = None

    def open(self) -> None:
        self._driver = get_network_driver("junos")(
            self._host,
            "bandmaster",
            self._isp.password,
            optional_args={
                "port": NETCONF_PORT,
                "lock_disable": True,
                "ignore_warning": "statement not found",
            },
        )
        self._driver.open()
        self.read("fiber-100")

    def close(self) -> None:
        self._driver.close()

    def read(self, plan_code: str) -> None:
        down, up = _rates(plan_code)
        self._call("get-commit-information")
        config = self._driver.get_config("running", format="set")["running"]
        unit = f"set interfaces ge-0/0/1 unit {self._number} family inet policer"
        _need(f"{unit} output DOWN-{down // 1000}M" in config, "the router's configuration")
        _need(f"{unit} input UP-{up // 1000}M" in config, "the router's configuration")
        programmed = self._call("get-interface-policer-information")
        instance = f"DOWN-{down // 1000}M-ge-0/0/1.{self._number}-inet-o"
        _need(instance in programmed, "what the router has programmed")

    def prepare(self, plan_code: str) -> None:
        down, up = _rates(plan_code)
        unit = f"interfaces ge-0/0/1 unit {self._number} family inet policer"
        self._call("lock-configuration")
        self.read("fiber-100")
        self._driver.load_merge_candidate(
            config=f"set {unit} input UP-{up // 1000}M\nset {unit} output DOWN-{down // 1000}M"
        )
        self._driver.commit_config(message=f"plain {self._number}", revert_in=300)

    def confirm(self) -> None:
        self._call("get-commit-information")
        self._driver.confirm_commit()

    def move_session(self, plan_code: str) -> None:
        _need(self._session_has("fiber-100"), "the session before the CoA")
        self._send_coa(plan_code)
        _need(self._session_has(plan_code), "the session after the CoA")

    def _session_has(self, plan_code: str) -> bool:
        shown = self._call(
            "get-subscribers", **{"user-name": f"user{self._number}@isp", "extensive": ""}
        )
        return _service(plan_code) in shown

    def _send_coa(self, plan_code: str) -> None:
        packet = CoAPacket(
            code=COA_REQUEST, secret=self._isp.coa_secret.encode(), dict=_dictionary()
        )
        packet.add_message_authenticator()
        packet.AddAttribute("Event-Timestamp", int(time.time()))
        packet.AddAttribute("User-Name", f"user{self._number}@isp")
        packet.AddAttribute("Acct-Session-Id", f"8a{self._number}")
        packet.AddAttribute("ERX-Service-Deactivate:1", _service("fiber-100"))
        packet.AddAttribute("ERX-Service-Activate:1", _service(plan_code))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.settimeout(2)
            channel.sendto(packet.RequestPacket(), (self._host, COA_PORT))
            _need(channel.recv(4096)[0] == COA_ACK, "the answer to the CoA")

    def _call(self, name: str, **arguments: str) -> str:
        request = etree.Element(name)
        for argument, value in arguments.items():
            etree.SubElement(request, argument).text = value or None
        answer = self._driver.device.execute(request)
        return "" if answer is True else etree.tostring(answer, encoding="unicode")


class _Olt:
    def __init__(self, isp: SmallIsp, service_id: str, *, lean: bool) -> None:
        self._isp = isp
        self._number = int(service_id.rpartition("-")[2])
        self._lean = lean
        self._cli: Any = None

    def open(self) -> None:
        self._cli = ConnectHandler(
            device_type="huawei_smartax",
            host=f"{self._isp.subnet}.11",
            port=CLI_PORT,
            username="bandmaster",
            password=self._isp.password,
        )
        self._cli.enable()
        self.read("fiber-100")

    def close(self) -> None:
        if self._lean:
            self._cli.cleanup = lambda *_args, **_kw: None  # says no goodbye
        self._cli.disconnect()

    def read(self, plan_code: str, *, saved: bool = False) -> None:
        tables = self._ask("display traffic table ip from-index 0")
        port = self._ask(f"display service-port {self._number}")
        for kbps in _rates(plan_code):
            _need(f" {kbps} " in tables, "the list of traffic tables")
        inbound, outbound = _tables(plan_code)
        shown = dict(row.partition(":")[::2] for row in port.replace(" ", "").splitlines())
        bound = (int(shown["RX"]), int(shown["TX"]))
        _need(bound == (inbound, outbound), "the binding of the service-port")
        if saved:
            self._ask("display saved-configuration section global-config")
            kept = self._ask("display saved-configuration section bbs-config")
            wanted = (
                f"inbound traffic-table index {inbound} outbound traffic-table index {outbound}"
            )
            line = next(row for row in kept.splitlines() if f"service-port {self._number} " in row)
            _need(wanted in line, "the saved configuration")

    def prepare(self, plan_code: str) -> None:
        self.read("fiber-100")
        self._cli.config_mode()
        inbound, outbound = _tables(plan_code)
        line = (
            f"service-port {self._number} inbound traffic-table index {inbound}"
            f" outbound traffic-table index {outbound}"
        )
        answer = self._cli.send_config_set([line], enter_config_mode=False, exit_config_mode=False)
        _need("Failure" not in answer, "the answer to the line")

    def save(self) -> None:
        self._cli.send_command("save", expect_string="saved successfully", read_timeout=60)

    def _ask(self, command: str) -> str:
        if not self._lean:
            return str(self._cli.send_command(command, read_timeout=60))
        self._cli.write_channel(command + "\n")
        self._cli.read_until_pattern(command)
        return str(self._cli.read_until_pattern(rf"\n{self._cli.base_prompt}\S*[>#]\s*$"))


def _rates(plan_code: str) -> tuple[int, int]:
    down, up, _price = TIERS[plan_code]
    return down, up


def _service(plan_code: str) -> str:
    down, up = _rates(plan_code)
    return f"bandmaster({down}k,{up}k)"


def _tables(plan_code: str) -> tuple[int, int]:
    """(inbound, outbound) traffic tables of a tier, as the small ISP numbers them."""
    kbps = sorted({rate for tier in TIERS.values() for rate in tier[:2]} | {1_000})
    down, up = _rates(plan_code)
    return 10 + kbps.index(up), 10 + kbps.index(down)


def _dictionary() -> Dictionary:
    base = Path(workflows.transports.__file__).with_name("dictionary")
    vendor = Path(device_templates.juniper_junos.__file__).with_name("dictionary")
    return Dictionary(str(base), str(vendor))


def _need(shown: object, what: str) -> None:
    if not shown:
        message = f"{what} is not what it should be"
        raise RuntimeError(message)
