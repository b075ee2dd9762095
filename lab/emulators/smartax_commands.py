"""The commands of an emulated SmartAX: which words in which mode do what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lab.emulators import smartax_ports as ports
from lab.emulators import smartax_tables as tables
from lab.emulators import smartax_text as text
from lab.emulators.smartax_device import BUSY, CONFIG, ENABLE, USER, Device, Shell
from lab.emulators.smartax_grammar import UNKNOWN, Args, GrammarError, words
from lab.emulators.smartax_state import RefusedError

Run = Callable[[Device, Shell, Args], str]
ALL = (USER, ENABLE, CONFIG)
PRIVILEGED = (ENABLE, CONFIG)
NO_SUCH_CLIENT = "Failure: The client does not exist"
OWN_CLIENT = "Failure: Can not kick off the client itself"
LOG_OUT = "  Check whether system data has been changed. Please save data before logout."


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command found by its first words; `more` is what smart interaction offers after them."""

    first: tuple[str, ...]
    modes: tuple[str, ...]
    run: Run
    more: str = ""
    writes: bool = False


def perform(device: Device, shell: Shell, line: str) -> str:
    """Do what a line says and answer what the device prints, without echo and prompt."""
    try:
        command = find(shell, line)
        if command.writes and device.saving:
            return f"  {BUSY}"
        return command.run(device, shell, Args(line, len(command.first)))
    except GrammarError as exc:
        caret = " " * (len(shell.prompt(device.hostname)) + exc.column)
        return f"{caret}^\n  {exc.text}"
    except RefusedError as exc:
        return f"  {exc}"


def question(shell: Shell, line: str) -> str:
    """What smart interaction asks before it runs a line that could go on; empty if nothing."""
    if not shell.smart:
        return ""
    try:
        return find(shell, line).more
    except GrammarError:
        return ""


def find(shell: Shell, line: str) -> Command:
    """The command a line begins with; raises GrammarError at the first word that leads nowhere."""
    found = [word.text.lower() for word in words(line)]
    here = [command for command in COMMANDS if shell.mode in command.modes]
    fitting = [c for c in here if tuple(found[: len(c.first)]) == c.first]
    if fitting:
        return max(fitting, key=lambda c: len(c.first))
    depth = max(_common(found, command.first) for command in here)
    args = Args(line, depth)
    if not args.more:
        args.word()  # raises: the line ends too early
    raise GrammarError(UNKNOWN, words(line)[depth].column)


def _common(found: list[str], first: tuple[str, ...]) -> int:
    pairs = zip(found, first, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(found), len(first)))


def _to(mode: str) -> Run:
    def go(_device: Device, shell: Shell, args: Args) -> str:
        args.end()
        shell.mode = mode
        return ""

    return go


def _quit(_device: Device, shell: Shell, args: Args) -> str:
    args.end()
    if shell.mode == CONFIG:
        shell.mode = ENABLE
    else:
        shell.leaving = True
    return ""


def _smart(*, on: bool) -> Run:
    def switch(device: Device, shell: Shell, args: Args) -> str:
        args.end()
        shell.smart = on or device.knobs.keep_smart
        return ""

    return switch


def _interactive(*, on: bool) -> Run:
    def switch(_device: Device, shell: Shell, args: Args) -> str:
        args.end()
        shell.interactive = on
        return ""

    return switch


def _infoswitch(_device: Device, _shell: Shell, args: Args) -> str:
    args.word("on", "off")
    args.end()
    return ""


def _scroll(device: Device, shell: Shell, args: Args) -> str:
    if args.more:
        shell.page_lines = args.number(10, 512)
        args.end()
    else:
        shell.page_lines = device.knobs.scroll_max
    return ""


def _save(device: Device, shell: Shell, args: Args) -> str:
    if args.more:
        args.word("configuration", "data")
    args.end()
    return device.start_save(shell.say)


def _version(device: Device, _shell: Shell, args: Args) -> str:
    args.end()
    return text.version(_uptime(device, "{0} day(s), {1} hour(s), {2} minute(s), {3} second(s)"))


def _sysuptime(device: Device, _shell: Shell, args: Args) -> str:
    args.end()
    return "  System up time: " + _uptime(device, "{0} day {1} hour {2} minute {3} second ")


def _uptime(device: Device, shape: str) -> str:
    minutes, second = divmod(device.uptime_s(), 60)
    hours, minute = divmod(minutes, 60)
    return shape.format(hours // 24, hours % 24, minute, second)


def _display_client(device: Device, _shell: Shell, args: Args) -> str:
    args.end()
    return text.clients((s.number, s.user, s.address, s.login) for s in device.shells.values())


def _kick_off(device: Device, shell: Shell, args: Args) -> str:
    number = args.number(0, 1 << 31)
    args.end()
    if number == shell.number:
        raise RefusedError(OWN_CLIENT)
    if number not in device.shells:
        raise RefusedError(NO_SUCH_CLIENT)
    victim = device.shells[number]
    victim.cut()
    device.log_out(victim)
    return ""


def _display_configuration(*, saved: bool) -> Run:
    def display(device: Device, _shell: Shell, args: Args) -> str:
        only = ""
        if args.more:
            args.word("section")
            only = args.word(*text.SECTIONS)
        args.end()
        return text.configuration(device.saved if saved else device.running, only)

    return display


def _command(
    words_: str, modes: tuple[str, ...], run: Run, more: str = "", *, writes: bool = False
) -> Command:
    return Command(first=tuple(words_.split()), modes=modes, run=run, more=more, writes=writes)


_CURRENT = "{ <cr>|include-default<K>|section<K>||<K> }:"
_SAVED = "{ <cr>|section<K>||<K> }:"
COMMANDS = (
    _command("enable", (USER,), _to(ENABLE)),
    _command("disable", (ENABLE,), _to(USER)),
    _command("config", (ENABLE,), _to(CONFIG)),
    _command("return", PRIVILEGED, _to(ENABLE)),
    _command("quit", ALL, _quit),
    _command("smart", ALL, _smart(on=True)),
    _command("undo smart", ALL, _smart(on=False)),
    _command("interactive", ALL, _interactive(on=True)),
    _command("undo interactive", ALL, _interactive(on=False)),
    _command("infoswitch cli", PRIVILEGED, _infoswitch),
    _command("scroll", ALL, _scroll, "{ <cr>|number<U><10,512> }:"),
    _command("save", PRIVILEGED, _save, "{ <cr>|configuration<K>|data<K> }:", writes=True),
    _command("display version", ALL, _version, "{ <cr>|backplane<K>|frameid/slotid<S> }:"),
    _command("display sysuptime", ALL, _sysuptime),
    _command("display client", PRIVILEGED, _display_client),
    _command("client kick-off", PRIVILEGED, _kick_off),
    _command(
        "display current-configuration", PRIVILEGED, _display_configuration(saved=False), _CURRENT
    ),
    _command("display saved-configuration", PRIVILEGED, _display_configuration(saved=True), _SAVED),
    _command("display traffic table ip", PRIVILEGED, tables.display, "{ <cr>||<K> }:"),
    _command("traffic table ip", (CONFIG,), tables.create, writes=True),
    _command("traffic table ip modify", (CONFIG,), tables.modify, writes=True),
    _command("undo traffic table ip", (CONFIG,), tables.remove, writes=True),
    _command(
        "display service-port",
        PRIVILEGED,
        ports.display,
        "{ <cr>|e2e<K>|inner-vlan<K>|sort-by<K>||<K> }:",
    ),
    _command("service-port", (CONFIG,), ports.change, writes=True),
    _command("undo service-port", (CONFIG,), ports.remove, writes=True),
)
