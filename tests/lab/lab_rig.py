"""Handles to drive a lab that is up: commands on nodes, flows, sessions, RADIUS packets."""

from __future__ import annotations

import re
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psycopg
import pytest
from pyrad import packet
from pyrad.client import Client
from pyrad.dictionary import Dictionary

from lab.nas_agent import call
from lab.nas_agent_radius import DICTIONARY

Json = dict[str, Any]
LOGIN = "sub2@isp.example"
LOWEST, HIGHEST = 0.93, 0.98  # goodput against HTB's rate, which counts Ethernet's bytes too
_INTERVAL_S = 0.5
_PATIENCE = 60  # reports
_RATE = re.compile(r"\]\s+[\d.]+-([\d.]+)\s+sec\s+.*\s([\d.]+) Kbits/sec")


class Flow:
    """A running iperf3 flow; its rate is read from its own reports, one each half second."""

    def __init__(self, *processes: subprocess.Popen[str]) -> None:
        self._processes = processes  # the one that reports comes first
        self._started_s = time.monotonic()
        self._end_s = 0.0  # of the newest report read, in seconds since the flow began

    @property
    def _reports(self) -> IO[str]:
        reports = self._processes[0].stdout
        assert reports is not None
        return reports

    def assert_at(self, tier_kbps: int, over: int = 4) -> None:
        """Assert that from now on the flow uses the tier: no more than it and nearly all of it.

        The first stretch of `over` reports that does so is enough, within 30 s: where all cores are
        busy, the programs at the ends may lag behind the line and catch up again.
        """
        now_s = time.monotonic() - self._started_s
        while self._end_s < now_s:  # these reports are of the past
            self._next()
        rates = [self._next() for _ in range(over)]
        for _ in range(_PATIENCE):
            mean_kbps = sum(rates[-over:]) / over
            if LOWEST <= mean_kbps / tier_kbps <= HIGHEST:
                return
            rates.append(self._next())
        pytest.fail(f"{rates} kbit/s, never {tier_kbps}")

    def _next(self) -> float:
        for line in self._reports:
            if found := _RATE.search(line):
                self._end_s = float(found[1])
                return float(found[2])
        pytest.fail("the flow ended: its connection was not kept")

    def stop(self) -> None:
        """End the flow."""
        for process in self._processes:
            process.terminate()
            process.communicate()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningLab:
    """What tests do with a lab that is up."""

    facts: Json

    def server(self, node: str, name: str) -> Json:
        """What lab.json says about one server."""
        server: Json = self.facts["nodes"][node]["servers"][name]
        return server

    def command(self, node: str, *argv: str) -> tuple[str, ...]:
        """The command line that runs `argv` on a node."""
        return (*self.facts["nodes"][node]["enter"], *argv)

    def run(self, node: str, *argv: str) -> str:
        """Run a command on a node; its output."""
        done = subprocess.run(
            self.command(node, *argv), capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    def session(self, do: str, login: str = LOGIN) -> Json:
        """Ask the BNG's access agent: login, logout, interim, sessions."""
        return call(Path(self.server("bng", "nas")["control_socket"]), do, login)

    def secret(self, path: str) -> str:
        """The text of a credential file."""
        return Path(path).read_text(encoding="ascii").strip()

    def connect(self, role: str) -> psycopg.Connection:
        """A connection to the lab's database in one of its roles."""
        url = self.secret(self.server("db", "postgres")["roles"][role]["url_file"])
        return psycopg.connect(url.replace("+psycopg", ""))

    def rate_kbps(self, interface: str) -> int:
        """The rate of HTB class 1:10 on an interface of the BNG."""
        shown = self.run("bng", "tc", "class", "show", "dev", interface)
        found = re.search(r"class htb 1:10 .*\brate (\d+)([KMG])bit", shown)
        assert found, shown
        return int(found[1]) * {"K": 1, "M": 1000, "G": 1000**2}[found[2]]

    def set_rate(self, interface: str, rate_kbps: int) -> None:
        """Change HTB class 1:10 on an interface of the BNG by hand."""
        words = f"parent 1: classid 1:10 htb rate {rate_kbps}kbit ceil {rate_kbps}kbit quantum 1514"
        self.run("bng", "tc", "class", "change", "dev", interface, *words.split())

    def flow(self, subscriber: str) -> Flow:
        """Start a TCP download from the core that lasts until it is stopped."""
        end = self.server("core", "iperf3")["listen"][int(subscriber[-1]) - 1]
        return Flow(self._receive(subscriber, end["address"], end["port"]))

    def upload(self, subscriber: str) -> Flow:
        """Start a TCP upload to the core, reported where it is received, until it is stopped."""
        number = int(subscriber[-1])
        server = self._iperf3(subscriber, "--server", "--one-off", "--port", str(5300 + number))
        assert server.stdout is not None
        while "listening" not in server.stdout.readline():
            pass
        return Flow(self._receive("core", f"100.64.{number}.2", 5300 + number), server)

    def _receive(self, node: str, address: str, port: int) -> subprocess.Popen[str]:
        end = ("--client", address, "--port", str(port), "--reverse")
        return self._iperf3(node, *end, "-t", "600", "-f", "k", "-i", str(_INTERVAL_S))

    def _iperf3(self, node: str, *argv: str) -> subprocess.Popen[str]:
        command = self.command(node, "iperf3", "--forceflush", *argv)
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def coa(self, *, disconnect: bool = False, sign: bool = True, **attributes: Any) -> Any:
        """A CoA-Request to the BNG's agent, signed and stamped, ready to be sent."""
        agent = self.server("bng", "nas")
        request = packet.CoAPacket(
            code=packet.DisconnectRequest if disconnect else packet.CoARequest,
            secret=self.secret(agent["coa_secret_file"]).encode(),
            dict=Dictionary(str(DICTIONARY)),
            message_authenticator=sign,
        )
        attributes.setdefault("Event_Timestamp", int(time.time()))
        for name, value in attributes.items():
            if value is not None:
                request[name.replace("_", "-")] = value
        return request

    def exchange(self, *requests: Any, unanswered: int = 0) -> list[Any]:
        """Send CoA requests from one socket; the first replies, fewer by `unanswered`.

        The agent answers in order, so a reply to what must stay unanswered would come first.
        """
        agent = self.server("bng", "nas")
        by_id = {request.id: request for request in requests}
        replies = []
        with socket.socket(type=socket.SOCK_DGRAM) as wire:
            wire.connect((agent["coa_address"], agent["coa_port"]))
            wire.settimeout(20)
            for request in requests:
                wire.send(request.raw_packet or request.RequestPacket())
            for _ in range(len(requests) - unanswered):
                data = wire.recv(4096)
                request = by_id[data[1]]
                reply = request.CreateReply(packet=data)
                assert request.VerifyReply(reply, data), "the reply is not authentic"
                assert reply.message_authenticator, "the reply is not signed"
                replies.append(reply)
        return replies

    def authenticate(self, login: str = LOGIN, password: str = "") -> Any:
        """Send one Access-Request from this machine to FreeRADIUS; its reply."""
        server = self.server("radius", "freeradius")
        client = Client(
            server=server["address"],
            authport=server["auth_port"],
            secret=self.secret(server["secret_file"]).encode(),
            dict=Dictionary(str(DICTIONARY)),
            retries=5,
            timeout=3,
        )
        request = client.CreateAuthPacket(User_Name=login)
        request["User-Password"] = request.PwCrypt(password or self.password())
        try:
            return client.SendPacket(request)
        finally:
            client._CloseSocket()

    def password(self) -> str:
        """The password of the dynamic subscriber."""
        return self.secret(self.server("bng", "nas")["lines"][0]["password_file"])
