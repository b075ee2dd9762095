"""Host keys: looking at one without logging in, and the file of those that were enrolled."""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from inventory import BadSettings, Device, HostKeyChanged, HostKeyUnknown, Unreachable
from workflows.participant import WireContext

SSH_PORT = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class HostKey:
    """A public host key: `kind` as SSH names it (`ssh-ed25519`), the key in base64."""

    kind: str
    base64: str

    @property
    def fingerprint(self) -> str:
        """`SHA256:...` as `ssh-keygen -l` prints it."""
        raw = hashlib.sha256(base64.b64decode(self.base64)).digest()
        return "SHA256:" + base64.b64encode(raw).decode().rstrip("=")


def scan(host: str, port: int, *, timeout_s: int = 15) -> HostKey:
    """Return the key that the host shows, without offering a user name; raises Unreachable."""
    import paramiko  # noqa: PLC0415 - 0.16 s that most commands do not need

    from .ssh_limits import dialled  # noqa: PLC0415

    where = host_name(host, port)
    try:
        with dialled(host, port, timeout_s) as connection:
            transport = paramiko.Transport(connection)
            try:
                transport.start_client(timeout=timeout_s)
                key = transport.get_remote_server_key()
            finally:
                transport.close()
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise Unreachable(
            where, f"no host key could be read: {error}", "Check address, port and path."
        ) from error
    return HostKey(kind=key.get_name(), base64=key.get_base64())


def host_name(host: str, port: int) -> str:
    """Return the name under which a host stands in the file: `host`, or `[host]:port`."""
    return host if port == SSH_PORT else f"[{host}]:{port}"


def enrolled(path: str, host: str, port: int) -> tuple[HostKey, ...]:
    """Return the keys enrolled for a host; none if the file does not exist.

    Raises BadSettings for a file that others can write and for a line that is no key.
    """
    wanted = host_name(host, port)
    return tuple(key for name, key in _lines(Path(path)) if name == wanted)


def enroll(path: str, host: str, port: int, key: HostKey) -> None:
    """Make `key` the only enrolled key of the host; the file appears whole or not at all, 0600.

    Raises BadSettings as `enrolled` does, and when the key is no key.
    """
    file = Path(path)
    wanted = host_name(host, port)
    new = f"{wanted} {key.kind} {key.base64}"
    _parsed(new, "the new key")
    for _ in _lines(file):
        pass  # a file with a broken line is told, not rewritten
    lines = file.read_text("ascii").splitlines() if file.exists() else []
    kept = [line for line in lines if line.split()[:1] != [wanted]]
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, draft = tempfile.mkstemp(prefix=".known_hosts-", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write("".join(f"{line}\n" for line in (*kept, new)))
            out.flush()
            os.fsync(out.fileno())
        Path(draft).replace(file)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _lines(file: Path) -> Iterator[tuple[str, HostKey]]:
    """Yield (host name, key) of every line that is not blank or a comment."""
    try:
        if file.stat().st_mode & 0o022:
            raise BadSettings(
                str(file),
                "others can write to it, so no host key in it may be believed",
                f"Look at what is in it, then: chmod 600 {file}",
            )
        text = file.read_text("ascii", errors="replace")
    except FileNotFoundError:
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip() and not line.startswith("#"):
            yield _parsed(line, f"{file}:{number}")


def _parsed(line: str, where: str) -> tuple[str, HostKey]:
    parts = line.split()
    try:
        name, kind, text = parts[:3]
        raw = base64.b64decode(text, validate=True)
        # the blob begins with its own kind, length first (RFC 4253 section 6.6)
        told = raw[4 : 4 + int.from_bytes(raw[:4], "big")].decode("ascii")
    except (ValueError, binascii.Error) as error:
        raise BadSettings(
            where, "is no host key", "Write HOST KIND BASE64, or remove it."
        ) from error
    if told != kind:
        raise BadSettings(where, f"says {kind} but holds a {told} key", "Enrol the host again.")
    return name, HostKey(kind=kind, base64=text)


@contextlib.contextmanager
def file_for(context: WireContext) -> Iterator[str]:
    """Yield the path of a passing known_hosts file with this device's keys and no others.

    The libraries are given this file alone: neither the user's nor the system's keys count.
    Raises HostKeyUnknown, before anything is sent, when no key is enrolled.
    """
    device = context.device
    keys = enrolled(context.known_hosts, device.host, device.port)
    if not keys:
        raise unknown(device)
    name = host_name(device.host, device.port)
    with tempfile.TemporaryDirectory(prefix="bandmaster-") as folder:
        path = Path(folder, "known_hosts")
        path.write_text("".join(f"{name} {key.kind} {key.base64}\n" for key in keys), "ascii")
        yield str(path)


def unknown(device: Device) -> HostKeyUnknown:
    """Return the error for a device without an enrolled key."""
    return HostKeyUnknown(
        device.name,
        f"no host key is enrolled for {device.host} port {device.port}; no password was sent",
        f"Compare the key with the device's own, then: bandmaster device enroll-key {device.name}",
    )


def changed(device: Device) -> HostKeyChanged:
    """Return the error for a device that shows another key than the enrolled one."""
    return HostKeyChanged(
        device.name,
        f"{device.host} port {device.port} shows another host key than the enrolled one; "
        "no password was sent",
        "Find out why. If the device was replaced or its key renewed: "
        f"bandmaster device enroll-key {device.name}",
    )
