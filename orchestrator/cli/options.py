"""Options that many commands share, and how every group and its help look."""

from __future__ import annotations

import shutil
from typing import Annotated, Any

import typer

from .output import WIDTH

EXIT_CODES = """\b
Exit codes:
  0   done, or nothing to do
  1   failed or aborted; everything reads back as before
  2   wrong use
  3   changes pending: plan only, answered no, drift
  4   decided, with refusals or an open exception
  5   refused by policy, a lease or a stale plan
  6   undecided or not yet applied: run bandmaster recover
  70 a fault of bandmaster itself
"""

JsonFlag = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
PlanOnly = Annotated[bool, typer.Option("--plan-only", help="Show the plan and stop (exit 3).")]
Ticket = Annotated[str, typer.Option(help="Ticket this belongs to.", metavar="ID")]
Reason = Annotated[str, typer.Option(help="Why, in words; kept beside the change.", metavar="TEXT")]
Key = Annotated[
    str,
    typer.Option(
        "--idempotency-key",
        help="The same key and request again never act twice.",
        metavar="KEY",
    ),
]
Disconnect = Annotated[
    bool,
    typer.Option(
        "--disconnect-if-needed", help="Let the session log in anew where CoA is refused."
    ),
]
AllOrNothing = Annotated[
    bool, typer.Option("--all-or-nothing", help="Never go on without the services refused.")
]
SetMax = Annotated[
    int, typer.Option(help="Services decided together at most; 0 = as set up.", min=0, metavar="N")
]
Show = Annotated[
    str, typer.Option("--show", help="`undo`: also the lines of the way back.", metavar="WHAT")
]


def new_group(text: str, *, epilog: str = "") -> typer.Typer:
    """Return a group of commands that looks as all of them do."""
    return typer.Typer(
        help=text,
        epilog=epilog or None,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=_settings(),
    )


def command(group: typer.Typer, name: str, *examples: str) -> Any:
    """Return the decorator of a command with its examples under its help."""
    lines = "".join(f"  $ bandmaster {example}\n" for example in examples)
    word = "Example" if len(examples) == 1 else "Examples"
    return group.command(
        name, epilog=f"\b\n{word}:\n{lines}", context_settings=_settings(), no_args_is_help=False
    )


def wants_undo(show: str) -> bool:
    """Read `--show`; WrongUse for anything but `undo`."""
    if show in ("", "undo"):
        return bool(show)
    from inventory import WrongUse

    raise WrongUse("--show", f"cannot show {show!r}", "Write --show undo.")


def _settings() -> dict[str, Any]:
    columns = min(WIDTH, shutil.get_terminal_size((WIDTH, 24)).columns)
    return {"help_option_names": ["-h", "--help"], "terminal_width": columns}
