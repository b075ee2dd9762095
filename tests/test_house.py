"""The house is held to its own rules: sizes, rooms, writers, words, and files that nobody needs."""

from __future__ import annotations

import ast
import re

import pytest

from billing_bridge import rules
from device_templates import platforms
from tests.tree import BESIDE, ROOMS, dotted, imports, modules, source, tracked, tree

MODULE_LINES, TEST_MODULE_LINES, FUNCTION_LINES = 400, 500, 50
# What is longer, and how long: a ratchet, numbers here only ever go down.
LONG_MODULES: dict[str, int] = {}
LONG_FUNCTIONS = {
    "orchestrator/migrations/versions/0002_radius.py:_radacct": 63,
    "orchestrator/migrations/versions/0003_ledger.py:_billing_event": 88,
}


def test_modules_are_short() -> None:
    lengths = {path: len(source(path).splitlines()) for path in modules(*ROOMS, *BESIDE)}
    _ratchet(lengths, LONG_MODULES, MODULE_LINES)
    lengths = {path: len(source(path).splitlines()) for path in modules("tests")}
    _ratchet(lengths, {}, TEST_MODULE_LINES)


def test_functions_are_short() -> None:
    lengths = {
        f"{path}:{node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in modules(*ROOMS, *BESIDE, "tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    _ratchet(lengths, LONG_FUNCTIONS, FUNCTION_LINES)


def _ratchet(lengths: dict[str, int], known: dict[str, int], limit: int) -> None:
    long = {name: lines for name, lines in lengths.items() if lines > limit}
    grown = {name: lines for name, lines in long.items() if lines > known.get(name, limit)}
    assert grown == {}, f"longer than {limit} lines, or than they were"
    assert known.keys() <= long.keys(), "short enough now: take them off the list"


WRITES = {
    "billing_bridge": {"append"},
    "inventory": {
        "keep_services",
        "write_group",
        "write_groups",
        "bind_login",
        "bind_many",
        "unbind_login",
        "unbind_many",
    },
}
WRITERS = {"orchestrator/decide.py", "orchestrator/authorise.py"}


def test_one_place_writes_services_authorisation_and_lifecycle_events() -> None:
    """Goal: decisions.md D13. Method: who imports the writing functions, or reaches for them."""
    found: set[str] = set()
    for path in modules(*ROOMS):
        room = path.partition("/")[0]
        for module, name in imports(path):
            top = module.partition(".")[0]
            if top != room and name in WRITES.get(top, ()):
                found.add(path)
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                found |= {path} if node.attr in WRITES.get(node.value.id, ()) else set()
    assert found == WRITERS


def test_only_the_decision_calls_its_helper() -> None:
    users = {
        path
        for path in modules(*ROOMS)
        if any(module == "orchestrator.authorise" for module, _ in imports(path))
    }
    assert users == {"orchestrator/decide.py"}


# tables come into the metadata by importing the modules that declare them
BEHIND_DOORS = {
    "orchestrator/migrate.py": {
        "billing_bridge.credit_rows",
        "billing_bridge.invoice_rows",
        "billing_bridge.gate_rows",
        "billing_bridge.rows",
        "billing_bridge.usage_rows",
        "billing_bridge.webhook_rows",
        "inventory.radius_rows",
        "inventory.rows",
    }
}


def test_rooms_use_what_another_room_offers_at_its_door() -> None:
    """Goal: only names that a room's `__init__` re-exports. Method: no import reaches behind it."""
    behind: dict[str, set[str]] = {}
    for path in modules(*ROOMS):
        own = path.partition("/")[0]
        for module, _ in imports(path):
            top, _, rest = module.partition(".")
            if rest and top in ROOMS and top != own:
                behind.setdefault(path, set()).add(module)
    assert behind == BEHIND_DOORS


WIRES = {"netmiko", "napalm", "paramiko", "ncclient", "pyrad", "pysnmp", "netconf", "asyncssh"}
VENDORS = {"juniper", "junos", "huawei", "smartax", "mikrotik", "routeros", "cisco", "arista"}


def test_no_platform_or_vendor_has_a_name_in_the_orchestrator() -> None:
    words = WIRES | VENDORS | {"nokia", "erx", "htb"}
    for name in platforms():
        words |= {name, *name.split("_")}
    found = [
        f"{path}:{number}: {line.strip()}"
        for path in tracked()
        if path.startswith("orchestrator/") and not path.endswith(".md")
        for number, line in enumerate(source(path).splitlines(), start=1)
        if words & set(re.findall(r"[a-z]+", line.lower().replace("_", " ")))
    ]
    assert found == []


def test_no_platform_is_chosen_by_its_name_outside_its_folder() -> None:
    """Goal: found, not listed. Method: no string in the rooms equals a platform's name."""
    names = set(platforms())
    found = [
        f"{path}:{node.lineno}"
        for path in modules(*ROOMS)
        if not any(path.startswith(f"device_templates/{name}/") for name in names)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert found == []


def test_every_module_is_used() -> None:
    """Goal: no dead file. Method: somebody imports it, a package finds it by name, or it is run."""
    files = modules(*ROOMS, *BESIDE)
    used = {f"workflows.transports.{found.transport}" for found in platforms().values()}
    used |= {f"device_templates.{name}" for name in platforms()}
    used |= {rule.judge.__module__ for rule in rules()}
    servers = re.findall(r"^ *bandmaster-servers: *(.*)$", source("lab/isp.clab.yml"), re.MULTILINE)
    used |= {f"lab.servers.{name}" for line in servers for name in re.findall(r"\w+", line)}
    for path in files:  # what only a test uses, nobody needs
        for module, name in imports(path):
            used |= {module, f"{module}.{name}"} - {dotted(path)}
        if path.endswith("/__init__.py"):  # a room's door may open a module when it is asked for
            texts = (n.value for n in ast.walk(tree(path)) if isinstance(n, ast.Constant))
            used |= {f"{dotted(path)}.{text}" for text in texts if isinstance(text, str)}
    unused = [path for path in files if dotted(path) not in used and not _is_run(path)]
    assert unused == []


def _is_run(path: str) -> bool:
    by_name = ("orchestrator/migrations/versions/", "orchestrator/migrations/env.py")
    if path.endswith(("/__init__.py", "/__main__.py")) or path.startswith(by_name):
        return True
    defined = {node.name for node in tree(path).body if isinstance(node, ast.FunctionDef)}
    if path.startswith("lab/emulators/") and "build" in defined:
        return True  # a kind of device: a fleet file names it
    return 'if __name__ == "__main__":' in source(path)


@pytest.mark.parametrize("room", [*ROOMS, "lab", "benchmarks", "tests"])
def test_every_room_says_what_it_keeps(room: str) -> None:
    assert f"{room}/README.md" in tracked()
    text = source(f"{room}/README.md")
    assert text.startswith("# ")
    assert len(text.splitlines()) > 1


def test_nothing_names_a_machine_or_a_package_registry() -> None:
    odd = [f"/{place}/" for place in ("work", "root", "home", "Users")]
    odd += [f"{name}.org" for name in ("pypi", "pythonhosted")]
    odd += [f"--{kind}-url" for kind in ("index", "extra-index")] + ["--find-" + "links"]
    pattern = re.compile(r"(?<![\w.])(?:" + "|".join(map(re.escape, odd)) + ")")
    found = [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in tracked()
        for number, line in enumerate(source(path).splitlines(), start=1)
        if pattern.search(line)
    ]
    assert found == []


def test_no_check_is_switched_off_without_saying_which() -> None:
    loose = re.compile(r"type: " + r"ignore(?!\[)|no" + r"qa(?!: ?[A-Z]+[0-9]+)|prag" + "ma: no")
    found = [
        f"{path}:{number}"
        for path in tracked()
        if path.endswith(".py")
        for number, line in enumerate(source(path).splitlines(), start=1)
        if loose.search(line)
    ]
    assert found == []


def test_no_test_is_left_out_without_a_reason() -> None:
    for path in modules("tests"):
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func)
            if name in ("pytest.skip", "pytest.xfail", "pytest.importorskip"):
                assert node.args, f"{path}:{node.lineno}"
            if name.startswith(("pytest.mark.skip", "pytest.mark.xfail")):
                assert {k.arg for k in node.keywords} >= {"reason"}, f"{path}:{node.lineno}"
        bare = [
            node.lineno
            for node in ast.walk(tree(path))
            if isinstance(node, ast.FunctionDef)
            for mark in node.decorator_list
            if ast.unparse(mark) in ("pytest.mark.skip", "pytest.mark.xfail")
        ]
        assert bare == [], path


def test_every_test_can_fail() -> None:
    """Goal: no test without a demand. Method: it asserts, or calls what asserts, at any depth."""
    functions = [
        (path, node)
        for path in modules("tests")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef)
    ]
    demanding = {"raises", "fail"}
    while True:
        more = {node.name for _, node in functions if _demands(node, demanding)} - demanding
        if not more:
            break
        demanding |= more
    found = [f"{path}:{n.name}" for path, n in functions if n.name.startswith("test_")]
    assert [name for name in found if name.rpartition(":")[2] not in demanding] == []


def _demands(function: ast.FunctionDef, known: set[str]) -> bool:
    if any(ast.unparse(mark).startswith("given(") for mark in function.decorator_list):
        return True  # that nothing else is raised is the demand
    return any(
        isinstance(inner, ast.Assert)
        or (isinstance(inner, ast.Call) and ast.unparse(inner.func).rpartition(".")[2] in known)
        for inner in ast.walk(function)
    )
