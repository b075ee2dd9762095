"""Runs the real command line and kills it with SIGKILL at a numbered or named edge.

An edge lies before and after every commit of the store, every verb and read of devices, and every
CoA: `python -m lab.cut --list -- ARGS` prints them, `--at 17` or `--at "after decision"` cuts there.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any


class Edges:
    """Counts edges as they are passed and kills this very process at one of them."""

    def __init__(self, at: str, *, listing: bool) -> None:
        self._at = at
        self._listing = listing
        self._passed = 0

    def pass_by(self, name: str) -> None:
        """Stand at an edge; `name` is like `before commit` or `after prepare bng-fra-1`."""
        self._passed += 1
        if self._listing:
            sys.stderr.write(f"edge {self._passed}: {name}\n")
        if self._at in (str(self._passed), name):
            sys.stderr.flush()
            sys.stdout.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, call: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
        """Return `call` with an edge before it and one after it."""

        def cut(*args: Any, **more: Any) -> Any:
            what = name(*args, **more)
            self.pass_by(f"before {what}")
            found = call(*args, **more)
            self.pass_by(f"after {what}")
            return found

        return cut


def install(edges: Edges) -> None:
    """Put edges around the ports of the program; its own code stays as it is."""
    from sqlalchemy import event
    from sqlmodel import Session

    import orchestrator.coordinator as coordinator
    import orchestrator.office as office
    from workflows import Crew

    deciding = [False]

    def decides(call: Callable[..., Any]) -> Callable[..., Any]:
        def marked(*args: Any, **more: Any) -> Any:
            found = call(*args, **more)
            deciding[0] = True
            return found

        return marked

    def commit_name() -> str:
        return "decision" if deciding[0] else "commit"

    @event.listens_for(Session, "before_commit")
    def _before(_session: object) -> None:
        edges.pass_by(f"before {commit_name()}")

    @event.listens_for(Session, "after_commit")
    def _after(_session: object) -> None:
        edges.pass_by(f"after {commit_name()}")
        deciding[0] = False

    coordinator.commit_set = decides(coordinator.commit_set)  # type: ignore[assignment]
    Crew.verb = edges.around(  # type: ignore[method-assign]
        Crew.verb, lambda _crew, verb, handles: f"{verb} {','.join(sorted(handles))}"
    )
    Crew.observe = edges.around(  # type: ignore[method-assign]
        Crew.observe, lambda _crew, handles, **_more: f"read {','.join(sorted(handles))}"
    )
    office.send_coa = edges.around(office.send_coa, lambda *_args: "coa")


def main() -> None:
    """Parse `[--list] [--at EDGE] -- ARGS` and run the command line with ARGS."""
    mark = sys.argv.index("--")
    own, rest = sys.argv[1:mark], sys.argv[mark + 1 :]
    at = own[own.index("--at") + 1] if "--at" in own else ""
    install(Edges(at, listing="--list" in own))
    sys.argv = ["bandmaster", *rest]
    from orchestrator.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
