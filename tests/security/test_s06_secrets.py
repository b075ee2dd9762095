"""S6: no secret in anything that is shown, logged, journalled, raised or kept beside its store."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from inventory import BadSettings, SecretRef
from inventory.radius_rows import RADCHECK
from orchestrator.cli.trouble import quiet
from orchestrator.database import make_engine, writing
from orchestrator.office import open_office
from orchestrator.secrets import SecretStore
from orchestrator.settings import load
from tests.desk import Told, tier

from .conftest import DEVICE, LOGIN, WRONG, Guarded

ONE, TWO = "svc-1001", "svc-1002"
BNG, OLT = "bng-fra-1", "olt-fra-1"
# where a secret may be: the settings file (0600), what tells the emulated devices, the login's row
STORES = {"bandmaster.toml", "fleet.yaml"}
AT_HOME = {"radcheck"}


class _Heard(logging.Handler):
    """Keeps every record of every library as text, traces included."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.names: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one record."""
        self.lines.append(self.format(record))
        self.names.add(record.name.partition(".")[0])


@pytest.fixture
def heard() -> Iterator[_Heard]:
    """Everything that is logged from DEBUG upwards, by anybody in this process."""
    root, handler = logging.getLogger(), _Heard()
    loggers = (root, logging.getLogger("sqlalchemy"))  # the one library that sets its own level
    levels, handlers = [logger.level for logger in loggers], list(root.handlers)
    root.addHandler(handler)
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    yield handler
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    root.handlers[:] = handlers


@dataclass(frozen=True, slots=True)
class _Listener:
    """Runs commands, and looks at everything that is shown and logged meanwhile."""

    guarded: Guarded
    heard: _Heard

    def run(self, *arguments: str, code: int, quoted: bool = False) -> Told:
        """Run a command; `quoted` = a device quotes the password, as a library's log then does."""
        told = self.guarded.desk.run(*arguments)
        assert told.code == code, told.text
        assert "bug in bandmaster" not in told.text, told.text
        assert self.guarded.leaks(told.text) == [], told.text
        assert quoted or [line for line in self.heard.lines if self.guarded.leaks(line)] == []
        self.heard.lines.clear()
        return told


LOOKS = (
    ("change", "list", "--json"),
    ("device", "list", "--json"),
    ("device", "show", BNG, "--json"),
    ("device", "show", BNG),
    ("device", "check", "--json"),
    ("subscriber", "show", ONE, "--json"),
    ("find", "1001", "--json"),
    ("ledger", "tail"),
    ("ledger", "export"),
    ("ledger", "verify", "--deep"),
    ("plan", "list", "--json"),
    ("db", "upgrade"),
)


def test_no_secret_leaves_its_store(
    guarded: Guarded, heard: _Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: S6. Method: a canary in every credential; every command, healthy and broken, is read.

    All libraries log at DEBUG. Where a device itself quotes a password, a library's DEBUG lines
    hold it as received; nothing shows those, and everything that is shown or kept is looked at.
    """
    run = _Listener(guarded, heard).run
    run("service", "tier", ONE, "fiber-500", "--plan-only", "--json", "--debug", code=3)
    changed = run(*tier(ONE, "fiber-500", "--json"), code=0)
    change_id = re.findall(r"c-[0-9a-f]{16}", changed.err)[0]
    _quoting_devices(guarded, run)
    _dispute(guarded, run)
    for words in (*LOOKS, ("change", "show", change_id), ("change", "show", change_id, "--json")):
        run(*words, code=0)
    doctor = guarded.desk.run("doctor", "--json")
    assert guarded.leaks(doctor.text) == []
    assert "password" not in doctor.out  # every reference was resolved, none is told
    monkeypatch.setenv("BM_DEVICE_PASSWORD", WRONG)
    run(*tier(ONE, "fiber-1000", "--debug"), code=1)
    run("device", "check", "--debug", code=1)
    monkeypatch.delenv("BM_DEVICE_PASSWORD")
    run(*tier(ONE, "fiber-1000", "--debug"), code=2)
    assert heard.names >= {"paramiko", "ncclient", "netmiko", "nornir", "sqlalchemy"}
    _look_at_what_is_kept(guarded)


def _quoting_devices(guarded: Guarded, run: Callable[..., Told]) -> None:
    """Devices that refuse and quote our password."""
    desk, quoting = guarded.desk, f"bad password {DEVICE}"
    desk.control(OLT, "fault", verb="service-port 1001*", kind="refuse", arg=f"Failure: {quoting}")
    refusal = run(*tier(ONE, "fiber-1000", "--debug"), code=1, quoted=True)
    assert "bad password ***" in refusal.err
    desk.control(BNG, "fault", verb="commit-configuration", kind="refuse", arg=quoting)
    assert "bad password ***" in run(*tier(TWO), code=1, quoted=True).err
    desk.control(BNG, "fault", verb="get-configuration", kind="refuse", arg=quoting)
    run(*tier(TWO, "fiber-500", "--debug"), code=1, quoted=True)
    desk.control(BNG, "clear")


def _dispute(guarded: Guarded, run: Callable[..., Told]) -> None:
    """A NAS that refuses the CoA, an exception, its answer, and recovery."""
    guarded.desk.control(BNG, "fault", verb="CoA-Request", kind="refuse", arg="404", count=9)
    disputed = run(*tier(TWO), code=4)
    exception = re.findall(r"x-[0-9a-f]{16}", disputed.err)[0]
    run("exceptions", "show", exception, "--json", code=0)
    guarded.desk.control(BNG, "clear")
    run("exceptions", "resolve", exception, "retry", code=0)
    run("recover", "--wait", "--json", code=0)


def _look_at_what_is_kept(guarded: Guarded) -> None:
    """Every row of every table, and every file of the folder."""
    rows = {name: "\n".join(found) for name, found in guarded.desk.world()[0].items()}
    assert LOGIN in rows["radcheck"]
    assert {name for name, text in rows.items() if guarded.leaks(text)} == AT_HOME
    assert "bad password ***" in rows["journal_step"]
    for path in guarded.desk.folder.rglob("*"):
        if path.is_file() and path.name not in STORES and "bandmaster.db" not in path.name:
            assert guarded.leaks(path.read_text("utf-8", errors="replace")) == [], path


def test_no_secret_is_in_a_repr(guarded: Guarded) -> None:
    settings = load()
    office = open_office(settings)
    for ref in ("BM_DEVICE_PASSWORD", "BM_COA_SECRET", "BM_AUTH", "BM_PRIV", "BM_LOGIN"):
        assert office.secrets(SecretRef(ref=f"env:{ref}"))
    for value in (settings, office, office.secrets, office.engine, office.engine.url):
        assert guarded.leaks(f"{value!r} {value}") == []
    assert "BM_" not in repr(SecretRef(ref="env:BM_LOGIN")) + str(SecretRef(ref="env:BM_LOGIN"))
    office.engine.dispose()


def test_an_error_of_the_store_does_not_quote_a_row(guarded: Guarded, heard: _Heard) -> None:
    """Goal: a password in a failing statement stays out of its error. Method: a key given twice."""
    row = {"username": "x@isp", "attribute": "Cleartext-Password", "op": ":=", "value": LOGIN}
    engine = make_engine(load().database_url)
    with pytest.raises(DBAPIError) as caught, writing(engine) as session:
        session.execute(RADCHECK.insert(), [{"id": 9_999, **row}, {"id": 9_999, **row}])
    engine.dispose()
    assert guarded.leaks(f"{caught.value!r} {caught.value}") == []
    assert [line for line in heard.lines if guarded.leaks(line)] == []


def test_what_libraries_warn_of_is_shown_masked(
    guarded: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    """Goal: `--debug` shows libraries' words without secrets. Method: a library that quotes one."""
    guarded.desk.good(*tier(ONE))
    root = logging.getLogger()
    handlers = list(root.handlers)
    try:
        quiet(debug=True)
        logging.getLogger("some.library").warning("login with %s failed", DEVICE)
    finally:
        root.handlers[:] = handlers
    said = capsys.readouterr().err
    assert "login with *** failed" in said
    assert guarded.leaks(said) == []


def test_a_secret_is_masked_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SecretStore(tmp_path)
    assert store.mask(f"not given out yet: {DEVICE}") == f"not given out yet: {DEVICE}"
    monkeypatch.setenv("SHORT", "canary")
    monkeypatch.setenv("LONG", DEVICE)
    assert (store(SecretRef(ref="env:SHORT")), store(SecretRef(ref="env:LONG"))) == (
        "canary",
        DEVICE,
    )
    # the longer one first: the rest of it would be left over otherwise
    assert store.mask(f"<{DEVICE}> <canary>") == "<***> <***>"
    for ref in (DEVICE, f"vault:{DEVICE}", f"{DEVICE}:x"):
        with pytest.raises(BadSettings) as caught:
            store(SecretRef(ref=ref))
        assert DEVICE not in f"{caught.value} {caught.value.remedy}"
