"""S5: an unknown or a changed host key is refused by default, and no secret has been sent by then.

Every platform's own wire meets servers that write down all they are told.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from device_templates import platforms
from inventory import Device, DeviceProblem, HostKeyChanged, HostKeyUnknown, SecretRef
from tests.desk import tier
from workflows.participant import Wire, WireContext
from workflows.transports import connect

from .conftest import DEVICE, Guarded
from .hostile import HostileHost

PLATFORMS = sorted(platforms())
PASSWORD = "canary-password-Zq7"
BNG = "bng-fra-1"


def open_wire(name: str, host: HostileHost, known_hosts: Path, asked: list[str]) -> Wire:
    """Open a wire as the orchestrator does; `asked` is the secrets that were resolved."""

    def resolve(ref: SecretRef) -> str:
        asked.append(ref.ref)
        return PASSWORD

    device = Device(
        name="box",
        role="bng",
        platform=name,
        host=host.address,
        port=host.port,
        username="noc",
        password=SecretRef(ref="test:password"),
        timeout_s=20,
    )
    kind = platforms()[name]
    wire = connect(
        WireContext(device=device, resolve=resolve, known_hosts=str(known_hosts), timeout_s=20),
        kind,
    )
    wire.open()
    return wire


def write_key(known_hosts: Path, host: HostileHost, key: str) -> None:
    """Enrol a key for a host."""
    known_hosts.write_text(f"[{host.address}]:{host.port} {key}\n")
    known_hosts.chmod(0o600)


def heard_nothing(host: HostileHost) -> None:
    """No user name, no password and no key has come."""
    assert (host.users, host.passwords, host.keys) == ([], [], [])


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """An SSH agent that everybody could ask for the user's keys; what it was asked."""
    asked: list[bytes] = []
    path = str(tmp_path / "agent")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                asked.append(b"connected")
                connection.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        yield asked
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's own ~/.ssh."""
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(folder.parent))
    return folder


@pytest.mark.parametrize("name", PLATFORMS)
def test_an_unknown_key(name: str, tmp_path: Path, subnet: str, home: Path) -> None:
    """Goal: S5. Method: nothing enrolled; the user's own known_hosts has the key and counts not."""
    asked: list[str] = []
    with HostileHost(f"{subnet}.1") as host:
        (home / "known_hosts").write_text(f"[{host.address}]:{host.port} {host.host_key}\n")
        (home / "config").write_text("Host *\n  StrictHostKeyChecking no\n")
        with pytest.raises(HostKeyUnknown, match="no password was sent"):
            open_wire(name, host, tmp_path / "known_hosts", asked)
        assert host.connections == []
        heard_nothing(host)
    assert asked == []  # the secret was not even looked up


@pytest.mark.parametrize("kind", ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"])
@pytest.mark.parametrize("name", PLATFORMS)
def test_a_changed_key(
    name: str, kind: str, tmp_path: Path, subnet: str, agent: list[bytes]
) -> None:
    """Goal: S5. Method: enrolled is a key of the same kind, or of another one."""
    known_hosts = tmp_path / "known_hosts"
    with HostileHost(f"{subnet}.2") as other, HostileHost(f"{subnet}.1", kind=kind) as host:
        write_key(known_hosts, host, other.host_key)
        with pytest.raises(HostKeyChanged, match="no password was sent"):
            open_wire(name, host, known_hosts, [])
        heard_nothing(host)
    assert agent == []


@pytest.mark.parametrize("name", PLATFORMS)
def test_the_enrolled_key_of_another_host_or_port(name: str, tmp_path: Path, subnet: str) -> None:
    """Goal: a key counts for its own host and port. Method: the right key under other names."""
    known_hosts = tmp_path / "known_hosts"
    with HostileHost(f"{subnet}.1") as host:
        key = host.host_key
        names = (
            host.address,
            "*",
            f"[{host.address}]:{host.port + 1}",
            f"[{subnet}.2]:{host.port}",
        )
        known_hosts.write_text("".join(f"{each} {key}\n" for each in names))
        known_hosts.chmod(0o600)
        with pytest.raises(HostKeyUnknown):
            open_wire(name, host, known_hosts, [])
        heard_nothing(host)


@pytest.mark.parametrize("name", PLATFORMS)
def test_the_enrolled_key(
    name: str, tmp_path: Path, subnet: str, home: Path, agent: list[bytes]
) -> None:
    """The control: with the right key the password comes, and nothing else of the user's."""
    (home / "id_ed25519").write_text("not a key")
    known_hosts = tmp_path / "known_hosts"
    with HostileHost(f"{subnet}.1") as host:
        write_key(known_hosts, host, host.host_key)
        with contextlib.suppress(DeviceProblem):  # it says nothing after the login
            device = open_wire(name, host, known_hosts, [])
            device.close()
        assert host.passwords == [PASSWORD]
        assert set(host.users) == {"noc"}
        assert host.keys == []
    assert agent == []


def test_every_command_refuses_a_changed_key(guarded: Guarded, subnet: str) -> None:
    """Goal: S5 at the command line. Method: another host stands where the enrolled one stood."""
    desk = guarded.desk
    with HostileHost(f"{subnet}.77") as host:
        known_hosts = desk.folder / "known_hosts"
        lines = known_hosts.read_text("ascii").splitlines()
        spec = next(s for s in guarded.desk.isp.specs() if s.name == BNG)
        place = f"[{spec.address}]:{spec.port} "
        changed = [place + host.host_key if x.startswith(place) else x for x in lines]
        assert changed != lines
        known_hosts.write_text("".join(f"{line}\n" for line in changed))
    before = desk.world()
    for words, code in (
        (tier("svc-1001"), 1),
        (("device", "check", BNG), 1),
        (("device", "profiles", BNG), 1),
        (("service", "suspend", "svc-1001", "--yes"), 1),
    ):
        told = desk.run(*words)
        assert told.code == code, told.text
        assert "another host key than the enrolled one" in told.text
        assert guarded.leaks(told.text) == []
    assert desk.world()[1] == before[1]


def test_enrolling_tries_no_login_and_is_written_down(guarded: Guarded, subnet: str) -> None:
    """Goal: the one way in is audited. Method: the device's address leads to a false host."""
    desk = guarded.desk
    with HostileHost(f"{subnet}.78") as host, desk.engine.begin() as connection:
        statement = text("UPDATE device SET host = :host, port = :port WHERE name = :name")
        connection.execute(statement, {"host": host.address, "port": host.port, "name": BNG})
        connection.commit()
        assert desk.run("device", "enroll-key", BNG).code != 0  # nobody is there to say yes
        wrong = desk.run("device", "enroll-key", BNG, "--fingerprint", "SHA256:" + "A" * 43)
        assert wrong.code == 1
        assert host.host_key not in (desk.folder / "known_hosts").read_text("ascii")
        desk.good("device", "enroll-key", BNG, "--yes")
        heard_nothing(host)
        assert len(host.connections) >= 2
    rows = "\n".join(desk.world()[0]["audit"])
    assert "enroll-key" in rows
    assert DEVICE not in rows
