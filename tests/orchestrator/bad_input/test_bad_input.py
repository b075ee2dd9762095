"""Wrong input at the real command line: what is said, the exit code, and that nothing is half done.

A locked or full store and Ctrl-C are in test_store_faults.py and test_interrupts.py, settings,
secrets and a store that is not there in test_bad_settings.py beside this file.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import asyncssh
import pytest

from tests.desk import Desk, Told, refused, tier

ONE, TWO, THREE = "svc-1001", "svc-1002", "svc-1003"
BNG, OLT = "bng-fra-1", "olt-fra-1"  # both carry ONE and THREE
CONTROLS = "\x1b[31m\x07\x9b\r\n\u202e"
Spoil = Callable[[Desk, pytest.MonkeyPatch], None]


Cases = list[tuple[tuple[str, ...], *tuple[str, ...]]]
UNKNOWN: Cases = [
    (tier("svc-9"), "service svc-9: is not in the inventory", "Did you mean"),
    (tier(ONE, "fiber-9"), "plan fiber-9: is not in the catalogue", "fiber-500"),
    (("service", "suspend", "svc-9", "--yes"), "service svc-9", "Did you mean"),
    (("service", "tier", "--device", "olt-9", "--to", "fiber-500", "--yes"), "device olt-9", "See"),
    (("service", "tier", "--site", "nowhere", "--to", "fiber-500", "--yes"), "site nowhere", "See"),
    (("service", "tier", "--plan", "none", "--to", "fiber-500", "--yes"), "plan none", "See"),
    (("service", "tier", "--device", OLT, "--to", "none", "--yes"), "plan none", "See"),
    (("device", "show", "olt-9"), "device olt-9", "bandmaster find"),
    (("device", "check", "olt-9"), "device olt-9", "bandmaster find"),
    (("device", "profiles", "olt-9", "--apply", "--yes"), "device olt-9", "bandmaster find"),
    (("device", "enroll-key", "olt-9", "--yes"), "device olt-9", "bandmaster find"),
    (("hold", "--device", "olt-9", "card swap"), "device olt-9", "bandmaster find"),
    (("subscriber", "show", "svc-9"), "svc-9", "bandmaster find"),
    (("change", "show", "c-0197a3f2"), "c-0197a3f2", "bandmaster change list"),
    (("change", "apply", "p-0197a3f2", "--yes"), "p-0197a3f2", "bandmaster change list"),
    (("change", "cancel", "p-0197a3f2"), "p-0197a3f2", "bandmaster change list"),
    (("change", "rollback", "c-0197a3f2", "--yes"), "c-0197a3f2", "bandmaster change list"),
    (("change", "apply", "c-0197a3f2", "--yes"), "is a change", "change plan is needed"),
    (("exceptions", "show", "x-0197a3f2"), "x-0197a3f2", "bandmaster exceptions list"),
]
WRONG_USE: Cases = [
    (tier(ONE, "fiber-100"), "has plan fiber-100 already", "Nothing needs to change"),
    (tier(ONE, ""), "needs the plan to reach", "bandmaster plan list"),
    (("service", "tier", "--yes"), "needs one of", "--help"),
    (tier(ONE, "fiber-500", "--site", "fra"), "needs one of", "--help"),
    (("service", "tier", "--to", "fiber-500", "--yes"), "needs --to PLAN and at least one of"),
    (tier(ONE, "fiber-500", "--set-max", "-1"), "--set-max", "greater than or equal to 0"),
    (tier(ONE, "fiber-500", "--show", "all"), "--show", "Write --show undo"),
    (("service", "activate", ONE, "--plan", "fiber-500", "--yes"), f"{ONE}: is active", "already"),
    (("service", "resume", ONE, "--yes"), f"{ONE}: is active", "already"),
    (("change", "show", "nothing"), "nothing: is not an identifier", "look like c-"),
    (("change", "show", ""), "is not an identifier", "look like c-"),
    (("no-such-command",), "No such command 'no-such-command'", "-h"),
]


def test_what_is_unknown_or_makes_no_sense_is_named(desk: Desk) -> None:
    for arguments, *words in (*UNKNOWN, *WRONG_USE):
        refused(desk, arguments, 2, *words)


def test_a_plan_is_applied_once(desk: Desk) -> None:
    """Goal: the same plan twice is one change. Method: apply it, then again, then cancel it."""
    planned = desk.good("service", "tier", ONE, "fiber-500", "--plan-only", code=3)
    found = re.search(r"p-[0-9a-f]{16}", planned.out)
    assert found
    assert desk.run("change", "apply", found[0], "--yes").code == 0
    before = desk.world()
    again = desk.run("change", "apply", found[0], "--yes")
    assert again.code == 0, again.text
    assert desk.world() == before
    refused(desk, ("change", "cancel", found[0]), 5, "has been applied", "change rollback")


def test_a_key_used_for_something_else_is_refused(desk: Desk) -> None:
    asked = tier(ONE, "fiber-500", "--idempotency-key", "ticket-7")
    desk.good(*asked)
    before = desk.world()
    again = desk.run(*asked)
    assert (again.code, desk.world()) == (0, before)
    again.says(f"{ONE}: done before under this key")
    for other in (tier(ONE, "fiber-1000"), tier(TWO), ("service", "suspend", ONE, "--yes")):
        asked_now = (*other, "--idempotency-key", "ticket-7")
        refused(desk, asked_now, 5, "ticket-7: was used on", "Use another key")


RATES = ["0", "-1", "400000001", "99999999999999999999999999", "1.5", "1e6", "nan", "0x10", "''"]


def test_a_tier_with_an_absurd_rate_is_not_imported(bare: Desk) -> None:
    for rate in RATES:
        for leaf, other in (("down_kbps", "up_kbps"), ("up_kbps", "down_kbps")):
            bare.write("t.yaml", f"tiers:\n- {{code: odd, {leaf}: {rate}, {other}: 1000}}\n")
            words = ("t.yaml:2: tiers." + leaf, "nothing was written", "import the same files")
            refused(bare, ("inventory", "import", "t.yaml"), 2, *words)
    bare.write("t.yaml", "tiers:\n- {code: odd, down_mbps: 400001, up_mbps: 1}\n")
    refused(bare, ("inventory", "import", "t.yaml"), 2, "t.yaml:2: tiers.down_mbps", "1..400000")


def _services(count: int) -> list[str]:
    head = "service,account,plan,active_since,billing_from,login,bng.device,bng.interface,bng.unit"
    return [head] + [
        f"svc-{n},A-1001,fiber-100,2026-01-15,2026-01-15,u{n}@isp,bng-fra-1,ge-0/0/1,{n}"
        for n in range(5000, 5000 + count - 1)
    ]


BAD_LINES = [
    ("bng-fra-1", "bng-fra-9", "bng.device", "there is no device bng-fra-9"),
    ("2026-01-15", "2026-13-15", "active_since", "must be like"),
    ("fiber-100", "fiber-9", "plan", "fiber-9"),
    ("A-1001", "A-9", "account", "A-9"),
    ("ge-0/0/1", "ge-0/0/1;reboot", "bng.interface", "must be"),
    ("u5698@isp", "u5698 isp", "login", "must be"),
]


def test_a_wrong_line_of_a_thousand_is_named_and_none_is_imported(desk: Desk) -> None:
    for old, new, field, words in BAD_LINES:
        lines = _services(1000)
        lines[699] = lines[699].replace(old, new, 1)
        desk.write("services.csv", "\n".join(lines))
        arguments = ("inventory", "import", "services.csv")
        told = refused(desk, arguments, 2, f"services.csv:700: {field}", words)
        assert told.err.count("services.csv:") == 1
        told.says("1 problem, so nothing was written", "import the same files again")


def test_a_wrong_line_of_a_change_file_is_named_and_nothing_is_planned(desk: Desk) -> None:
    good = ["service,plan", *(f"svc-{n},fiber-500" for n in range(1, 1000))]
    cases = [
        ("svc-699", "700: must hold a service and a plan"),
        ("svc-699,fiber-500,x", "700: must hold a service and a plan"),
        ("svc-1,fiber-500", "700: service svc-1 stands in line 2"),
        ("svc-699\x00,fiber-500", "700: must hold printable text"),
    ]
    for line, words in cases:
        desk.write("c.csv", "\n".join([*good[:699], line, *good[700:]]))
        before = desk.world()
        refused(desk, ("service", "tier", "--file", "c.csv", "--yes"), 2, f"c.csv:{words}")
        assert desk.world() == before
    mine = [f"{ONE},fiber-9", "svc-9,fiber-500"]
    desk.write("c.csv", "\n".join(["service,plan", *mine]))
    told = refused(desk, ("service", "tier", "--file", "c.csv", "--yes"), 2, "c.csv:2: plan:")
    told.says("c.csv:3: service: service svc-9", "nothing was planned", "the same command again")
    for text, words in (("", "c.csv:1"), ("a,b\n", "c.csv:1"), ("service,plan\n\x00", "c.csv:2")):
        desk.write("c.csv", text)
        refused(desk, ("service", "tier", "--file", "c.csv", "--yes"), 2, words)
    for name in ("absent.csv", "."):
        refused(desk, ("service", "tier", "--file", name, "--yes"), 2, f"{name}: cannot be read")


def _die(desk: Desk, _patch: pytest.MonkeyPatch) -> None:
    desk.control(OLT, "die")


def _wrong_password(_desk: Desk, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("BM_DEVICE_PASSWORD", "not-the-password")


def _no_variable(_desk: Desk, patch: pytest.MonkeyPatch) -> None:
    patch.delenv("BM_DEVICE_PASSWORD")


def _keys(desk: Desk, change: Callable[[list[str]], list[str]]) -> None:
    """Change the words of the BNG's line in known_hosts."""
    path = desk.folder / "known_hosts"
    mine = f"[{desk.isp.subnet}.1]:"
    lines = [line.split() for line in path.read_text("ascii").splitlines()]
    path.write_text(
        "".join(f"{' '.join(change(w) if w[0].startswith(mine) else w)}\n" for w in lines), "ascii"
    )


def _key_unknown(desk: Desk, _patch: pytest.MonkeyPatch) -> None:
    _keys(desk, lambda _: [])


def _key_changed(desk: Desk, _patch: pytest.MonkeyPatch) -> None:
    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().split()
    _keys(desk, lambda words: [words[0], *other[:2]])


def _key_broken(desk: Desk, _patch: pytest.MonkeyPatch) -> None:
    _keys(desk, lambda words: words[:1])


def _keys_open(desk: Desk, _patch: pytest.MonkeyPatch) -> None:
    (desk.folder / "known_hosts").chmod(0o622)


# (what is spoilt, exit code, words, is the BNG offered the password?)
CANNOT_REACH: list[tuple[Spoil, int, tuple[str, ...], bool]] = [
    (_die, 1, (OLT, "port 2222", "Check the path"), True),
    (_wrong_password, 1, ("refused the login of bandmaster", "Correct"), True),
    (_no_variable, 2, ("env:BM_DEVICE_PASSWORD", "is not set", "Export BM_DEVICE_PASSWORD"), False),
    (
        _key_unknown,
        1,
        (BNG, "no host key is enrolled", "no password was sent", "enroll-key"),
        False,
    ),
    (_key_changed, 1, (BNG, "another host key", "no password was sent", "Find out why"), False),
    (_key_broken, 2, ("known_hosts:1", "is no host key"), False),
    (_keys_open, 2, ("known_hosts", "others can write to it", "chmod 600"), False),
]


@pytest.mark.parametrize(
    ("spoil", "code", "words", "offered"), CANNOT_REACH, ids=lambda v: getattr(v, "__name__", "")
)
def test_a_device_that_cannot_be_used_is_named(
    sqlite_desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Spoil,
    code: int,
    words: tuple[str, ...],
    offered: bool,
) -> None:
    """Goal: S5 and section 7. Method: spoil the way to one device, look at what the BNG heard."""
    spoil(sqlite_desk, monkeypatch)
    start = sqlite_desk.control(BNG, "log")["last"]
    refused(sqlite_desk, tier(ONE), code, *words)
    heard = sqlite_desk.control(BNG, "log", since=start)["entries"]
    assert any(entry["what"].startswith("login of") for entry in heard) == offered
    checked = sqlite_desk.run("device", "check", BNG, OLT)
    assert checked.code == code
    assert "Traceback" not in checked.text


def test_another_fingerprint_than_the_one_given_is_not_enrolled(sqlite_desk: Desk) -> None:
    kept = (sqlite_desk.folder / "known_hosts").read_bytes()
    before = sqlite_desk.world()
    told = sqlite_desk.run("device", "enroll-key", OLT, "--fingerprint", "SHA256:other")
    assert told.code != 0
    told.says("shows", "Nothing was enrolled")
    assert sqlite_desk.world() == before
    assert (sqlite_desk.folder / "known_hosts").read_bytes() == kept


def test_a_section_that_is_not_as_planned_is_left_alone(desk: Desk) -> None:
    planned = desk.good("service", "tier", THREE, "fiber-500", "--plan-only", code=3)
    found = re.search(r"p-[0-9a-f]{16}", planned.out)
    assert found
    unit = "set interfaces ge-0/0/1 unit 1003 family inet policer output DOWN-1000M"
    desk.control("bng-fra-1", "edit", lines=[unit])
    apply = ("change", "apply", found[0], "--yes")
    refused(desk, apply, 5, "bng-fra-1", "1000/20 Mbit/s", "plan again")
    refused(desk, tier(THREE), 5, "bng-fra-1", "the ledger says 100/20", "Find out who")
    checked = desk.run("device", "check")
    assert checked.code == 3
    assert "the ledger says 100/20" in checked.out


def test_without_a_person_and_without_yes_nothing_is_begun(sqlite_desk: Desk) -> None:
    for command in (
        ("service", "tier", ONE, "fiber-500"),
        ("service", "suspend", ONE),
        ("device", "enroll-key", OLT),
        ("device", "profiles", OLT, "--apply"),
        ("change", "apply", "p-0197a3f2"),
    ):
        refused(sqlite_desk, command, 5, "is not a terminal", "--yes")
    told = sqlite_desk.spawn("service", "tier", ONE, "fiber-500", "--json")
    assert (told.code, told.out) == (5, "")
    told.says("is not a terminal", "--plan-only")


def test_control_characters_never_reach_the_terminal(desk: Desk) -> None:
    """Goal: no text of a person or a file steers a terminal. Method: put them everywhere."""
    name = f"svc-1001{CONTROLS}"
    commands: list[tuple[str, ...]] = [
        tier(name),
        tier(ONE, f"fiber-500{CONTROLS}"),
        ("service", "tier", "--device", name, "--to", "fiber-500", "--yes"),
        ("service", "tier", "--file", f"{CONTROLS}.csv", "--yes"),
        ("device", "show", name),
        ("subscriber", "show", name),
        ("change", "show", name),
        ("change", "list", "--service", name),
        ("find", name),
        ("hold", "--device", name, "why"),
        ("inventory", "import", f"{CONTROLS}.yaml"),
        tier(ONE, "fiber-500", "--show", CONTROLS),
    ]
    for command in commands:
        before = desk.world()
        told = desk.run(*command)
        assert told.code in (0, 2), told.text
        assert_tame(told)
        assert desk.world() == before
    desk.write(
        "n.yaml",
        'accounts:\n- {id: A-9, name: "E\\e]0;x\\al", time_zone: UTC, cycle_day: 1,'
        ' legal_entity: isp, currency: EUR}\ntiers:\n- {code: "t\\e[1m", down_kbps: 1, up_kbps: 1}',
    )
    told = refused(desk, ("inventory", "import", "n.yaml"), 2, "accounts.name", "tiers.code")
    assert_tame(told)


def test_control_characters_in_a_reason_are_kept_and_shown_escaped(sqlite_desk: Desk) -> None:
    desk = sqlite_desk
    desk.good("hold", f"swap{CONTROLS}", "--device", "olt-fra-2")
    changed = desk.good(
        *tier(ONE, "fiber-500", "--reason", f"w{CONTROLS}", "--ticket", f"T{CONTROLS}")
    )
    assert_tame(changed)
    found = re.search(r"c-[0-9a-f]{16}", changed.err)
    assert found
    shown = [
        desk.good("change", "show", found[0]),
        desk.good("change", "list"),
        desk.good("subscriber", "show", ONE),
        desk.good("device", "show", "olt-fra-2"),
        desk.run(*tier(TWO)),
    ]
    for told in shown:
        assert_tame(told)
    assert "\\x1b[31m" in shown[0].out


def assert_tame(told: Told) -> None:
    assert "bug in bandmaster" not in told.text
    odd = {c for c in told.text if not c.isprintable() and c != "\n"}
    assert odd == set(), told.text


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.txt", "", "is neither .yaml, .yml nor .csv"),
        ("x.yaml", "a: [", "is not YAML"),
        ("x.yaml", "tires: []\n", "did you mean tiers?"),
        ("x.yaml", "!!python/object/apply:os.system [id]\n", "x.yaml"),
        ("x.csv", "service,service\n", "x.csv:1"),
        ("x.csv", "", "x.csv"),
    ],
)
def test_an_inventory_file_that_is_none_is_named(
    bare: Desk, name: str, text: str, words: str
) -> None:
    bare.write(name, text)
    refused(bare, ("inventory", "import", name), 2, name, words, "nothing was written")
    refused(bare, ("inventory", "import", "absent.yaml"), 2, "absent.yaml: cannot be read")
