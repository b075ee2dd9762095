"""Runs a fleet of emulated devices until SIGTERM, and talks to a running one."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lab.emulators.control import ControlClient, ControlRefusedError, close, serve
from lab.emulators.fleet import Fleet, load_fleet_file


def main(argv: list[str] | None = None) -> int:
    """Entry point: 0 done, 1 refused or failed, 2 wrong use."""
    parser = argparse.ArgumentParser(prog="python -m lab.emulators", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    run = verbs.add_parser("run", help="run the devices of a fleet file until SIGTERM")
    run.add_argument("fleet", type=Path, metavar="FLEET.yaml")
    run.add_argument("--state", type=Path, required=True, metavar="DIR")
    run.add_argument("--exit-with-pid", type=int, metavar="PID", help="end when PID ends")
    ctl = verbs.add_parser("ctl", help="do one thing on one device of a running fleet")
    ctl.add_argument("state", type=Path, metavar="DIR")
    ctl.add_argument("device", metavar="DEVICE")
    ctl.add_argument("do", metavar="DO", help="dump, log, fault, edit, reload, ...")
    ctl.add_argument("args", nargs="*", metavar="KEY=VALUE", help="JSON, or plain text")
    given = parser.parse_args(argv)
    try:
        if given.verb == "run":
            _run(given.fleet, given.state, given.exit_with_pid)
        else:
            args = dict(_pair(parser, text) for text in given.args)
            print(json.dumps(ControlClient(given.state).call(given.device, given.do, **args)))
    except (ControlRefusedError, OSError, ValueError) as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1
    return 0


def _run(fleet_file: Path, state_dir: Path, watched_pid: int | None) -> None:
    specs = load_fleet_file(fleet_file)
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    ready = state_dir / "ready"
    ready.unlink(missing_ok=True)
    with _signals() as stop_fd, Fleet(specs, state_dir=state_dir) as fleet:
        (state_dir / "host_key.pub").write_text(fleet.host_key + "\n", "utf-8")
        server = fleet.call(serve(fleet, state_dir))
        _write_whole(ready, f"{os.getpid()}\n")
        try:
            _wait(stop_fd, watched_pid)
        finally:
            ready.unlink(missing_ok=True)
            fleet.call(close(server, state_dir))
    if fleet.crashes:
        message = "\n".join(("the emulators failed:", *fleet.crashes))
        raise ValueError(message)


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """A descriptor that becomes readable at SIGTERM or SIGINT."""
    readable, writable = socket.socketpair()
    writable.settimeout(0)
    with readable, writable:
        before = signal.set_wakeup_fd(writable.fileno())
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        try:
            yield readable.fileno()
        finally:
            signal.set_wakeup_fd(before)


def _wait(stop_fd: int, watched_pid: int | None) -> None:
    waited = [stop_fd]
    if watched_pid is not None:
        try:
            waited.append(os.pidfd_open(watched_pid))
        except ProcessLookupError:
            return
    select.select(waited, [], [])


def _write_whole(path: Path, text: str) -> None:
    """Nobody sees a half-written file."""
    passing = path.with_suffix(".new")
    passing.write_text(text, "utf-8")
    passing.replace(path)


def _pair(parser: argparse.ArgumentParser, text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        parser.error(f"{text!r} is not KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


if __name__ == "__main__":
    sys.exit(main())
