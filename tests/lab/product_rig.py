"""The product on a lab that is up: its real command line, and the truth read without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab_rig import LOGIN, Json, RunningLab
from pyrad import packet

from lab.small_isp import midday_zone
from orchestrator.database import make_engine
from orchestrator.migrate import upgrade
from tests.orchestrator.field import Cutter, Ended, warm_cutter

ROOT = Path(__file__).resolve().parents[2]
RATES = {
    "home-20": (20_000, 5_000),
    "home-50": (50_000, 10_000),
    "home-100": (100_000, 20_000),
    "suspended": (1_000, 1_000),
}
SETTLE_S = 1
LINE_INTERFACES = {"line-1": "acc1", "line-3": "acc3"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A folder with bandmaster.toml (role app) whose inventory is the lab, and the lab itself."""

    lab: RunningLab
    folder: Path
    cutter: Cutter

    def run(self, *words: str, cut: tuple[str, ...] = ()) -> Ended:
        """Run one command to its end; `cut` = options of lab.cut."""
        return self.cutter.run(self.folder, cut, words)

    def good(self, *words: str) -> str:
        """Run a command that must succeed; its standard output."""
        ended = self.run(*words)
        assert ended.code == 0, ended.err
        return ended.out

    def tier(self, service_id: str, plan: str) -> None:
        """Have a service on a plan, at rest: closed, nothing left armed."""
        if self.service(service_id)["plan_code"] != plan:
            self.good("service", "tier", service_id, plan, "--yes")
        self.good("recover", "--wait")

    def start(self, *words: str, cut: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start a command as a process of its own, its standard error on a pipe."""
        return subprocess.Popen(
            [sys.executable, "-m", "lab.cut", *cut, "--", *words],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def subscriber(self, service_id: str, *more: str) -> Json:
        """What `subscriber show` says of one service."""
        shown = json.loads(self.good("subscriber", "show", service_id, "--json", *more))
        (service,) = shown["services"]
        found: Json = service
        return found

    def service(self, service_id: str) -> Json:
        """What the store says of a service, by SQL."""
        row = self.rows(
            "select json_build_object('plan_code', plan_code, 'state', state)"
            " from public.service where service_id = %s",
            service_id,
        )
        found: Json = row[0][0]
        return found

    def events(self, service_id: str) -> tuple[str, ...]:
        """The types of a service's ledger events, oldest first, by SQL."""
        query = "select type from public.billing_event where service_id = %s order by seq"
        return tuple(str(row[0]) for row in self.rows(query, service_id))

    def evidence(self, service_id: str) -> list[int]:
        """Octets sent to a static line as SNMP told its changes, before and after each."""
        query = (
            "select (detail::json->>'out_octets')::bigint from public.journal_step"
            " where kind = 'snmp' and set_id in"
            " (select set_id from public.change where service_id = %s) order by step_id"
        )
        return [int(row[0]) for row in self.rows(query, service_id)]

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of a query in the role that owns the tables."""
        with self.lab.connect("migrate") as connection:
            found: list[tuple[Any, ...]] = connection.execute(query.encode(), values).fetchall()
            return found

    def kernel(self, interface: str) -> tuple[int, int]:
        """(down, up) in kbit/s that the kernel applies on a line."""
        return self.lab.rate_kbps(interface), self.lab.rate_kbps(f"ifb-{interface}")

    def saved(self, interface: str) -> str:
        """The text that the boot unit would run for an interface; "" if there is none."""
        path = f"/etc/bandmaster/tc.d/{interface}.conf"
        text: str = self.lab.run("bng", "sh", "-c", f"cat {path} 2>/dev/null || true")
        return text

    def jobs(self) -> tuple[str, ...]:
        """The endings of the dead man's files on the BNG: armed, fired, restored, done, sh."""
        shown = self.lab.run("bng", "sh", "-c", "ls /run/bandmaster 2>/dev/null || true")
        return tuple(sorted(name.rpartition(".")[2] for name in shown.split()))

    def answer(self) -> str:
        """What FreeRADIUS answers the dynamic login now: a Filter-Id, or "reject"."""
        return answer_text(self.lab.authenticate())

    def sessions(self) -> list[Json]:
        """The live sessions as the access agent tells them."""
        found: list[Json] = self.lab.session("sessions")["sessions"]
        return found

    def static_at(self, service_id: str, plan: str) -> None:
        """Assert that kernel, saved file and store give a static line this plan."""
        interface = LINE_INTERFACES[service_id]
        assert self.kernel(interface) == RATES[plan]
        saved = self.saved(interface)
        if saved:  # what was never touched has no saved file
            for device, kbps in zip((interface, f"ifb-{interface}"), RATES[plan], strict=True):
                assert f"dev {device} parent 1: classid 1:10 htb rate {kbps}kbit" in saved
        assert self.service(service_id) == {"plan_code": plan, "state": "active"}

    def dynamic_at(self, plan: str) -> None:
        """Assert that RADIUS, the live session, the kernel and the store give line-2 this plan."""
        down, up = RATES[plan]
        assert self.answer() == f"{down}/{up}"
        (session,) = self.sessions()
        assert (session["down_kbps"], session["up_kbps"]) == (down, up)
        assert self.kernel("acc2") == (down, up)
        assert self.service("line-2") == {"plan_code": plan, "state": "active"}

    def at_rest(self) -> None:
        """Assert that nothing is open, disputed or armed, and that the ledger holds."""
        assert self.rows("select state from public.change where state <> 'CLOSED'") == []
        query = "select cause from public.exception_item where resolved_at is null"
        assert self.rows(query) == []
        jobs = self.jobs()  # one that has fired leaves its trace until the next boot
        assert "armed" not in jobs
        assert jobs.count("fired") == jobs.count("restored")
        self.good("ledger", "verify", "--deep")
        self.good("ledger", "replay", "--check")


def answer_text(reply: Any) -> str:
    """A reply of FreeRADIUS as one word."""
    if reply.code == packet.AccessReject:
        return "reject"
    assert reply.code == packet.AccessAccept
    (rates,) = reply["Filter-Id"]
    return str(rates)


@dataclass(slots=True)
class Asker:
    """Asks FreeRADIUS again and again, in a thread, and keeps the answers in order."""

    ask: Callable[[], str]
    answers: list[str] = field(default_factory=list)
    asked: threading.Condition = field(default_factory=threading.Condition)
    ending: threading.Event = field(default_factory=threading.Event)

    def loop(self) -> None:
        """Ask until told to end, 50 times a second at most: the machine has other work to do."""
        while not self.ending.wait(0.02):
            answer = self.ask()
            with self.asked:
                self.answers.append(answer)
                self.asked.notify_all()

    def more(self, count: int) -> list[str]:
        """Wait for so many answers to requests that were sent from now on; they."""
        with self.asked:
            place = len(self.answers) + 1  # one may be under way
            assert self.asked.wait_for(lambda: len(self.answers) >= place + count, 60)
            return self.answers[place : place + count]


@contextmanager
def asking(product: Product) -> Iterator[Asker]:
    """An asker that runs until the block ends."""
    asker = Asker(ask=product.answer)
    thread = threading.Thread(target=asker.loop)
    thread.start()
    try:
        yield asker
    finally:
        asker.ending.set()
        thread.join()


def stopped(process: subprocess.Popen[str]) -> bool:
    """Wait until the process is stopped at its edge (True) or has ended."""
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    return os.WIFSTOPPED(status)


@contextmanager
def the_product(lab: RunningLab, folder: Path) -> Iterator[Product]:
    """Set the product up by its own commands: tables as role migrate, all else as role app."""
    roles = lab.server("db", "postgres")["roles"]
    settings = folder / "bandmaster.toml"
    settings.touch(mode=0o600)
    settings.write_text(
        f'database_url = "{lab.secret(roles["app"]["url_file"])}"\n'
        f'known_hosts = "known_hosts"\nsettle_s = {SETTLE_S}\ncoa_window_s = {SETTLE_S}\n'
        "lease_wait_s = 5\n",
        encoding="utf-8",
    )
    engine = make_engine(lab.secret(roles["migrate"]["url_file"]))
    upgrade(engine)
    engine.dispose()
    with warm_cutter() as cutter:
        product = Product(lab=lab, folder=folder, cutter=cutter)
        told = Path(lab.facts["inventory"])
        told.write_text(told.read_text().replace("time_zone: UTC", f"time_zone: {midday_zone()}"))
        product.good("inventory", "import", str(told))
        product.good("device", "enroll-key", "bng", "--yes")
        yield product


def login(product: Product) -> Json:
    """Have the dynamic subscriber online; the session."""
    return product.lab.session("login", LOGIN)
