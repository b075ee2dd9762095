"""`bandmaster usage import`: what a file says is posted once, what is odd waits, nothing half."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from billing_bridge import UsageException, list_problems, tail, usage_check
from inventory import BadField, BadFile
from orchestrator.database import reading
from orchestrator.settings import Settings
from orchestrator.usage import Counted
from orchestrator.usage_import import import_usage
from tests.usage_isp import make_isp

SETTINGS = Settings(backdate_days=3_650)
MAPPING = """
service: line
since: from
window_s: 3600
time_zone: Europe/Berlin
key: id
meters:
  down: {column: in, unit: MB}
  up: {column: out, unit_column: unit}
"""
HEADER = "id,line,from,in,out,unit,remark\n"
GOOD = f"""{HEADER}1,svc-1,2026-06-01 00:00,1.5,7,kB,x
2,svc-1,2026-06-01 01:00,0,8,KiB,
3,svc-2,2026-06-01T00:00:00Z,2,1,B,"a ""quoted"" remark"
"""


@pytest.fixture
def isp(empty_engine: Engine) -> Engine:
    make_isp(empty_engine)
    return empty_engine


def bring(isp: Engine, folder: Path, rows: str, mapping: str = MAPPING) -> Counted:
    (folder / "use.csv").write_text(rows, encoding="utf-8")
    (folder / "map.yaml").write_text(mapping, encoding="utf-8")
    return import_usage(isp, SETTINGS, folder / "use.csv", folder / "map.yaml", "noc")


def posted(isp: Engine) -> list[tuple[str, str, int]]:
    with reading(isp) as session:
        assert usage_check(session) == ()
        return [(e.service_id, e.payload["meter"], e.quantity) for e in tail(session)]


def odd(isp: Engine) -> tuple[UsageException, ...]:
    with reading(isp) as session:
        return list_problems(session)


def test_a_file_is_posted_once_however_often_it_comes(isp: Engine, tmp_path: Path) -> None:
    assert bring(isp, tmp_path, GOOD).events == 6
    assert sorted(posted(isp)) == [
        ("svc-1", "down", 0), ("svc-1", "down", 1_500_000), ("svc-1", "up", 7_000),
        ("svc-1", "up", 8_192), ("svc-2", "down", 2_000_000), ("svc-2", "up", 1),
    ]  # fmt: skip
    for _ in range(2):
        assert bring(isp, tmp_path, GOOD) == Counted(unchanged=6)
    with reading(isp) as session:
        first = min(event.effective_at for event in tail(session))
    assert first.isoformat() == "2026-05-31T22:00:00+00:00"  # midnight in Berlin


def test_a_newer_record_corrects_and_the_older_file_does_not_take_it_back(
    isp: Engine, tmp_path: Path
) -> None:
    bring(isp, tmp_path, GOOD)
    newer = f"{HEADER}9,svc-1,2026-06-01 00:00,2,7,kB,\n"
    assert bring(isp, tmp_path, newer).events == 1
    assert posted(isp)[-1] == ("svc-1", "down", 500_000)
    assert bring(isp, tmp_path, GOOD).events == 0
    reused = GOOD.replace("1,svc-1,2026-06-01 00:00,1.5", "1,svc-1,2026-06-01 00:00,77")
    assert bring(isp, tmp_path, reused).events == 0
    (said,) = odd(isp)
    assert (said.kind, said.quantity) == ("impossible", 77_000_000)
    assert "its key was used for 1500000 byte" in said.evidence["why"]


def test_what_nobody_can_count_waits_and_the_rest_is_counted(isp: Engine, tmp_path: Path) -> None:
    rows = f"""{HEADER}1,svc-1,2026-06-01 00:00,1,1,furlong,
2,nobody,2026-06-01 00:00,3,1,B,
3,svc-1,2999-01-01 00:00,4,1,B,
4,svc-1,2026-06-02 00:00,5,1,B,
5,svc-1,2026-06-02 00:00,6,1,B,
6,svc-1,2026-06-03 00:00,-7,1,B,
"""
    for _ in range(2):
        bring(isp, tmp_path, rows)
    assert sorted(posted(isp)) == [("svc-1", "down", 1_000_000), ("svc-1", "up", 1),
                                   ("svc-1", "up", 1)]  # fmt: skip
    kinds = sorted((one.kind, one.identifier) for one in odd(isp))
    assert kinds == [
        ("future", "svc-1"), ("future", "svc-1"), ("impossible", "svc-1"), ("impossible", "svc-1"),
        ("impossible", "svc-1"), ("unknown_unit", "svc-1"), ("unmatched", "nobody"),
        ("unmatched", "nobody"),
    ]  # fmt: skip
    dearest = next(one for one in odd(isp) if one.kind == "unmatched" and one.quantity > 1)
    assert (dearest.amount_minor, dearest.currency) == (150_000, "EUR")


BAD_ROWS = [
    ("1,svc-1,yesterday,1,1,B,", "is not a time"),
    ("1,svc-1,2026-03-29 02:30,1,1,B,", "does not exist in Europe/Berlin"),
    ("1,svc-1,2026-10-25 02:30,1,1,B,", "is twice in Europe/Berlin"),
    ("1,svc-1,2026-06-01 00:00,many,1,B,", "is not a number"),
    ("1,svc-1,2026-06-01 00:00,NaN,1,B,", "is not a number"),
    ("1,svc-1,2026-06-01 00:00,1e99,1,B,", "is not a number"),
    ("1,svc-1,2026-06-01 00:00,0.0000001,1,B,", "no whole number"),
    ("1,,2026-06-01 00:00,1,1,B,", "names nobody"),
    ("1,\x1b[2J,2026-06-01 00:00,1,1,B,", "names nobody"),
]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("row", "why"), BAD_ROWS)
def test_a_line_that_cannot_be_read_stops_the_file(
    isp: Engine, tmp_path: Path, row: str, why: str
) -> None:
    with pytest.raises(BadFile) as said:
        bring(isp, tmp_path, f"{GOOD}{row}\n")
    assert why in str(said.value)  # what the operator reads, not only what a program can
    assert "use.csv:5" in str(said.value)
    assert (posted(isp), odd(isp)) == ([], ())


BAD_MAPPINGS = [
    ("unit: MB", "unit: furlong", "unit 'furlong' is none of B"),
    ("down:", "sideways:", "sideways is none of down, up, p95"),
    ("window_s: 3600", "", "one of them is needed"),
    ("key: id", "colour: red", "colour is no field"),
    ("service: line", "", "service is missing"),
    ("service: line", "service: line\nby: name", "by is service or login"),
]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("was", "now", "why"), BAD_MAPPINGS)
def test_a_mapping_that_cannot_be_used_says_why(
    isp: Engine, tmp_path: Path, was: str, now: str, why: str
) -> None:
    with pytest.raises(BadFile) as said:
        bring(isp, tmp_path, GOOD, MAPPING.replace(was, now))
    assert why in str(said.value)
    assert posted(isp) == []


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_zones_and_columns_must_exist(isp: Engine, tmp_path: Path) -> None:
    with pytest.raises(BadField, match="not an IANA time zone"):
        bring(isp, tmp_path, GOOD, MAPPING.replace("Europe/Berlin", "Mars/Olympus"))
    with pytest.raises(BadFile, match="has no column from, id"):
        bring(isp, tmp_path, "a,b\n1,2\n")
    with pytest.raises(BadFile, match="cannot be read"):
        bring(isp, tmp_path, GOOD, "a: [")


def test_two_imports_at_once_post_it_once(isp: Engine, tmp_path: Path) -> None:
    bring(isp, tmp_path, HEADER)
    (tmp_path / "use.csv").write_text(GOOD, encoding="utf-8")

    def act(_number: int) -> Counted:
        return import_usage(isp, SETTINGS, tmp_path / "use.csv", tmp_path / "map.yaml", "noc")

    with ThreadPoolExecutor(max_workers=2) as both:
        assert sorted(done.events for done in both.map(act, range(2))) == [0, 6]
    assert len(posted(isp)) == 6


def test_a_login_names_the_service_where_the_mapping_says_so(isp: Engine, tmp_path: Path) -> None:
    rows = GOOD.replace("svc-1", "ada@isp").replace("svc-2", "x'; DROP TABLE line; --")
    assert bring(isp, tmp_path, rows, f"by: login\n{MAPPING}").events == 4
    assert {name for name, _, _ in posted(isp)} == {"svc-1"}
    assert {one.identifier for one in odd(isp)} == {"x'; DROP TABLE line; --"}
    with isp.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM line")).scalar() == 3
