"""What files say is read exactly, and what is wrong in them is named by file, line and field."""

from __future__ import annotations

import datetime as dt
import re
import tempfile
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inventory_rig import EXAMPLE, check_attachment, parse

import inventory
from inventory import BadFile, Rate, parse_files
from inventory.importers_tree import MAX_BYTES

HEADER = (
    "service,account,login,plan,active_since,billing_from,bng,bng.interface,olt,olt.service_port"
)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def problems(*paths: Path) -> tuple[str, ...]:
    with pytest.raises(BadFile) as caught:
        parse(*paths)
    assert caught.value.exit_code == 2
    return caught.value.problems


def test_the_example_is_read_whole() -> None:
    batch = parse(EXAMPLE)
    assert [len(part) for part in (batch.accounts, batch.tiers, batch.plans)] == [2, 3, 2]
    first, second = batch.services
    assert first.live is not None
    assert first.live.active_since == dt.date(2025, 6, 15)
    assert (first.live.plan_code, first.live.state) == ("fiber-100", "active")
    assert first.attachments[0].objects == (("interface", "ge-0/0/1"), ("unit", 1042))
    assert second.live is None
    assert batch.plans[1].bill_in == "advance"
    assert batch.tiers[2].rate == Rate(down_kbps=64, up_kbps=64)
    place = batch.places["services", "svc-1001"]
    assert EXAMPLE.read_text().splitlines()[place.line - 1].strip() == "- id: svc-1001"


def test_the_examples_in_the_readme_are_importable(tmp_path: Path) -> None:
    readme = Path(inventory.__file__).with_name("README.md").read_text(encoding="utf-8")
    yaml_text, csv_text = re.findall(r"```(?:yaml|csv)\n(.*?)```", readme, flags=re.DOTALL)
    batch = parse(write(tmp_path / "a.yaml", yaml_text))
    assert batch.services[0].live is not None
    table = write(tmp_path / "a.csv", csv_text)
    assert parse(table, known_devices=batch.devices).services[0].live == batch.services[0].live


def test_csv_and_yaml_say_the_same(tmp_path: Path) -> None:
    table = write(
        tmp_path / "s.csv",
        "\ufeffservice,account,login,password,plan,active_since,billing_from,"
        "bng,bng.interface,bng.unit,olt,olt.service_port\r\n"
        "svc-1001,acc-1001,jansen@nordnetz,env:PW_JANSEN,fiber-100,2025-06-15,2026-03-01,"
        "bng-1,ge-0/0/1,1042,olt-1,17\r\n"
        ",,,,,,,,,,,\r\n"
        'svc-1002,acc-1002,"praxis@nordnetz",,,,,bng-2,,,olt-1,18\r\n',
    )
    example = parse(EXAMPLE)
    assert parse(table, known_devices=example.devices).services == example.services


def test_values_are_what_is_written_and_not_what_yaml_makes_of_it(tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.yaml",
        "legal_entities: [{code: no, name: 1e3, address: 2026-01-01}]\n"
        "plans:\n"
        "- {code: 0123, name: ~x, tier: 1_000, currency: NOK, exponent: 3,\n"
        "   prices: [{from: 2026-01-01, amount: 10.1}]}\n",
    )
    batch = parse(file)
    entity = batch.legal_entities[0]
    assert (entity.code, entity.name, entity.address) == ("no", "1e3", "2026-01-01")
    plan = batch.plans[0]
    assert (plan.code, plan.tier_code, plan.name) == ("0123", "1_000", "~x")
    assert plan.prices[0].amount_minor == 10_100


@given(amount=st.integers(0, 10**12 - 1), exponent=st.sampled_from([0, 2, 3]))
def test_an_amount_is_exact(amount: int, exponent: int) -> None:
    text = f"{Decimal(amount).scaleb(-exponent):f}"
    with tempfile.TemporaryDirectory() as directory:
        file = write(
            Path(directory) / "a.yaml",
            f"plans: [{{code: p, name: P, tier: t, currency: XXX, exponent: {exponent}, "
            f"prices: [{{from: 2026-01-01, amount: {text}}}]}}]",
        )
        assert parse(file).plans[0].prices[0].amount_minor == amount


TIER = "tiers:\n- {code: t, %s}\n"
PLAN = "plans:\n- {code: p, name: P, tier: t, currency: EUR, prices: [%s]}\n"
DEVICE = "devices:\n- {name: d, role: bng, platform: linux_tc, host: h, port: 22, %s}\n"
BNG = DEVICE % "site: X"
SERVICE = BNG + "services:\n- {id: s, account: a, %s}\n"
ON_BNG = "attachments: [{role: bng, device: d, interface: sub1}]"

BAD = [
    (TIER % "down_kbps: 0, up_kbps: 1", "a.yaml:2: tiers.down_kbps: must be a whole number 1..4"),
    (TIER % "down_kbps: -5, up_kbps: 1", "a.yaml:2: tiers.down_kbps: must be a whole number 1..4"),
    (TIER % "down_mbps: 400001, up_mbps: 1", "a.yaml:2: tiers.down_mbps: must be a whole number"),
    (TIER % "down_mbps: 1.5, up_mbps: 1", "a.yaml:2: tiers.down_mbps: must be a whole number"),
    (TIER % "down_mbps: 1, down_kbps: 1, up_mbps: 1", "a.yaml:2: tiers.down_mbps: is given beside"),
    (TIER % "down_mbps: 1", "a.yaml:2: tiers.up_kbps: is missing"),
    (TIER % "down_mbps: 1, up_mbps: 1, burst: 9", "a.yaml:2: tiers.burst: unknown field"),
    (TIER % "down_mbps: 1, up_mbs: 1", "a.yaml:2: tiers.up_mbs: unknown field; did you mean up_"),
    (TIER % "down_mbps: 1, up_mbps: 1" * 2, "a.yaml:3: tiers: is written twice"),
    ("tiers:\n- {code: t\n", "a.yaml:3: is not YAML: did not find expected"),
    ("tiers:\n- code: ö\n  down_mbps: 1\n  up_mbps: 1\n", "a.yaml:2: tiers.code: must be 1..64 of"),
    ("tiers:\n- code: x\n  code: y\n", "a.yaml:3: tiers.code: is written twice"),
    ("tiers: 5\n", "a.yaml:1: tiers: must be a list of mappings"),
    ("tiers:\n- 5\n", "a.yaml:2: tiers: must be a list of mappings"),
    ("tears: []\n", "a.yaml:1: tears: unknown field; did you mean tiers?"),
    ("- 1\n", "a.yaml:1: must hold lists like"),
    ("", "a.yaml:1: must hold lists like"),
    ("tiers: []\n---\ntiers: []\n", "a.yaml:2: a second document begins"),
    ("a: &x [1]\nb: *x\n", "a.yaml:1: a: anchors and aliases are not allowed"),
    ("tiers: !!python/object:os.system []\n", "a.yaml:1: tiers: tags are not allowed"),
    ("a: " + "[" * 50 + "]" * 50, "a.yaml:1: a: is nested too deeply"),
    ("? [a]\n: b\n", "a.yaml:1: is not a plain name"),
    ("tiers: []\nx: \x07\n", "a.yaml:2: holds a control character"),
    (PLAN % "", "a.yaml:2: plans.prices: must hold at least one price"),
    (
        PLAN % "{from: 2026-01-01, amount: 1.005}",
        "a.yaml:2: plans.prices.amount: must be an amount",
    ),
    (PLAN % "{from: 2026-01-01, amount: -1}", "a.yaml:2: plans.prices.amount: must be an amount"),
    (PLAN % "{from: 2026-02-30, amount: 1}", "a.yaml:2: plans.prices.from: must be a date like"),
    (
        PLAN % "{from: 2026-01-01, amount: 1}, {from: 2026-01-01, amount: 2}",
        "a.yaml:2: plans.prices.from: two prices begin on 2026-01-01",
    ),
    (DEVICE % "role: olt", "a.yaml:2: devices.role: is written twice"),
    (DEVICE % "timeout_s: 0", "a.yaml:2: devices.timeout_s: must be a whole number 1..600"),
    (DEVICE % 'site: "a\\tb"', "a.yaml:2: devices.site: must be printable text"),
    (DEVICE % 'site: "a\\u202eb"', "a.yaml:2: devices.site: must be printable text"),
    (DEVICE % "username: a b", "a.yaml:2: devices.username: must be printable ASCII"),
    (DEVICE % "snmp: {user: u, auth: 'env:A'}", "a.yaml:2: devices.snmp.priv: is missing: SNMP"),
    (DEVICE % "snmp: {version: 2c}", "a.yaml:2: devices.snmp.version: 2c has no encryption"),
    (DEVICE % "snmp: 5", "a.yaml:2: devices.snmp: must be a mapping"),
    (DEVICE % "coa: {port: 3799}", "a.yaml:2: devices.coa.secret: is missing"),
    (SERVICE % "attachments: []", ""),
    (SERVICE % "attachments: [{role: bng, device: e}]", "attachments.device: there is no device e"),
    (
        SERVICE % "attachments: [{role: olt, device: d, interface: sub1}]",
        "a.yaml:4: services.attachments.device: d is a bng, not a olt",
    ),
    (
        SERVICE % "attachments: [{role: bng, device: d, interface: 'sub1; reboot'}]",
        "a.yaml:4: services.attachments.interface: interface must be like sub1",
    ),
    (
        SERVICE % "attachments: [{role: bng, device: d, port: 1}]",
        "a.yaml:4: services.attachments.port: port is not a field of linux_tc",
    ),
    (
        SERVICE % "attachments: [{role: bng, device: d}]",
        "a.yaml:4: services.attachments: d has no fields",
    ),
    (
        SERVICE % f"{ON_BNG[:-1]}, {{role: bng, device: d, interface: sub2}}]",
        "a.yaml:4: services.attachments.role: a service has one bng",
    ),
    (SERVICE % f"state: active, {ON_BNG}", "a.yaml:4: services.state: is given without a plan"),
    (SERVICE % f"plan: p, {ON_BNG}", "a.yaml:4: services.active_since: is missing"),
    (
        SERVICE % f"plan: p, active_since: '2026-03-01T00:00:00', {ON_BNG}",
        "a.yaml:4: services.active_since: must be like",
    ),
    (
        SERVICE % f"plan: p, state: terminated, {ON_BNG}",
        "a.yaml:4: services.state: must be active or suspended, got 'terminated'",
    ),
    ("accounts: [{id: a, time_zone: Mars/One}]\n", "accounts.time_zone: 'Mars/One' is not an IANA"),
    ("accounts: [{id: a, cycle_day: 32}]\n", "accounts.cycle_day: must be a whole number 1..31"),
    ("accounts: [{id: a, currency: eur}]\n", "accounts.currency: must be an ISO 4217 code"),
    ("accounts: [{name: x}]\n", "a.yaml:1: accounts.id: is missing"),
]


@pytest.mark.parametrize(("text", "expected"), [case for case in BAD if case[1]])
def test_a_bad_value_is_named_by_file_line_and_field(
    tmp_path: Path, text: str, expected: str
) -> None:
    found = problems(write(tmp_path / "a.yaml", text))
    assert any(expected in problem for problem in found), found


CSV_BAD = [
    ("service;account\n", "s.csv:1: cells must be separated by commas"),
    ("service,account,acount\n", "s.csv:1: unknown column acount"),
    ("service,service\n", "s.csv:1: column service occurs twice"),
    ("account\n", "s.csv:1: column service is missing"),
    ("", "s.csv:1: column service is missing"),
    (f"{HEADER}\ns,a\n", "s.csv:2: has 2 cells where the header has 10"),
    (f'{HEADER}\n"s,a\n', "s.csv:2: is not CSV: unexpected end of data"),
    (f"{HEADER}\n,a,,,,,d,sub1,,\n", "s.csv:2: service: is missing"),
    (f"{HEADER}\ns,a,,,,,,sub1,,\n", "s.csv:2: bng: is missing"),
    (f"{HEADER}\ns,a,,,,,d,SUB,,\n", "s.csv:2: bng.interface: interface must be like sub1"),
    (f"{HEADER}\ns,a,,,,,nowhere,sub1,,\n", "s.csv:2: bng: there is no device nowhere"),
    (f"{HEADER}\ns,a,,p,x,2026-01-01,d,sub1,,\n", "s.csv:2: active_since: must be like"),
    (f'{HEADER}\n"s\n",a,,,,,d,sub1,,\n"s\n2",a,,,,,d,sub1,,\n', "s.csv:4: service: must be"),
    ("service,bng.\n", "s.csv:1: unknown column bng."),
]


@pytest.mark.parametrize(("text", "expected"), CSV_BAD)
def test_a_bad_cell_is_named_by_file_line_and_column(
    tmp_path: Path, text: str, expected: str
) -> None:
    found = problems(write(tmp_path / "b.yaml", BNG), write(tmp_path / "s.csv", text))
    assert any(expected in problem for problem in found), found


def test_one_wrong_line_among_a_thousand_is_the_one_problem(tmp_path: Path) -> None:
    rows = [f"s{n},a,,,,,d,sub{n},," for n in range(1, 1001)]
    rows[698] = "s699,a,,,,,d,sub-699 ,,"  # line 700, as the header is line 1
    table = write(tmp_path / "s.csv", "\n".join((HEADER, *rows)) + "\n")
    found = problems(write(tmp_path / "b.yaml", BNG), table)
    assert found == (
        f"{table}:700: bng.interface: interface must be like sub1, got 'sub-699' (linux_tc)",
    )


def test_only_the_first_twenty_problems_are_shown(tmp_path: Path) -> None:
    rows = [f"s{n},a,,,,,d,SUB{n},," for n in range(50)]
    table = write(tmp_path / "s.csv", "\n".join((HEADER, *rows)))
    with pytest.raises(BadFile) as caught:
        parse(write(tmp_path / "b.yaml", BNG), table)
    assert len(caught.value.problems) == 50
    assert caught.value.problem.startswith("50 problems, so nothing was written")
    assert len(caught.value.problem.splitlines()) == 22
    assert caught.value.problem.endswith("and 30 more")


def test_a_secret_in_place_of_its_reference_is_not_repeated(tmp_path: Path) -> None:
    device = write(
        tmp_path / "d.yaml",
        DEVICE % "password: hunter2, passwort: hunter2, coa: {secret: hunter2},"
        " snmp: {user: u, auth: hunter2, priv: [hunter2]}",
    )
    table = write(
        tmp_path / "s.csv", "service,account,password,bng,bng.interface\ns,a,hunter2,d,sub1\n"
    )
    with pytest.raises(BadFile) as caught:
        parse(device, table)
    shown = "\n".join((str(caught.value), caught.value.remedy, *caught.value.problems))
    assert "hunter2" not in shown
    for field in ("password", "coa.secret", "snmp.auth", "snmp.priv"):
        assert f"devices.{field}: must say where the secret is kept" in shown
    assert "s.csv:2: password: must say where" in shown
    assert "devices.passwort: unknown field; did you mean password?" in shown


def test_broken_yaml_does_not_print_its_line(tmp_path: Path) -> None:
    found = problems(write(tmp_path / "a.yaml", "devices:\n- password: 'hunter2\n"))
    assert "hunter2" not in "".join(found)


def test_a_name_twice_says_where_it_was_first(tmp_path: Path) -> None:
    plan = PLAN % "{from: 2026-01-01, amount: 1}"
    first = write(tmp_path / "a.yaml", plan)
    second = write(tmp_path / "b.yaml", plan)
    assert problems(first, second) == (f"{second}:2: plans: p is given twice, first in {first}:2",)


def test_files_that_cannot_be_read_are_problems(tmp_path: Path) -> None:
    (tmp_path / "latin.csv").write_bytes(b"service\ns\xe9\n")
    huge = tmp_path / "huge.yaml"
    with huge.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    paths = [
        tmp_path / "gone.yaml",
        tmp_path,
        write(tmp_path / "a.txt", ""),
        tmp_path / "latin.csv",
        huge,
    ]
    found = "\n".join(problems(*paths))
    for expected in (
        "gone.yaml: cannot be read: No such file",
        "is neither .yaml, .yml nor .csv",
        "latin.csv:2: is not UTF-8 text",
        "huge.yaml: is larger than 32 MiB",
    ):
        assert expected in found


def test_platforms_can_be_held_against_the_known_ones() -> None:
    with pytest.raises(BadFile) as caught:
        parse_files([EXAMPLE], check_attachment, platforms=("linux_tc", "juniper_junos"))
    assert len(caught.value.problems) == 1
    assert "'huawei_smartax' is not a platform; known are juniper_junos, linux_tc" in str(
        caught.value
    )


@given(raw=st.binary(max_size=300), suffix=st.sampled_from([".yaml", ".csv"]))
def test_no_file_breaks_the_reader(raw: bytes, suffix: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / f"x{suffix}"
        path.write_bytes(raw)
        with suppress(BadFile):  # any other error is a reader that broke
            parse(path)


_WORDS = st.sampled_from(
    [*"-:{}[],&*!|>'\"#%@`?~", "\n", "\n  ", ": ", "- ", "tiers", "code", "devices", "password"]
)


@given(parts=st.lists(_WORDS, max_size=40), suffix=st.sampled_from([".yaml", ".csv"]))
def test_nothing_like_yaml_breaks_the_reader(parts: list[str], suffix: str) -> None:
    test_no_file_breaks_the_reader.hypothesis.inner_test("".join(parts).encode(), suffix)
