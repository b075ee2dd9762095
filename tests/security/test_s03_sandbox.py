"""S3: templates come from the repository, run in a sandbox, and text of people stays text.

That templates only join values and branch is held in tests/device_templates/test_injection.py.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml
from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from device_templates.render import _environment
from orchestrator.printing.html import _template
from tests.desk import Desk, refused, tier
from tests.tree import BESIDE, ROOMS, imports, modules, source, tracked, tree

from .conftest import Guarded

TRICKS = (
    "{{7*7}}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{x}}{% endfor %}",
    "${7*7}",
    "#{7*7}",
    "%(levelname)s {0.__class__}",
    "[bold red]49[/bold red]",
    "[link=https://example.org]x[/link]",
)
ENGINES = {"jinja2", "mako", "string.Template", "chevron", "genshi"}
RUNS = {"eval", "exec", "compile", "__import__", "from_string"}


def test_two_modules_know_the_template_engine() -> None:
    users = {
        path
        for path in modules(*ROOMS, *BESIDE)
        for module, name in imports(path)
        if module.partition(".")[0] in ENGINES or f"{module}.{name}" in ENGINES
    }
    assert users == {"device_templates/render.py", "orchestrator/printing/html.py"}


def test_nothing_that_is_read_is_run() -> None:
    """Goal: no template, code or object is made of data. Method: names in the syntax trees."""
    found = {
        (path, node.id if isinstance(node, ast.Name) else node.attr)
        for path in modules(*ROOMS)
        for node in ast.walk(tree(path))
        if (isinstance(node, ast.Name) and node.id in RUNS)
        or (isinstance(node, ast.Attribute) and node.attr == "from_string")
    }
    assert found == set()
    loaders = {
        (path, module)
        for path in modules(*ROOMS)
        for module, _ in imports(path)
        if module.partition(".")[0] in ("pickle", "marshal", "shelve", "dill")
    }
    assert loaders == set()
    yamls = {
        ast.unparse(node.func)
        for path in modules(*ROOMS)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("yaml.")
    }
    assert not [name for name in yamls if re.fullmatch(r"yaml\.(unsafe_|full_)?load(_all)?", name)]


def test_the_environment_is_the_strict_one(tmp_path: Path) -> None:
    made = _environment(str(tmp_path))
    assert isinstance(made, ImmutableSandboxedEnvironment)
    assert made.undefined is StrictUndefined


def test_a_page_escapes_whatever_is_put_on_it() -> None:
    """Goal: no text becomes markup. Method: its environment, and the ways around it looked for."""
    made = _template().environment
    assert isinstance(made, ImmutableSandboxedEnvironment)
    assert made.undefined is StrictUndefined
    assert made.autoescape is True
    pages = [path for path in tracked() if path.startswith("orchestrator/printing/")]
    assert len(pages) > 1
    for path in pages:
        assert not re.search(r"Markup|autoescape (?!=)|\|\s*safe|__html__", source(path)), path


def test_every_template_is_a_file_of_the_repository() -> None:
    """Goal: no template on a path that settings or data could name. Method: how it is called."""
    folders = {
        ast.unparse(node.args[0])
        for path in modules("device_templates")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "render_lines"
    }
    assert folders == {"FOLDER"}
    names = {
        node.args[1].value
        for path in modules("device_templates")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "render_lines"
        and isinstance(node.args[1], ast.Constant)
    }
    kept = {path for path in tracked() if path.endswith(".j2")}
    printed = {path for path in kept if not path.startswith("device_templates/")}
    assert names == {path.rpartition("/")[2] for path in kept - printed}
    assert printed == {f"orchestrator/printing/{_template().name}"}


def test_text_of_people_stays_text(guarded: Guarded) -> None:
    """Goal: `{{7*7}}` is never 49. Method: as reason, ticket and file text; read back verbatim."""
    desk = guarded.desk
    reason = " ".join(TRICKS)
    change = desk.good(*tier("svc-1001", "fiber-500", "--reason", reason, "--ticket", "{{7*7}}"))
    change_id = re.findall(r"c-[0-9a-f]{16}", change.err)[0]
    shown = desk.good("change", "show", change_id)
    value = desk.good("change", "show", change_id, "--json")
    rows = "\n".join(row for table in desk.world()[0].values() for row in table)
    for trick in TRICKS:
        assert trick in rows or repr(trick)[1:-1] in rows
    assert "{{7*7}}" in shown.text + value.text
    for told in (change, shown):
        assert not re.search(r"(?<![\w.:-])49(?![\w.:-])", told.text.replace(reason, ""))
        assert "\x1b]8;" not in told.text  # no link was made of it


def test_no_field_of_an_inventory_takes_a_trick(guarded: Guarded) -> None:
    """Goal: every field that may reach a device or a NAS refuses it, and nothing is kept."""
    desk = guarded.desk
    good = yaml.safe_load((desk.folder / "inventory.yaml").read_text("utf-8"))
    service = next(s for s in good["services"] if s["id"] == "svc-1001")
    for trick in TRICKS:
        for number, attachment in enumerate(service["attachments"]):
            for field in attachment.keys() - {"device", "role"}:
                _refused_field(desk, good, ("attachments", number, field), trick)
        _refused_field(desk, good, ("login",), trick)


def _refused_field(desk: Desk, good: object, where: tuple[str | int, ...], trick: str) -> None:
    bad = yaml.safe_load(yaml.safe_dump(good))
    place = next(s for s in bad["services"] if s["id"] == "svc-1001")
    for name in where[:-1]:
        place = place[name]
    assert where[-1] in place
    place[where[-1]] = trick
    desk.write("bad.yaml", yaml.safe_dump(bad))
    refused(desk, ("inventory", "import", "bad.yaml"), 2, str(where[-1]))
