"""One real server as a child process: where it runs, when it is ready, how it is stopped."""

from __future__ import annotations

import ipaddress
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

_SHELL = ("sh", "-c")
_POLL_S = 0.02
_KILL_AFTER_S = 10.0
_TCP_LISTEN = "0A"
_UDP_UNCONNECTED = "07"


class LabError(Exception):
    """The lab cannot do what was asked; the text says why and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where commands run: this machine as it is, or a namespace with a host name of its own.

    `own` are pairs (directory here, directory there): what is there is this place's alone.
    """

    namespace: str = ""
    hostname: str = ""
    own: tuple[tuple[Path, Path], ...] = ()

    def command(self, *argv: str) -> tuple[str, ...]:
        """The command line that runs `argv` in this place, keeping its process id."""
        if not self.namespace:
            return argv
        steps = [f"hostname {shlex.quote(self.hostname)}"]
        # `ip netns exec` has made a mount namespace already: nobody else sees these mounts.
        steps += [shlex.join(("mount", "--bind", *map(str, pair))) for pair in self.own]
        script = " && ".join((*steps, 'exec "$@"'))
        return (
            "ip",
            "netns",
            "exec",
            self.namespace,
            "unshare",
            "--uts",
            *_SHELL,
            script,
            "sh",
            *argv,
        )


HERE = Place()


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A local address that a server has bound once it is ready; protocol is "tcp" or "udp"."""

    protocol: str
    address: str
    port: int

    def by(self, pid: int) -> bool:
        """Whether a socket in the network namespace of process `pid` is bound so (IPv4)."""
        packed = ipaddress.IPv4Address(self.address).packed
        # The kernel prints the four bytes as one native integer, see proc(5) on /proc/net/tcp.
        address = int.from_bytes(packed, sys.byteorder)
        wanted = f"{address:08X}:{self.port:04X}"
        state = _TCP_LISTEN if self.protocol == "tcp" else _UDP_UNCONNECTED
        try:
            text = Path(f"/proc/{pid}/net/{self.protocol}").read_text(encoding="ascii")
        except OSError:
            return False
        rows = (line.split() for line in text.splitlines()[1:])
        return any(row[1] == wanted and row[3] == state for row in rows)


@dataclass(slots=True, kw_only=True)
class Daemon:
    """A server process with its log; not started until `start` is called."""

    name: str
    argv: tuple[str, ...]
    log: Path
    ready: Callable[[int], bool]
    place: Place = HERE
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    _process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; its output goes to the log, which is begun anew."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self.place.command(*self.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.environment},
                cwd="/",
            )

    @property
    def pid(self) -> int:
        """Process id; 0 if it was never started."""
        return self._process.pid if self._process else 0

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll() if self._process else 0

    def wait_ready(self, timeout_s: float = 20.0) -> None:
        """Return once the server answers; LabError with the end of its log if it never does."""

        def answered() -> bool:
            if self.exit_code is not None:
                ended = f"{self.name} ended with {self.exit_code}: {self.log_end()}"
                raise LabError(ended)
            return self.ready(self.pid)

        if not wait_until(answered, timeout_s):
            late = f"{self.name} not ready after {timeout_s:g} s: {self.log_end()}"
            raise LabError(late)

    def stop(self) -> None:
        """End the process and wait for it; it is killed if it does not end by itself."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(_KILL_AFTER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def log_end(self, lines: int = 6) -> str:
        """The last lines of the log, or a note that it is empty."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:]) or f"nothing in {self.log}"


def wait_until(answered: Callable[[], bool], timeout_s: float) -> bool:
    """Ask again and again until true; False if the time (seconds) ran out."""
    until = time.monotonic() + timeout_s
    while not answered():
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True


def free_port(address: str) -> int:
    """A TCP port of this address that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def write_private(path: Path, text: str) -> Path:
    """Write a file that only its owner can read, and return its path."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    return path


def kept_secret(path: Path) -> str:
    """The secret in this 0600 file; a new random one is written on first use."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(18))
    return path.read_text(encoding="ascii").strip()


def run(*argv: str, stdin: str = "") -> str:
    """Run a command to its end and return its output; LabError with its words if it fails."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip()
        failed = f"{' '.join(argv)}: exit {done.returncode}: {words}"
        raise LabError(failed)
    return done.stdout
