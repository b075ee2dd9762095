"""A piece of text finds services, accounts, logins, devices and places; never a secret."""

from __future__ import annotations

from inventory_rig import EXAMPLE, load
from sqlalchemy import Engine, insert

from inventory import Hit, find_text
from inventory.rows import LINE
from inventory.search import MAX_HITS
from orchestrator.database import reading, writing

CASES: dict[str, list[tuple[str, str]]] = {
    "svc-1001": [("service", "svc-1001")],
    "SVC-10": [("service", "svc-1001"), ("service", "svc-1002")],
    "acc-1002": [("account", "acc-1002")],
    "jansen el": [("account", "acc-1001")],
    "jansen@nordnetz": [("login", "svc-1001")],
    "olt-1": [("device", "olt-1")],
    "192.0.2.21": [("device", "olt-1")],
    "ham2": [("device", "bng-2")],
    "ge-0/0/1": [("attachment", "svc-1001")],
    "ge-0/0/1.1042": [("attachment", "svc-1001")],
    "1042 ge-0/0/1": [("attachment", "svc-1001")],
    "17": [("attachment", "svc-1001")],
    "18": [("attachment", "svc-1002")],
    "interface": [],  # a field's name is no place
    "ge-0/0/1.1043": [],
    "%": [],
    "_": [],
    "bng": [("device", "bng-1"), ("device", "bng-2")],
    ".": [
        ("account", "acc-1002"),
        ("device", "bng-1"),
        ("device", "bng-2"),
        ("device", "olt-1"),
    ],
    "BNG1_PASSWORD": [],
    "env:": [],
    "' OR 1=1 --": [],
    '"': [],
    "\\": [],
    "  ": [],
    "nothing": [],
}


def found(engine: Engine, text: str) -> list[tuple[str, str]]:
    with reading(engine) as session:
        return [(hit.kind, hit.id) for hit in find_text(session, text)]


def test_what_is_found(engine: Engine) -> None:
    load(engine, EXAMPLE)
    assert {text: found(engine, text) for text in CASES} == CASES


def test_whole_matches_come_first_and_hits_are_bounded(engine: Engine) -> None:
    load(engine, EXAMPLE)
    rest = {"account_id": "acc-1001", "login": "", "password_ref": "", "adopted": ""}
    with writing(engine) as session:
        session.execute(
            insert(LINE), [{"service_id": f"svc-1001-{n:03}", **rest} for n in range(200)]
        )
        session.execute(insert(LINE), [{"service_id": "a-svc-1001", **rest}])
    hits = found(engine, "svc-1001")
    assert hits[0] == ("service", "svc-1001")
    assert len(hits) == MAX_HITS


def test_a_place_is_shown_as_its_fields(engine: Engine) -> None:
    load(engine, EXAMPLE)
    with reading(engine) as session:
        assert find_text(session, "ge-0/0/1.1042") == (
            Hit(kind="attachment", id="svc-1001", shown="bng bng-1 interface=ge-0/0/1 unit=1042"),
        )
