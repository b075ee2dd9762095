"""`python -m lab`: the lab's commands; `bandmaster lab` runs them as a child.

Exit codes: 0 done, 1 failed, 2 wrong use, 3 the lab is down or cannot run here.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path

from lab.inventory import advice
from lab.nas_agent import call
from lab.runner import Lab, cannot_run
from lab.servers.daemon import LabError
from lab.servers.postgres import Postgres
from lab.topology import DEFAULT_FILE, read_topology

_DEFAULT_STATE = Path(".lab")
_UNAVAILABLE = 3


def main() -> int:
    """Run one command; errors are one line on standard error."""
    arguments = _parser().parse_args()
    try:
        done: int = arguments.run(arguments)
    except (LabError, ValueError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return done


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    texts = {
        "up": ("build the lab and start its servers; does nothing if it is up", _up),
        "down": ("stop the servers and remove the namespaces", _down),
        "status": ("say what runs", _status),
        "supervise": ("what `up` starts in the background; ends on SIGTERM", _supervise),
        "postgres": ("a private PostgreSQL until SIGTERM; prints its URLs", _postgres),
        "session": ("log a subscriber of the BNG in or out", _session),
    }
    for name, (text, run) in texts.items():
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(run=run)
        command.add_argument("--state", type=Path, default=_DEFAULT_STATE, help="directory")
        if name != "postgres":
            command.add_argument("--topology", type=Path, default=DEFAULT_FILE)
        if name == "down":
            command.add_argument("--clean", action="store_true", help="delete data and keys too")
        if name == "status":
            command.add_argument("--json", action="store_true", help="JSON on standard output")
        if name == "session":
            command.add_argument("do", choices=("login", "logout", "interim", "list"))
            command.add_argument("login", nargs="?", default="", help="e.g. sub2@isp.example")
    return parser


def _lab(arguments: argparse.Namespace) -> Lab:
    return Lab(arguments.state, read_topology(arguments.topology))


def _up(arguments: argparse.Namespace) -> int:
    reason = cannot_run()
    if reason:
        print(f"lab: {reason}", file=sys.stderr)
        return _UNAVAILABLE
    facts = _lab(arguments).up()
    print(f"lab {facts['name']} is up, see {Path(facts['state_dir'], 'lab.json')}")
    for name, node in facts["nodes"].items():
        print(f"  {name:8} {node['address']:15} {' '.join(node['servers'])}")
    if facts["inventory"]:
        print(f"to run bandmaster on it:\n{advice(Path(facts['inventory']), facts)}")
    return 0


def _down(arguments: argparse.Namespace) -> int:
    lab = _lab(arguments)
    lab.down()
    if arguments.clean:
        lab.clean()
    print(f"lab {lab.topology.name} is down")
    return 0


def _status(arguments: argparse.Namespace) -> int:
    lab = _lab(arguments)
    status = lab.status()
    if arguments.json:
        print(json.dumps(status, indent=2))
    else:
        word = "up" if status["up"] else "down"
        print(f"lab {lab.topology.name} is {word}, state in {status['state_dir']}")
        for daemon in status["daemons"]:
            word = "runs" if daemon["alive"] else "HAS ENDED"
            print(f"  {daemon['node']:8} {daemon['name']:12} {word}, log {daemon['log']}")
        if status["namespaces"] and not status["supervisor_pid"]:
            print(f"  left behind: {' '.join(status['namespaces'])}; `down` removes them")
    return 0 if status["up"] else _UNAVAILABLE


def _supervise(arguments: argparse.Namespace) -> int:
    _lab(arguments).supervise()
    return 0


def _postgres(arguments: argparse.Namespace) -> int:
    with Postgres(arguments.state) as postgres:
        ends = (signal.SIGTERM, signal.SIGINT)
        signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # from here on they wait for sigwait
        print(postgres.url("migrate"), flush=True)
        signal.sigwait(ends)
    return 0


def _session(arguments: argparse.Namespace) -> int:
    lab = _lab(arguments)
    facts = lab.facts()
    agent = facts["nodes"][lab.topology.node_running("nas").name]["servers"]["nas"]
    do = "sessions" if arguments.do == "list" else arguments.do
    print(json.dumps(call(Path(agent["control_socket"]), do, arguments.login), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
