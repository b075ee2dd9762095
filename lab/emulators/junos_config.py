"""A Junos configuration as data: from set lines to set lines, curly text, differences, checks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

Path = tuple[str, ...]
Tree = dict[Path, "Tree"]
Policers = dict[str, dict[str, dict[str, str]]]

# Statements that hold one value: a second `set` replaces the first.
SINGLE = frozenset(
    {
        "bandwidth-limit",
        "burst-size-limit",
        "description",
        "domain-name",
        "encapsulation",
        "guaranteed-rate",
        "host-name",
        "input",
        "mtu",
        "output",
        "output-traffic-control-profile",
        "scheduler-map",
        "shaping-rate",
        "vlan-id",
    }
)
# Statements that share their line with a name: `unit 5 {`, not `unit { 5 {`.
KEYED = frozenset({"unit", "family", "address", "term", "neighbor", "group", "user", "route"})
TOPS = frozenset(
    {
        "access",
        "access-profile",
        "chassis",
        "class-of-service",
        "dynamic-profiles",
        "firewall",
        "forwarding-options",
        "groups",
        "interfaces",
        "policy-options",
        "protocols",
        "routing-instances",
        "routing-options",
        "security",
        "snmp",
        "system",
        "vlans",
    }
)
RATE = re.compile(r"[1-9][0-9]*[kmg]?\Z")
TOKEN = re.compile(r'"[^"]*"|[^\s"]+')
PLAIN = re.compile(r"[^\s{};\[\]#]+\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What the device has to say about a line or a candidate.

    `severity` is "error" or "warning"; `path` the edit path in brackets, "" for a line.
    """

    severity: str
    message: str
    path: str = ""
    bad_element: str = ""


def tokens_of(text: str) -> Path:
    """The words of a line; quotes stay only where the word needs them."""
    words = TOKEN.findall(text)
    return tuple(w[1:-1] if w[0] == '"' and PLAIN.match(w[1:-1]) else w for w in words)


class Config:
    """An immutable configuration; equal when it prints the same set lines in any order."""

    def __init__(self, statements: Mapping[Path, str | None]) -> None:
        # A single-valued statement is kept as path -> value, any other as path -> None.
        self._statements = statements
        self._tree: Tree | None = None
        self._policers: Policers | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Config) and dict(self._statements) == dict(other._statements)

    def __hash__(self) -> int:
        return hash(frozenset(self._statements.items()))

    def load(self, lines: Iterable[str]) -> tuple[Config, list[Problem]]:
        """A configuration made of this one by `set` and `delete` lines, and what was wrong.

        A wrong line does not keep the others from being applied, as on the device.
        """
        statements = dict(self._statements)
        problems: list[Problem] = []
        for line in lines:
            tokens = tokens_of(line)
            if not tokens or tokens[0].startswith("#"):
                continue
            problem = _apply(statements, tokens)
            if problem is not None:
                problems.append(problem)
        return Config(statements), problems

    def tree(self) -> Tree:
        """Nested statements; a leaf is an empty branch."""
        if self._tree is None:
            root: Tree = {}
            for path, value in self._statements.items():
                branch = root
                for name in _names(path if value is None else (*path, value)):
                    branch = branch.setdefault(name, {})
            self._tree = root
        return self._tree

    def value(self, *path: str) -> str | None:
        """The value of a single-valued statement, None if it is not set."""
        return self._statements.get(path)

    def has(self, *path: str) -> bool:
        """True if the statement exists, alone or with something below it."""
        if path in self._statements:
            return True
        size = len(path)
        return any(known[:size] == path for known in self._statements)

    def only(self, tops: frozenset[str]) -> Config:
        """The part below the given top statements."""
        return Config({p: v for p, v in self._statements.items() if p[0] in tops})

    def set_lines(self) -> tuple[str, ...]:
        """One `set` line per leaf."""
        return tuple("set " + " ".join(path) for path in _leaves(self.tree(), ()))

    def text(self) -> str:
        """Curly text, four blanks per level, every line ended."""
        return "".join(line + "\n" for line in _curly(self.tree(), 0))

    def policers(self) -> Policers:
        """{unit, like "ge-0/0/1.7": {family: {"input": policer, "output": policer}}}.

        Shared by all devices with this configuration: copy it before changing it.
        """
        if self._policers is None:
            self._policers = self._found_policers()
        return self._policers

    def _found_policers(self) -> Policers:
        found: Policers = {}
        for path, value in self._statements.items():
            if value is None or len(path) != 8 or path[0] != "interfaces":
                continue
            _, port, unit, number, family, name, policer, side = path
            if (unit, family, policer) == ("unit", "family", "policer"):
                found.setdefault(f"{port}.{number}", {}).setdefault(name, {})[side] = value
        return found

    def problems(self) -> list[Problem]:
        """What a commit check finds: references to policers and profiles that do not exist."""
        policers = {p[2] for p in self._statements if p[:2] == ("firewall", "policer")}
        profiles = {
            p[2]
            for p in self._statements
            if p[:2] == ("class-of-service", "traffic-control-profiles")
        }
        found: list[Problem] = []
        for path, value in self._statements.items():
            if value is None:
                continue
            if path[0] == "interfaces" and path[-2] == "policer" and value not in policers:
                found.append(_undefined(path[:-1], "Policer", value))
            if path[-1] == "output-traffic-control-profile" and value not in profiles:
                found.append(_undefined(path[:-1], "Traffic control profile", value))
        return found


@lru_cache(maxsize=64)
def parse(text: str) -> Config:
    """A configuration from set lines; devices with the same text share it.

    Raises ValueError naming the first wrong line.
    """
    config, problems = Config({}).load(text.splitlines())
    if problems:
        msg = f"seeded configuration: {problems[0].message}: {problems[0].bad_element}"
        raise ValueError(msg)
    return config


def difference(old: Config, new: Config) -> str:
    """What `show | compare` prints: [edit PATH] and the lines that go and come; "" if equal."""
    lines: list[str] = []
    _compare(old.tree(), new.tree(), (), lines)
    return "".join(line + "\n" for line in lines)


def _undefined(path: Path, what: str, name: str) -> Problem:
    return Problem(
        severity="error",
        message=f"{what} '{name}' is not defined",
        path=f"[edit {' '.join(path)}]",
        bad_element=name,
    )


def _apply(statements: dict[Path, str | None], tokens: Path) -> Problem | None:
    verb, path = tokens[0], tokens[1:]
    if verb not in ("set", "delete"):
        return Problem(severity="error", message="syntax error", bad_element=verb)
    if not path or path[0] not in TOPS:
        return Problem(severity="error", message="syntax error", bad_element=" ".join(path[:1]))
    if verb == "delete":
        return _delete(statements, path)
    single = len(path) > 2 and (path[-2] in SINGLE or _is_policer_action(path))
    if path[-1] in SINGLE and not single:
        return Problem(severity="error", message="missing argument", bad_element=path[-1])
    if path[-2:-1] in (("bandwidth-limit",), ("burst-size-limit",)) and not RATE.match(path[-1]):
        return Problem(severity="error", message="invalid value", bad_element=path[-1])
    if single:
        statements[path[:-1]] = path[-1]
    else:
        statements[path] = None
    return None


def _is_policer_action(path: Path) -> bool:
    return path[:2] == ("firewall", "policer") and path[-2] == "then"


def _delete(statements: dict[Path, str | None], path: Path) -> Problem | None:
    if statements.get(path) is not None:  # a single-valued statement named without its value
        del statements[path]
        return None
    if statements.get(path[:-1]) == path[-1]:  # the same, named with its value
        del statements[path[:-1]]
        return None
    size = len(path)
    below = [known for known in statements if known[:size] == path]
    for known in below:
        del statements[known]
    if below:
        return None
    return Problem(severity="warning", message="statement not found", bad_element=path[-1])


def _names(path: Path) -> Iterator[Path]:
    """The levels at which a statement nests; keyed words take their name with them."""
    place = 0
    while place < len(path):
        word = path[place]
        joined = (
            word in KEYED
            or (word in ("policer", "filter") and path[0] == "firewall")
            or word == "traffic-control-profiles"
            or (place == len(path) - 2 and (word in SINGLE or _is_policer_action(path)))
        )
        width = 2 if joined and place + 1 < len(path) else 1
        yield path[place : place + width]
        place += width


def _leaves(tree: Tree, path: Path) -> Iterator[Path]:
    for name, branch in tree.items():
        if branch:
            yield from _leaves(branch, path + name)
        else:
            yield path + name


def _curly(tree: Tree, level: int) -> Iterator[str]:
    blanks = "    " * level
    for name, branch in tree.items():
        words = " ".join(name)
        if branch:
            yield f"{blanks}{words} {{"
            yield from _curly(branch, level + 1)
            yield f"{blanks}}}"
        else:
            yield f"{blanks}{words};"


def _compare(old: Tree, new: Tree, path: Path, lines: list[str]) -> None:
    gone = {name: branch for name, branch in old.items() if name not in new}
    come = {name: branch for name, branch in new.items() if name not in old}
    if gone or come:
        lines.append(f"[edit{''.join(' ' + word for word in path)}]")
        lines.extend("-   " + line for line in _curly(gone, 0))
        lines.extend("+   " + line for line in _curly(come, 0))
    for name, branch in old.items():
        if name in new and branch != new[name]:
            _compare(branch, new[name], path + name, lines)
