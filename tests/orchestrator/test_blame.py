"""Which services stand in the way of a COMMIT: they are refused, and the others tried again."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from orchestrator.coordinator import _refusals
from workflows import Handle, HandleItem, ItemSeen, Observation, Reply

MECHANISMS = {"bng": "native_confirm", "box": "dead_man", "olt": "inverse"}
SHORT = {"N": "NEW", "O": "OLD", "M": "MIXED", "?": "OTHER", "U": "UNREADABLE"}
SENT = Reply(verdict="SENT")
NO = Reply(verdict="REFUSED", reason="no such profile")
UNKNOWN = Reply(verdict="UNKNOWN", reason="no answer")


def blame(
    read: Mapping[str, str],
    replies: Mapping[str, Reply],
    pending: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """`read` says by device what each of its services (a, b, c) shows, in the order of lines."""
    items = {
        service_id: HandleItem(
            service_id=service_id, objects=(), before=(), after=(), forward=(), inverse=()
        )
        for service_id in "abc"
    }
    handles = {
        name: Handle(
            device=name,
            platform="",
            token="s.1",
            items=tuple(items[service_id] for service_id, _ in zip("abc", shown, strict=False)),
            revert_after_s=300,
        )
        for name, shown in read.items()
    }
    ours = {name: "NONE" if name == "olt" else "OURS" for name in read}
    seen = {
        name: Observation(
            pending=({**ours, **(pending or {})})[name],  # type: ignore[arg-type]  # one of the letters
            items={
                service_id: ItemSeen(running=SHORT[letter], startup="OLD")  # type: ignore[arg-type]  # one of the letters
                for service_id, letter in zip("abc", shown, strict=False)
            },
        )
        for name, shown in read.items()
    }
    return _refusals(handles, MECHANISMS, replies, seen)


ALL_SENT = {"bng": SENT, "olt": SENT}


def test_what_reads_back_as_told_is_not_in_the_way() -> None:
    assert blame({"bng": "NNN", "olt": "NNN"}, ALL_SENT) == {}
    assert blame({"box": "N", "olt": "N"}, {"box": SENT, "olt": SENT}) == {}


@pytest.mark.parametrize(
    ("shown", "blamed"),
    [
        ("NOO", "b"),  # it stops at its first bad line: the rest was not tried
        ("OOO", "abc"),  # nobody knows which
        ("MNN", "a"),
        ("NN?", "c"),
        ("UUU", "abc"),
    ],
)
def test_of_a_batch_the_first_that_was_not_done(shown: str, blamed: str) -> None:
    found = blame({"bng": "NNN", "olt": shown}, {"bng": SENT, "olt": NO})
    assert found == dict.fromkeys(blamed, "olt: no such profile")


@pytest.mark.parametrize(
    ("shown", "blamed"), [("NOO", "bc"), ("OOO", "abc"), ("MNN", "a"), ("N?N", "b")]
)
@pytest.mark.parametrize("device", ["bng", "box"])
def test_of_one_commit_all_that_were_not_done(device: str, shown: str, blamed: str) -> None:
    found = blame({device: shown}, {device: NO})
    assert found == dict.fromkeys(blamed, f"{device}: no such profile")


def test_what_is_new_without_our_timer_is_in_the_way_whole() -> None:
    found = blame({"bng": "NN", "olt": "NN"}, ALL_SENT, {"bng": "FOREIGN"})
    assert found == dict.fromkeys("ab", "bng: its revert timer reads foreign, not ours")
    assert blame({"bng": "NN", "olt": "NN"}, ALL_SENT, {"olt": "FOREIGN"}).keys() == {"a", "b"}
    assert blame({"bng": "NN", "olt": "NN"}, ALL_SENT, {"bng": "NONE"}).keys() == {"a", "b"}


def test_a_device_that_said_yes_and_did_not_is_named() -> None:
    assert blame({"bng": "O"}, {"bng": SENT}) == {"a": "bng: does not read back what it was told"}


def test_whom_nothing_was_sent_is_not_to_blame() -> None:
    """The wave behind a refusal is not sent; in what order they stand says nothing."""
    for read in ({"olt": "OO", "bng": "OO"}, {"bng": "OO", "olt": "OO"}):
        assert blame(read, {"bng": NO}) == dict.fromkeys("ab", "bng: no such profile")


def test_what_was_stopped_on_the_way_is_in_the_way_of_all() -> None:
    assert blame({"bng": "N", "olt": "O"}, {"bng": UNKNOWN}) == {"*": "bng: no answer"}
    found = blame({"bng": "N", "olt": "O"}, {"bng": SENT})
    assert found == {"*": "stopped by a person before the decision"}
    assert blame({"bng": "N", "olt": "O"}, {}) == found
