"""Who owns the tables can rewrite the ledger: against anchors kept elsewhere it is found."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from attack_facts import EVENTS, all_events, anchor, cut_tail, look, rewrite, tell_story
from ledger_facts import at, make_ledger, take_guards_away, usage
from sqlalchemy import Engine, text

from billing_bridge import Head, agreeing, append, ledger_head, read_anchors
from inventory import BadFile, BadSettings, BandmasterError, LedgerBroken, WrongUse
from lab.servers.postgres import Postgres
from orchestrator.cli.app import run
from orchestrator.database import make_engine, reading, writing
from orchestrator.migrate import upgrade

Attack = Callable[[Engine], None]


@pytest.fixture
def book(engine: Engine) -> Engine:
    """Forty events behind their guards."""
    tell_story(engine)
    return engine


@pytest.fixture
def kept(tmp_path: Path, book: Engine) -> Path:
    """A file that holds the ledger's head at the end of the story."""
    anchor(book, tmp_path / "anchors.jsonl")
    return tmp_path / "anchors.jsonl"


def head(engine: Engine) -> Head:
    with reading(engine) as session:
        return ledger_head(session)


def test_an_anchor_is_a_line_of_its_owners_alone(kept: Path, book: Engine) -> None:
    line = json.loads(kept.read_text("ascii"))
    assert line == {
        "seq": EVENTS,
        "hash": head(book).hash.hex(),
        "time": "2026-06-01T13:00:00.000000Z",
    }
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    with writing(book) as session:
        append(session, [usage(1000)], at(61))
    made = anchor(book, kept, 62)
    assert [one.head for one in read_anchors(kept)] == [Head(**_pair(line)), made.head]
    assert look(book, kept).problem == ""


def _pair(line: dict[str, str]) -> dict[str, object]:
    return {"seq": line["seq"], "hash": bytes.fromhex(line["hash"])}


# --- what an owner can do ------------------------------------------------------------------------


def _other_name(engine: Engine) -> None:
    rewrite(engine, 7, "noc", "xoc")


def _cut(engine: Engine) -> None:
    cut_tail(engine, 30)


def _cut_and_told_anew(engine: Engine) -> None:
    cut_tail(engine, 30)
    with writing(engine) as session:
        append(session, [usage(2000 + number) for number in range(15)], at(61))


@pytest.mark.parametrize(
    ("attack", "bad_seq"), [(_other_name, 20), (_cut, 31), (_cut_and_told_anew, 40)]
)
def test_what_only_an_anchor_finds(
    book: Engine, tmp_path: Path, attack: Attack, bad_seq: int
) -> None:
    """The chain holds from end to end, deep too: only a promise kept elsewhere is broken."""
    path = tmp_path / "anchors.jsonl"
    middle = all_events(book)[19]
    last = anchor(book, path).line()
    twenty = json.loads(last) | {"seq": 20, "hash": middle.hash.hex()}
    path.write_text(f"{json.dumps(twenty)}\n{last}\n", "ascii")
    assert look(book, path).problem == ""
    attack(book)
    assert look(book).problem == ""
    report = look(book, path)
    assert report.bad_seq == bad_seq
    assert "anchor names" in report.problem
    before = path.read_bytes()
    with pytest.raises(LedgerBroken, match=f"at seq {bad_seq} "):
        anchor(book, path, 70)
    assert path.read_bytes() == before


def test_a_tail_cut_behind_the_last_anchor_is_beyond_what_can_be_proved(
    kept: Path, book: Engine
) -> None:
    """Said in the README: what came after the newest anchor has only the guards."""
    with writing(book) as session:
        append(session, [usage(1000)], at(61))
    cut_tail(book, EVENTS)
    assert look(book, kept).problem == ""


DAMAGE = "UPDATE billing_event SET body = replace(body, 'noc', 'boc') WHERE seq = 7"


@pytest.mark.parametrize("disable", ["DISABLE TRIGGER ALL", "DISABLE TRIGGER billing_event_keep"])
def test_a_superuser_who_switches_the_triggers_off_is_found(
    tmp_path: Path, postgres_server: Postgres, postgres_database: str, disable: str
) -> None:
    owner = make_engine(postgres_server.url("migrate", postgres_database))
    make_ledger(owner)
    tell_story(owner)
    anchor(owner, tmp_path / "anchors.jsonl")
    info = postgres_server.conninfo("postgres", postgres_database)
    with psycopg.connect(info, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.IntegrityError):  # the guards fire in a replica too
            connection.execute(DAMAGE)
        connection.execute(f"ALTER TABLE billing_event {disable}")
        connection.execute(DAMAGE)
        connection.execute("ALTER TABLE billing_event ENABLE ALWAYS TRIGGER billing_event_keep")
    report = look(owner, tmp_path / "anchors.jsonl")
    owner.dispose()
    assert report.bad_seq == 7
    assert "stored text" in report.problem


def test_bytes_changed_in_the_file_of_sqlite_are_found(tmp_path: Path) -> None:
    """No SQL at all: somebody opens the file in an editor while nobody has it open."""
    engine = make_engine(f"sqlite:///{tmp_path / 'book.db'}")
    make_ledger(engine)
    tell_story(engine)
    anchor(engine, tmp_path / "anchors.jsonl")
    wanted = all_events(engine)[6]
    with engine.connect() as connection:
        connection.commit()
        raw = connection.connection.driver_connection
        assert raw is not None
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    file = tmp_path / "book.db"
    content = file.read_bytes()
    old = f'"event_id":"{wanted.event_id}"'.encode()
    assert content.count(old) == 1
    file.write_bytes(content.replace(old, old.replace(b"-", b"_", 1)))
    assert look(engine, tmp_path / "anchors.jsonl").bad_seq == 7
    engine.dispose()


# --- the file ------------------------------------------------------------------------------------

GOOD = {"seq": 3, "hash": "ab" * 32, "time": "2026-06-01T13:00:00.000000Z"}


def lines(*changed: dict[str, object]) -> str:
    return "".join(f"{json.dumps(GOOD | one)}\n" for one in changed)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        ("nonsense\n", 1),
        ("\n", 1),
        ("[]\n", 1),
        (lines({"more": 1}), 1),
        (lines({}, {"seq": "4"}), 2),
        (lines({}, {"seq": True}), 2),
        (lines({"seq": 0}), 1),
        (lines({"seq": -1}), 1),
        (lines({"hash": "ab"}), 1),
        (lines({"hash": 5}), 1),
        (lines({"hash": "zz" * 32}), 1),
        (lines({"time": "yesterday"}), 1),
        (lines({"time": None}), 1),
        (lines({"seq": 4}, {"seq": 3}), 2),
        (lines({}, {"hash": "cd" * 32}), 2),
        (lines({}) + '{"seq": 4, "ha', 2),
        (lines({}) + "\N{LATIN SMALL LETTER E WITH ACUTE}\n", 2),
    ],
)
def test_a_file_that_holds_something_else_is_named_by_its_line(
    book: Engine, tmp_path: Path, content: str, place: int
) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_text(content, "utf-8")
    path.chmod(0o600)
    for act in (lambda: read_anchors(path), lambda: anchor(book, path)):
        with pytest.raises(BadFile) as caught:
            act()
        assert caught.value.problems[0].startswith(f"{path}:{place}: ")
    assert path.read_text("utf-8") == content


def test_a_file_that_proves_nothing_is_refused(book: Engine, tmp_path: Path) -> None:
    """Missing, emptied, open to others, a folder, a link: none of them may pass for a promise."""
    path = tmp_path / "anchors.jsonl"
    with pytest.raises(WrongUse, match="cannot be opened"):
        read_anchors(path)
    path.touch(0o600)
    with pytest.raises(WrongUse, match="holds no anchor"):
        read_anchors(path)
    path.chmod(0o620)
    for act in (lambda: read_anchors(path), lambda: anchor(book, path)):
        with pytest.raises(BadSettings, match="others can write"):
            act()
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "pipe", ".", "no/such/folder"):
        with pytest.raises(BandmasterError):
            anchor(book, tmp_path / name)
    assert path.read_bytes() == b""


def test_an_empty_ledger_is_not_anchored(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(WrongUse, match="no event"):
        anchor(engine, tmp_path / "anchors.jsonl")


def test_two_anchors_of_one_place_must_agree() -> None:
    """A forged anchor must not hide behind a true one, whichever comes first."""
    true, forged = Head(seq=3, hash=b"t" * 32), Head(seq=3, hash=b"f" * 32)
    assert agreeing([true, Head(), true]) == (Head(), true)
    for pair in ((true, forged), (forged, true)):
        with pytest.raises(WrongUse, match="seq 3"):
            agreeing(pair)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_disk_without_room_leaves_no_half_line(kept: Path, book: Engine, tmp_path: Path) -> None:
    """Method: a limit on the size of files lets the kernel write only the first half of a line.

    It would strike SQLite's own files too; those of PostgreSQL are the server's.
    """
    size = kept.stat().st_size
    script = tmp_path / "anchor.py"
    script.write_text(
        "import resource, signal, sys\n"
        "sys.path[:0] = sys.argv[3:]\n"
        "from attack_facts import anchor\n"
        "from inventory import DatabaseProblem\n"
        "from orchestrator.database import make_engine\n"
        "from pathlib import Path\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({size} + 50, {size} + 50))\n"
        "try:\n"
        "    anchor(make_engine(sys.argv[1]), Path(sys.argv[2]))\n"
        "except DatabaseProblem as problem:\n"
        "    print(problem)\n",
        "utf-8",
    )
    url = book.url.render_as_string(hide_password=False)
    here = Path(__file__)
    words = ["-c", script.read_text("utf-8"), url, str(kept)]
    ended = subprocess.run(
        [sys.executable, *words, str(here.parents[2]), str(here.parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "anchor: not written: No space left on device\n")
    assert kept.stat().st_size == size
    assert look(book, kept).problem == ""


def test_two_who_anchor_at_once_take_turns(kept: Path, book: Engine) -> None:
    """The second sees the first's line and looks at the chain only then: no false alarm."""
    at_once = threading.Barrier(4)

    def act(number: int) -> None:
        for turn in range(5):
            with writing(book) as session:
                append(session, [usage(3000 + number * 10 + turn)], at(61))
            at_once.wait(60)
            anchor(book, kept, 62)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(act, range(4)))
    anchors = read_anchors(kept)
    assert len(anchors) == 1 + 4 * 5
    assert anchors[-1].head == head(book)
    assert look(book, kept).problem == ""


# --- the commands --------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path, empty_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A store as `bandmaster init` makes it, with the story in it, in the current folder."""
    monkeypatch.chdir(tmp_path)
    url = empty_engine.url.render_as_string(hide_password=False)
    monkeypatch.setenv("BANDMASTER_DATABASE_URL", url)
    upgrade(empty_engine)
    tell_story(empty_engine)
    return empty_engine


def test_the_commands_anchor_and_hold_to_it(
    store: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["ledger", "anchor"]) == 0
    assert capsys.readouterr().out == f"anchor {EVENTS}:{head(store).hash.hex()}\n"
    path = tmp_path / "ledger-anchors.jsonl"
    assert run(["ledger", "anchor", "--file", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["seq"], told["file"]) == (EVENTS, str(path))
    assert len(read_anchors(path)) == 2
    assert run(["ledger", "verify", "--anchors", str(path)]) == 0
    assert "chain and columns hold, anchors passed: 1" in capsys.readouterr().out
    rewrite(store, 7, "noc", "xoc")
    assert run(["ledger", "verify", "--deep"]) == 0
    capsys.readouterr()
    assert run(["ledger", "verify", "--anchors", str(path)]) == 1
    assert capsys.readouterr().out.startswith(f"BROKEN at seq {EVENTS}: ")
    assert run(["ledger", "verify", "--anchors", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["ok"] is False
    assert run(["ledger", "anchor"]) == 1
    assert "nothing is anchored" in capsys.readouterr().err
    assert len(read_anchors(path)) == 2


def test_anchors_look_at_every_column(
    store: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who asks for this proof need not know that --deep exists."""
    assert run(["ledger", "anchor"]) == 0
    take_guards_away(store)
    with store.begin() as connection:
        connection.execute(text("UPDATE billing_event SET actor = 'other' WHERE seq = 7"))
    capsys.readouterr()
    assert run(["ledger", "verify", "--anchors", str(tmp_path / "ledger-anchors.jsonl")]) == 1
    assert "seq 7: copies differ from the body: actor" in capsys.readouterr().out
    assert run(["ledger", "verify", "--anchors", "nowhere"]) == 2
