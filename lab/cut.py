"""Runs the real command line and sends it a signal, SIGKILL unless told, at a numbered edge.

An edge lies before and after every commit of the store, every verb and read of devices, every
line on a device's wire and every CoA. `python -m lab.cut --list -- ARGS` prints them as they are
passed, `--at 17` or `--at "after decision"` cuts there; `--signal INT` sends another signal, and
`--times 2` sends it twice. `python -m lab.cut --serve` reads one JSON request per line and runs
each in a fork of this process, so that a thousand cuts pay for the imports once; there `--later 80`
has the parent send SIGKILL 80 ms after the edge, wherever the run is by then.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from sqlalchemy import event
from sqlmodel import Session

from orchestrator import office
from orchestrator.cli.app import main, tree
from orchestrator.leases import Leases
from workflows import Crew
from workflows.transports.cli_session import CliSession
from workflows.transports.netconf_session import NetconfSession

# what the next commit of the store makes durable, once one of these functions has been called
COMMITS = {
    ("orchestrator.coordinator", "write_intent"): "intent",
    ("orchestrator.coordinator", "commit_set"): "decision",
    ("orchestrator.settle", "abort_set"): "abort decision",
    ("orchestrator.settle", "reverse_changes"): "reversal",
    ("orchestrator.settle", "_close"): "close",
    ("orchestrator.settle", "_mark_applied"): "applied",
    ("orchestrator.settle", "bump_epoch"): "epoch",
    ("orchestrator.recover", "bump_epoch"): "epoch",
    ("orchestrator.answers", "reverse_changes"): "reversal",
    ("orchestrator.answers", "accept_as_is"): "acceptance",
}
# what commands import when they need it
LATE = (
    "orchestrator.plan",
    "orchestrator.rollback",
    "orchestrator.cli.plan_text",
    "napalm.junos",
    "netmiko.huawei",
)


# held while a lease is renewed: SQLite has one writer, and a process stopped as that writer would
# stop all others with it, at a moment that no test has asked for
_RENEWING = threading.Lock()


class Edges:
    """Counts edges as they are passed and strikes at one of them."""

    def __init__(self, at: str, *, listing: bool, strike: Callable[[], None]) -> None:
        self._at = at
        self._listing = listing
        self._strike = strike
        self._passed = 0
        self._lock = threading.Lock()

    def pass_by(self, name: str) -> None:
        """Stand at an edge; `name` is like `before decision` or `after prepare bng-fra-1`."""
        if threading.current_thread().name == "leases":
            return  # renewals come by the clock: they would make the numbers differ between runs
        with self._lock:
            self._passed += 1
            here = self._at in (str(self._passed), name)
            if self._listing:
                sys.stderr.write(f"edge {self._passed}: {name}\n")
        if here:
            self._at = ""
            sys.stderr.flush()
            sys.stdout.flush()
            self._strike()

    def around(self, owner: Any, attribute: str, name: Callable[..., str]) -> None:
        """Put an edge before and one after each call of `owner.attribute`."""
        call = getattr(owner, attribute)

        def cut(*args: Any, **more: Any) -> Any:
            what = name(*args, **more)
            self.pass_by(f"before {what}")
            found = call(*args, **more)
            self.pass_by(f"after {what}")
            return found

        setattr(owner, attribute, cut)


def install(edges: Edges) -> None:
    """Put edges around the ports of the program; its own code stays as it is."""
    _watch_commits(edges)
    edges.around(Crew, "verb", lambda _crew, verb, handles: f"{verb} {_names(handles)}")
    edges.around(Crew, "observe", lambda _crew, handles, **_more: f"read {_names(handles)}")
    for kind, calls in ((CliSession, ("send", "save")), (NetconfSession, ("load", "commit"))):
        for call in calls:
            edges.around(
                kind, call, lambda session, *_args, _call=call, **_more: _place(session, _call)
            )
    edges.around(office, "send_coa", lambda *_args: "coa")
    renew = Leases.renew

    def renewing(leases: Leases) -> None:
        with _RENEWING:
            renew(leases)

    Leases.renew = renewing  # type: ignore[assignment, method-assign]  # cut here


def _names(handles: Mapping[str, object]) -> str:
    return ",".join(sorted(handles)) or "nothing"


def _place(session: Any, call: str) -> str:
    words = {"send": "line to", "save": "saving on", "load": "load on", "commit": "commit on"}
    return f"{words[call]} {session._context.device.name}"  # noqa: SLF001


def _watch_commits(edges: Edges) -> None:
    names = threading.local()

    def naming(call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def named(*args: Any, **more: Any) -> Any:
            found = call(*args, **more)
            names.next = name
            return found

        return named

    for (module, function), name in COMMITS.items():
        owner = importlib.import_module(module)
        setattr(owner, function, naming(getattr(owner, function), name))

    @event.listens_for(Session, "before_commit")
    def _before(_session: object) -> None:
        edges.pass_by(f"before {getattr(names, 'next', 'commit')}")

    @event.listens_for(Session, "after_commit")
    def _after(_session: object) -> None:
        name, names.next = getattr(names, "next", "commit"), "commit"
        edges.pass_by(f"after {name}")

    @event.listens_for(Session, "after_rollback")
    def _undone(_session: object) -> None:
        names.next = "commit"


def run(words: Sequence[str], parent: int = -1) -> None:
    """Parse `[--list] [--at EDGE] [--signal NAME] [--times N] [--later MS] -- ARGS` and run ARGS.

    `parent` is where a parent that can strike later reads after how many milliseconds.
    """
    mark = list(words).index("--")
    parser = argparse.ArgumentParser(prog="python -m lab.cut", description=__doc__)
    parser.add_argument("--at", default="", metavar="EDGE")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--signal", default="KILL", metavar="NAME")
    parser.add_argument("--times", type=int, default=1, metavar="N")
    parser.add_argument("--later", type=int, default=0, metavar="MS")
    given = parser.parse_args(words[:mark])
    if given.later and parent < 0:
        parser.error("--later needs a parent that serves")
    number = signal.Signals[f"SIG{given.signal}"]

    def strike() -> None:
        if given.later:
            os.write(parent, b"%d" % given.later)
            return
        with _RENEWING if number == signal.SIGSTOP else nullcontext():
            for _ in range(given.times):
                # to this thread: it is delivered before the call returns
                signal.pthread_kill(threading.get_ident(), number)

    install(Edges(given.at, listing=given.list, strike=strike))
    sys.argv = ["bandmaster", *words[mark + 1 :]]
    main()


def serve() -> None:
    """Answer requests {words, cwd, out, environ} with {"code": ..} until the input ends.

    `out` is a file's path without its ending: standard output goes to `.out`, the rest to `.err`.
    A negative code is the signal that ended the run.
    """
    for module in LATE:
        importlib.import_module(module)
    tree()
    gc.freeze()  # a fork that collects would touch, and so copy, all that was loaded before it
    for line in sys.stdin:
        request = json.loads(line)
        heard, told = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(heard)
            _serve_one(request, told)
        os.close(told)
        _strike_later(child, heard)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps({"code": os.waitstatus_to_exitcode(status)}) + "\n")
        sys.stdout.flush()


def _strike_later(child: int, heard: int) -> None:
    """Wait until the child ends, or asks to be killed in so many milliseconds."""
    with os.fdopen(heard, "rb", buffering=0) as pipe:
        asked = pipe.read(20)
        if asked:
            time.sleep(int(asked) / 1000)
            os.kill(child, signal.SIGKILL)  # not reaped yet: the number is still its own


def _serve_one(request: dict[str, Any], parent: int) -> None:
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for place, ending in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(request["out"] + ending, flags, 0o600), place)
    code = 1
    try:
        run(request["words"], parent)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the parent's loop must never go on in the child
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        run(sys.argv[1:])
