"""Host keys: scanned without a login, kept in a file that is whole or unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
from transport_rig import FalseHost, address, free_port

from inventory import BadSettings, Unreachable
from workflows.transports import HostKey, enroll, enrolled, scan

# Made for this test; nobody holds the private half any more.
ED25519 = HostKey(
    kind="ssh-ed25519",
    base64="AAAAC3NzaC1lZDI1NTE5AAAAIExPWjugsaFLyZTOFKU0VhCRIT1llrzIAKlJOxWfUNf+",
)


@pytest.fixture
def known_hosts(tmp_path: Path) -> Path:
    """Where a file may come to be; its folder does not exist yet."""
    return tmp_path / "etc" / "known_hosts"


def test_scan_offers_no_login() -> None:
    """Goal: the key is read before any user name is told."""
    with FalseHost(address()) as host:
        assert scan(host.host, host.port) == host.host_key
        assert host.heard.users == []


def test_scan_of_nobody() -> None:
    """Goal: Unreachable, naming the place."""
    host, port = address(), free_port()
    with pytest.raises(Unreachable, match=rf"\[{host}\]:{port}"):
        scan(host, port)


def test_enroll_adds_replaces_and_keeps_others(known_hosts: Path) -> None:
    """Goal: one key per host and port; other lines stay as they are."""
    with FalseHost(address()) as host:
        key = host.host_key
    enroll(str(known_hosts), "192.0.2.1", 22, ED25519)
    known_hosts.write_text(f"# ours\n{known_hosts.read_text()}")
    enroll(str(known_hosts), "192.0.2.1", 830, ED25519)
    enroll(str(known_hosts), "192.0.2.1", 830, key)
    assert enrolled(str(known_hosts), "192.0.2.1", 22) == (ED25519,)
    assert enrolled(str(known_hosts), "192.0.2.1", 830) == (key,)
    assert enrolled(str(known_hosts), "192.0.2.2", 22) == ()
    assert [line.split()[0] for line in known_hosts.read_text().splitlines()] == [
        "#",
        "192.0.2.1",
        "[192.0.2.1]:830",
    ]
    assert known_hosts.stat().st_mode & 0o777 == 0o600
    assert list(known_hosts.parent.iterdir()) == [known_hosts]


def test_no_file_is_no_key(known_hosts: Path) -> None:
    """Goal: nothing enrolled yet is no error."""
    assert enrolled(str(known_hosts), "192.0.2.1", 22) == ()


def test_file_that_others_can_write(known_hosts: Path) -> None:
    """Goal: a key that anybody could have put there is not believed."""
    enroll(str(known_hosts), "192.0.2.1", 22, ED25519)
    known_hosts.chmod(0o666)
    with pytest.raises(BadSettings, match="others can write"):
        enrolled(str(known_hosts), "192.0.2.1", 22)


@pytest.mark.parametrize("line", ["192.0.2.1", "192.0.2.1 ssh-ed25519 !!", "192.0.2.1 ssh-rsa {}"])
def test_line_that_is_no_key(known_hosts: Path, line: str) -> None:
    """Goal: a broken line is named, and enrolling does not go over it in silence."""
    enroll(str(known_hosts), "192.0.2.9", 22, ED25519)
    known_hosts.write_text(f"# ours\n{line.format(ED25519.base64)}\n")
    for use in (
        lambda: enrolled(str(known_hosts), "192.0.2.1", 22),
        lambda: enroll(str(known_hosts), "192.0.2.1", 22, ED25519),
    ):
        with pytest.raises(BadSettings, match=":2"):
            use()
    assert "# ours" in known_hosts.read_text()


def test_key_that_is_none_is_not_written(known_hosts: Path) -> None:
    """Goal: enrolling rubbish leaves the file as it was."""
    enroll(str(known_hosts), "192.0.2.1", 22, ED25519)
    before = known_hosts.read_bytes()
    with pytest.raises(BadSettings):
        enroll(str(known_hosts), "192.0.2.1", 22, HostKey(kind="ssh-rsa", base64=ED25519.base64))
    assert known_hosts.read_bytes() == before


def test_fingerprint_is_openssh_s() -> None:
    """Goal: what people compare is what `ssh-keygen -l` prints; it printed this."""
    assert ED25519.fingerprint == "SHA256:k9lMnX87Ymag64oxIe+yx9Id+STsXHfLfulsrxe7y1c"
