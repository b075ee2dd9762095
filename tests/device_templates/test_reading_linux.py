"""What is read back from Linux: the kernel's words, and nothing that is cut or wrong."""

from __future__ import annotations

import pytest
from template_models import golden, without

from device_templates import Database, Section, platform
from inventory import Rate, Unreadable

LINUX = platform("linux_tc")
LINES = tuple({"interface": f"sub{number}", "class_minor": "10"} for number in (1, 2, 3))
RUNNING = golden("linux_tc", "running")


def leaves(section: Section) -> dict[str, str]:
    return dict(section)


def test_linux_classes_and_links_are_read() -> None:
    plain, odd, absent = LINUX.parse("running", LINES, (RUNNING,)).sections
    assert leaves(plain) == {"state": "on", "down_kbps": "100000", "up_kbps": "99968"}
    assert leaves(odd) == {
        "state": "off",
        "down_kbps": "1500000",
        "down_floor_kbps": "512",
        "down_prio": "3",
        "up_kbps": "1000000",
    }
    assert absent == ()


def test_linux_startup_is_the_saved_file() -> None:
    reading = LINUX.parse("startup", LINES[:2], (golden("linux_tc", "startup"),))
    running = LINUX.parse("running", LINES, (RUNNING,))
    assert reading.sections == (running.sections[0], ())


def test_a_linux_class_that_is_missing_is_a_line_that_does_not_exist() -> None:
    other = tuple({**line, "class_minor": "20"} for line in LINES)
    assert set(LINUX.parse("running", other, (RUNNING,)).sections) == {()}


def test_a_linux_rate_below_a_kilobit_is_unreadable_only_where_it_is_ours() -> None:
    ours = ({"interface": "sub1", "class_minor": "100"}, *LINES[1:])
    odd = "class htb 1:100 root rate 1bit"
    text = RUNNING.replace("class htb 1:10 root prio 0 rate 99968Kbit", odd)
    with pytest.raises(Unreadable):
        LINUX.parse("running", ours, (text,))


def test_a_line_lost_from_a_linux_answer_is_noticed_or_a_line_that_is_not_there() -> None:
    whole = LINUX.parse("running", LINES, (RUNNING,)).sections
    for text in without(RUNNING.rstrip("\n")):
        try:
            sections = LINUX.parse("running", LINES, (text,)).sections
        except Unreadable:
            continue
        for seen, was in zip(sections, whole, strict=True):
            assert seen in (was, ())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("\nend", ""),
        ("rc 0\ndev ifb-sub1", "rc 1\ndev ifb-sub1"),
        ("dev sub2\n", "dev sub4\n"),
        ("3: sub1@", "3: sub2@"),
        ("rate 100Mbit", "rate fast"),
        ("dev sub1\n", "bash: banner\ndev sub1\n"),
        ("rc 1\nend", "rc 1\nRTNETLINK answers\nend"),
    ],
)
def test_a_linux_answer_that_is_not_understood_is_unreadable(old: str, new: str) -> None:
    text = RUNNING if old in RUNNING else golden("linux_tc", "startup")
    assert old in text
    database: Database = "running" if text is RUNNING else "startup"
    objects = LINES if text is RUNNING else LINES[:2]
    with pytest.raises(Unreadable):
        LINUX.parse(database, objects, (text.replace(old, new),))


def test_a_saved_linux_file_with_other_lines_is_unreadable() -> None:
    text = golden("linux_tc", "startup").replace("ip link set dev sub1 up", "rm -rf /tmp/x")
    with pytest.raises(Unreadable):
        LINUX.parse("startup", LINES[:2], (text,))


def test_many_linux_lines_are_asked_for_in_few_queries_and_read_together() -> None:
    many = tuple({"interface": f"s{number}", "class_minor": "10"} for number in range(120))
    queries = LINUX.read("running", many)
    assert len(queries) == 3
    replies = []
    for query in queries:
        names = query.partition("for d in ")[2].partition(";")[0].split()
        block = 'dev {0}\nDevice "{0}" does not exist.\nrc 1\n'
        replies.append("".join(block.format(name) for name in names) + "end\n")
    assert LINUX.parse("running", many, tuple(replies)).sections == ((),) * 120
    with pytest.raises(Unreadable):
        LINUX.parse("running", many, tuple(replies[:2]))
    with pytest.raises(Unreadable):
        LINUX.parse("running", many, (replies[1], replies[0], replies[2]))


def test_a_linux_session_has_the_rate_of_the_kernel() -> None:
    text = golden("linux_tc", "session")
    (session,) = LINUX.session_parse("anna", (text,))  # type: ignore[misc]
    assert session.rate == Rate(down_kbps=100_000, up_kbps=20_000)
    assert (session.acct_session_id, session.interface) == ("7f3a-0012", "sub1")
    assert (session.address, session.started) == ("198.51.100.9", "2026-11-20T21:04:11Z")
    assert LINUX.session_parse("anna", ("end\n",)) == ()  # type: ignore[misc]
    for lost in without(text.rstrip("\n")):
        if "address" in lost and "started" in lost:
            with pytest.raises(Unreadable):
                LINUX.session_parse("anna", (lost,))  # type: ignore[misc]
