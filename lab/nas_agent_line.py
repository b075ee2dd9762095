"""A subscriber's line on the BNG: its two rates in HTB, whether it is open, what passed over it."""

from __future__ import annotations

import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_RATES = re.compile(r"([1-9][0-9]{0,8})/([1-9][0-9]{0,8})")
_PACKET_BYTES = 1514  # quantum: one full Ethernet frame; HTB warns about its own guess


class LineError(Exception):
    """The kernel refused a command on a line; the text has its words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Two rates in kbit/s (k = 1000), seen from the subscriber."""

    down_kbps: int
    up_kbps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Octets:
    """Bytes since the interface was made, seen from the BNG: in = from the subscriber."""

    received: int
    sent: int


def parse_rates(text: str) -> Rates:
    """Rates from a Filter-Id `DOWN/UP` in kbit/s, the order accel-ppp reads; ValueError if not."""
    found = _RATES.fullmatch(text)
    if not found:
        reason = f"not DOWN/UP in kbit/s: {text!r}"
        raise ValueError(reason)
    down, up = found.groups()
    return Rates(down_kbps=int(down), up_kbps=int(up))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An access interface with class 1:10 for download, and its ifb with class 1:10 for upload."""

    login: str
    password_file: Path
    interface: str
    address: str

    def set_rates(self, rates: Rates) -> None:
        """Change both classes, or neither; LineError with the kernel's words if it refuses."""
        before = self.rates()
        _change(self.interface, rates.down_kbps)
        try:
            _change(self._ifb, rates.up_kbps)
        except LineError:
            _change(self.interface, before.down_kbps)
            raise

    def rates(self) -> Rates:
        """The rates that the kernel applies now; LineError if a class is missing."""
        return Rates(down_kbps=_read(self.interface), up_kbps=_read(self._ifb))

    def open(self) -> None:
        """Let packets through to the subscriber's address."""
        with suppress(LineError):  # it is open already
            _run("ip", "route", "delete", "blackhole", f"{self.address}/32")

    def close(self) -> None:
        """Let nothing through to the subscriber's address."""
        _run("ip", "route", "replace", "blackhole", f"{self.address}/32")

    def octets(self) -> Octets:
        """The interface's byte counters."""
        counters = Path("/sys/class/net", self.interface, "statistics")
        return Octets(
            received=int((counters / "rx_bytes").read_text()),
            sent=int((counters / "tx_bytes").read_text()),
        )

    @property
    def _ifb(self) -> str:
        return f"ifb-{self.interface}"


def _change(interface: str, rate_kbps: int) -> None:
    rate = f"{rate_kbps}kbit"
    _run(
        *("tc", "class", "change", "dev", interface, "parent", "1:", "classid", "1:10"),
        *("htb", "rate", rate, "ceil", rate, "quantum", str(_PACKET_BYTES)),
    )


def _read(interface: str) -> int:
    shown = _run("tc", "class", "show", "dev", interface, "classid", "1:10")
    found = re.search(r"\brate (\d+)([KMG]?)bit\b", shown)
    if not found:
        reason = f"no HTB class 1:10 on {interface}"
        raise LineError(reason)
    units_bps = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3}
    return int(found[1]) * units_bps[found[2]] // 1000


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = f"{' '.join(argv)}: {done.stderr.strip()}"
        raise LineError(reason)
    return done.stdout
