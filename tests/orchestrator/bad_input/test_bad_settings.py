"""Settings, secrets and a store that are wrong, open or not there: named, never quoted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine

from orchestrator.database import make_engine
from tests.desk import Desk, bare_desk, refused, tier

ONE = "svc-1001"
URL = "postgresql://app:top-secret@"
BAD_SETTINGS = [
    (f'database_url = "{URL}127.0.0.1:1/x"', 0o644, "others can read it (mode 0644)", "chmod 600"),
    (f'database_url = "{URL}127.0.0.1:1/x"', 0o620, "others can read it", "chmod 600"),
    (f'database_url = "{URL}127.0.0.1:one/x"', 0o600, "database_url", "postgresql://USER@HOST"),
    ('database_url = "postgresql://h/x?password=top-secret"', 0o600, "its options", "~/.pgpass"),
    ('database_url = ["app:top-secret@h"]', 0o600, "database_url", "must be text"),
    ('database_url = {password = "top-secret"}', 0o600, "database_url", "must be text"),
    (f'database_url = "{URL}h/x', 0o600, "bandmaster.toml: cannot be read", "line 1"),
    ('database_url = "mysql://app:top-secret@h/x"', 0o600, "mysql", "Use sqlite:///FILE"),
    ('database_url = "top-secret"', 0o600, "is not the URL of a database", "Use sqlite:///FILE"),
    ('database_url = ""', 0o600, "is not the URL of a database", "Use sqlite:///FILE"),
    ("settle_s = -1", 0o600, "bandmaster.toml: settle_s", "0 or more"),
    ('settle_s = "30"', 0o600, "bandmaster.toml: settle_s", "a whole number"),
    ("require_ticket = 1", 0o600, "bandmaster.toml: require_ticket", "true or false"),
    ("revert_after_s = 0", 0o600, "revert_after_s", "multiple of 60"),
    ("revert_after_s = 90", 0o600, "revert_after_s", "multiple of 60"),
    ("workers = 0", 0o600, "bandmaster.toml: workers", "at least 1"),
    ("setle_s = 1", 0o600, "bandmaster.toml: setle_s", "is not a setting", "settle_s"),
    ("\x00\x01", 0o600, "bandmaster.toml: cannot be read", "Correct the file"),
]


@pytest.mark.parametrize(("text", "mode", "words"), [(t, m, w) for t, m, *w in BAD_SETTINGS])
def test_wrong_settings_are_named_and_never_quoted(
    bare: Desk, text: str, mode: int, words: list[str]
) -> None:
    bare.write("bandmaster.toml", f"{text}\n", mode)
    for command in (("plan", "list"), ("doctor",), ("db", "upgrade"), tier(ONE), ("recover",)):
        told = refused(bare, command, 2, *words)
        assert "top-secret" not in told.text


def test_a_settings_file_that_is_not_text_is_named(bare: Desk) -> None:
    (bare.folder / "bandmaster.toml").write_bytes(b"\xff\xfe\x00")
    refused(bare, ("plan", "list"), 2, "bandmaster.toml: cannot be read", "Correct the file")


SECRET_FILES = [
    (b"top-secret", 0o644, "others can read it (mode 0644)", "chmod 600"),
    (b"top-secret", 0o604, "others can read it (mode 0604)", "chmod 600"),
    (b"top-secret", 0o640, "others can read it (mode 0640)", "chmod 600"),
    (b"top-secret\xff\xfe", 0o600, "cannot be read as text", "UTF-8"),
    (b"", 0o600, "is empty", "Set it"),
    (b" \n", 0o600, "is empty", "Set it"),
    (None, 0o600, "cannot be read", "mode 0600"),
]


def test_a_secret_file_that_is_open_missing_or_odd_is_refused(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    text = (desk.folder / "inventory.yaml").read_text("utf-8")
    desk.write("i.yaml", text.replace("env:BM_DEVICE_PASSWORD", "file:secret"))
    desk.good("inventory", "import", "i.yaml")
    path = desk.folder / "secret"
    for content, mode, *words in SECRET_FILES:
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content)
            path.chmod(mode)
        told = refused(desk, tier(ONE), 2, "secret", *words)
        doctor = desk.run("doctor")
        assert doctor.code == 1
        assert "top-secret" not in told.text + doctor.text
        assert words[0].partition(" (")[0] in doctor.out
    path.unlink(missing_ok=True)
    path.mkdir(mode=0o700)
    refused(desk, tier(ONE), 2, "secret", "cannot be read as text")
    path.rmdir()
    path.write_text(desk.isp.password, "utf-8")
    path.chmod(0o600)
    desk.good(*tier(ONE))


def test_a_secret_written_into_the_inventory_is_refused_and_not_shown(bare: Desk) -> None:
    for field in ("password: top-secret", "coa: {secret: top-secret}", "snmp: {auth: top-secret}"):
        bare.write(
            "d.yaml",
            "devices:\n- {name: x, role: bng, platform: juniper_junos, host: 127.0.0.9, port: 22,"
            f" username: u, {field}}}\n",
        )
        told = refused(bare, ("inventory", "import", "d.yaml"), 2, "d.yaml:2: devices.")
        told.says("env:NAME", "is not shown")
        assert "top-secret" not in told.text


NEEDS_TABLES: list[tuple[str, ...]] = [
    ("plan", "list"),
    ("device", "list"),
    ("change", "list"),
    ("subscriber", "show", ONE),
    tier(ONE),
    ("recover",),
    ("ledger", "verify"),
    ("exceptions", "list"),
    ("hold", "why"),
    ("find", "x"),
    ("inventory", "import", "i.yaml"),
]


def test_a_store_without_tables_says_how_to_make_them(
    tmp_path: Path, database_url: str, empty_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = bare_desk(tmp_path, empty_engine, monkeypatch)
    monkeypatch.setenv("BANDMASTER_DATABASE_URL", database_url)
    desk.write("i.yaml", "tiers: []\n")
    for command in NEEDS_TABLES:
        refused(desk, command, 1, "database: has no tables yet", "bandmaster init")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://app:top-secret@127.0.0.1:1/x", "127.0.0.1"),
        ("postgresql://app:top-secret@host.invalid/x", "host.invalid"),
        ("sqlite:////nonexistent/bandmaster.db", "unable to open"),
    ],
)
def test_a_store_that_is_not_there_is_named(bare: Desk, url: str, words: str) -> None:
    bare.write("bandmaster.toml", f'database_url = "{url}"\n')
    for command in (("plan", "list"), tier(ONE), ("db", "upgrade"), ("recover",)):
        told = refused(bare, command, 1, "database", words, "bandmaster recover")
        assert "top-secret" not in told.text


def test_init_refuses_a_wrong_url_before_it_writes_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = bare_desk(tmp_path, make_engine("sqlite://"), monkeypatch)
    for url in ("top-secret", "mysql://h/x", "postgresql://h/x?password=top-secret"):
        told = desk.run("init", "--database", url)
        assert told.code == 2
        told.says("Use sqlite:///FILE" if "?" not in url else "~/.pgpass")
        assert "top-secret" not in told.text
        assert list(tmp_path.iterdir()) == []


def test_errors_of_a_real_process_are_words_on_standard_error(bare: Desk) -> None:
    told = bare.spawn("subscriber", "show", "svc-9", "--json")
    assert (told.code, told.out) == (2, "")
    told.says("svc-9: is not a service, login or account", "bandmaster find")
    odd = os.fsdecode(b"svc-\xff")
    for arguments in (("subscriber", "show", odd), ("hold", odd), tier(ONE, odd)):
        told = refused(bare, arguments, 2, "svc-\\udcff: is not UTF-8 text", "Type it again")
    told = bare.spawn("service", "tier", "svc-9", "fiber-500", "--yes", "--debug")
    assert told.code == 2
    assert "Traceback" in told.err  # asked for
    told = bare.spawn("plan", "list", environ={"BANDMASTER_DATABASE_URL": f"{URL}127.0.0.1:1/x"})
    assert told.code == 1
    told.says("127.0.0.1")
    assert "top-secret" not in told.text
