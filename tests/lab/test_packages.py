"""The package step: no service starts by itself, and what was there before stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import packages

ALLOWS = "#!/bin/sh\nexit 0\n"
FORBIDS = "#!/bin/sh\nexit 101\n"


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The policy's path, moved to a directory of our own."""
    path = tmp_path / "policy-rc.d"
    monkeypatch.setattr(packages, "_POLICY", path)
    monkeypatch.setattr(packages, "_ASIDE", tmp_path / "aside")
    return path


def script(path: Path, text: str) -> None:
    """Write an executable policy."""
    path.write_text(text)
    path.chmod(0o755)


def test_starting_is_forbidden_only_meanwhile(policy: Path) -> None:
    """Goal: a temporary policy. Method: ask the policy as a maintainer script would."""
    with packages.nothing_starts():
        assert packages._policy_forbids_starting()
    assert not policy.exists()


@pytest.mark.parametrize("text", [ALLOWS, FORBIDS])
def test_an_administrators_policy_comes_back(policy: Path, text: str) -> None:
    """Goal: his file is as it was, whether or not it forbade. Method: compare its text."""
    script(policy, text)
    with packages.nothing_starts():
        assert packages._policy_forbids_starting()
    assert policy.read_text() == text
    assert list(policy.parent.iterdir()) == [policy]


def test_a_killed_installation_is_mended(policy: Path) -> None:
    """Goal: a kill between our renames loses nothing. Method: leave what a kill leaves."""
    script(policy, ALLOWS)
    guard = packages.nothing_starts()
    guard.__enter__()  # and no exit: the process was killed here
    with packages.nothing_starts():
        assert packages._policy_forbids_starting()
    assert policy.read_text() == ALLOWS


def test_elsewhere_the_apt_line_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Goal: a caller can tell "cannot" from "failed". Method: packages missing, not root."""
    monkeypatch.setattr(packages, "missing_packages", lambda: ("frr",))
    monkeypatch.setattr(packages, "why_not_here", lambda: "only root can install packages")
    assert packages.main() == packages.CANNOT_INSTALL_EXIT
    assert packages.APT_LINE in capsys.readouterr().err
