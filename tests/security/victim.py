"""A process that asks hostile devices through the real wires, and says how each one went.

Run as `python -m tests.security.victim`: reads a JSON list of cases (`name`, `platform`, `host`,
`port`, `host_key`, `act`, `folder`), writes one JSON line when each has ended.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any

from device_templates import platform
from inventory import BandmasterError, Device, DeviceProblem, SecretRef
from workflows.observe import read_sections
from workflows.participant import WireContext
from workflows.transports import cli_session, connect, preload, scan

OBJECTS: dict[str, dict[str, str | int]] = {
    "juniper_junos": {"interface": "ge-0/0/1", "unit": 1042},
    "huawei_smartax": {"service_port": 1042},
    "linux_tc": {"interface": "sub1", "class_minor": "10"},
}
MOST_MB = 3_000  # what the process may ever take: a test that fails must not take the host with it
TIMEOUT_S = 2  # of the devices, and of every answer of a command line


def main() -> None:
    """Meet one host after another."""
    cases = json.load(sys.stdin)
    preload([platform(name) for name in {case["platform"] for case in cases}])
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MB << 20, MOST_MB << 20))
    cli_session.ASK_S = cli_session.LINE_S = TIMEOUT_S
    before = _peak_mb()
    for case in cases:
        began = time.monotonic()
        error, text = _meet(case)
        took = {"grown_mb": _peak_mb() - before, "took_s": round(time.monotonic() - began, 1)}
        told = {"name": case["name"], "error": error, "text": text, **took}
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()
    # what still reads from a device after its wire was closed would go on for ever
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()


def _meet(case: dict[str, Any]) -> tuple[str, str]:
    """Open, ask, close; return the error's kind and its words."""
    kind = platform(case["platform"])
    known_hosts = Path(case["folder"], "known_hosts")
    known_hosts.write_text(f"[{case['host']}]:{case['port']} {case['host_key']}\n", "ascii")
    known_hosts.chmod(0o600)
    device = Device(
        name="hostile",
        role="bng",
        platform=kind.name,
        host=case["host"],
        port=case["port"],
        username="noc",
        password=SecretRef(ref="test:hunter2"),
        timeout_s=TIMEOUT_S,
    )
    context = WireContext(
        device=device,
        resolve=lambda ref: ref.ref.partition(":")[2],
        known_hosts=str(known_hosts),
        timeout_s=TIMEOUT_S,
    )
    wire = connect(context, kind)
    try:
        if case["act"] == "scan":
            scan(device.host, device.port, timeout_s=TIMEOUT_S)
        else:
            wire.open()
            read_sections(wire, kind, (OBJECTS[kind.name],))
    except DeviceProblem as problem:
        return type(problem).__name__, str(problem)
    except BandmasterError as problem:
        return f"not a device's: {type(problem).__name__}", str(problem)
    except Exception as mistake:  # noqa: BLE001 - a bug of ours is what this looks for
        return f"a crash: {type(mistake).__name__}", str(mistake)[:200]
    finally:
        wire.close()
    return "", ""


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10


if __name__ == "__main__":
    main()
