"""S12: SQL is never made of strings, but for a few constants of our own that are named here."""

from __future__ import annotations

import ast
import json

import pytest

from tests.tree import ROOMS, modules, tree

from .conftest import Guarded

TAKES_SQL = {
    "text",
    "exec_driver_sql",
    "execute",
    "executemany",
    "executescript",
    "literal_column",
    "DDL",
}
MAKES_TEXT = {"format", "join", "replace", "format_map"}
# (file, how what is given as SQL begins): why no value from outside can be in it
ALLOWED = {
    ("orchestrator/database.py", "_SQLITE_NOW"): "a constant: the clock",
    ("orchestrator/database.py", "f'PRAGMA {pragma}'"): "PRAGMA takes no parameter; constants",
    ("orchestrator/database.py", "f\"SELECT set_config('lock_time"): "our own limits, integers",
    ("orchestrator/migrate.py", "f'SELECT pg_advisory_xact_lock"): "a constant number of ours",
    ("orchestrator/migrations/versions/0003_ledger.py", "statement"): "the ledger's own guards",
    ("orchestrator/migrations/versions/0008_invoices.py", "statement"): "the invoices' guards",
    ("orchestrator/migrations/versions/0013_shared_views.py", "statement"): "views, constants",
    (
        "orchestrator/migrations/versions/0015_price_override.py",
        "statement",
    ): "the table's own text",
    ("billing_bridge/insert.py", "_INSERT.format(', '.join('?' *"): "our columns, placeholders",
    ("billing_bridge/insert.py", "_INSERT.format(', '.join(('%s'"): "our columns, placeholders",
    ("billing_bridge/bulk.py", "statement"): "our tables' names and columns, placeholders",
    ("billing_bridge/issue.py", "_FINAL"): "names of parameters, after our columns",
    ("orchestrator/migrations/versions/0005_roles.py", 'f"DO $$ BEGIN\\n  IF EXISTS (SE'): "roles",
}
SHOWN = 30


def _made_of_strings(node: ast.AST) -> bool:
    """Whether an expression puts a text together at run time."""
    if isinstance(node, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return any(map(_is_text, ast.walk(node)))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in MAKES_TEXT and _is_text(node.func.value)
    return False


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (
        isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


def _bound(module: ast.Module) -> dict[str, list[ast.AST]]:
    """What each name of a module is ever given."""
    found: dict[str, list[ast.AST]] = {}
    for node in ast.walk(module):
        pairs: list[tuple[ast.AST, ast.AST | None]] = []
        if isinstance(node, ast.Assign):
            pairs = [(target, node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign | ast.AugAssign | ast.NamedExpr):
            pairs = [(node.target, node.value)]
        elif isinstance(node, ast.For):
            pairs = [(node.target, node.iter)]
        for target, value in pairs:
            if isinstance(target, ast.Name) and value is not None:
                found.setdefault(target.id, []).append(value)
    return found


def _suspects(path: str, module: ast.Module) -> set[tuple[str, str]]:
    """Every argument taken for SQL that is, or may come from, a text put together."""
    bound = _bound(module)
    found: set[tuple[str, str]] = set()
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        name = ast.unparse(node.func).rpartition(".")[2]
        if name not in TAKES_SQL or _is_a_reader(node.func):
            continue
        given = node.args[0]
        sources: list[ast.AST] = [given]
        names = {part.id for part in ast.walk(given) if isinstance(part, ast.Name)}
        if isinstance(given, ast.Name | ast.Subscript):
            sources += [value for name in names for value in bound.get(name, [])]
        sources = [source for source in sources if not _is_looked_at_itself(source)]
        plain = name == "exec_driver_sql" and not _is_text(given)
        if plain or any(_made_of_strings(p) for source in sources for p in ast.walk(source)):
            found.add((path, ast.unparse(given)[:SHOWN]))
    return found


def _is_looked_at_itself(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in TAKES_SQL


def _is_a_reader(function: ast.expr) -> bool:
    """Whether it is `reader.text("field")`, which reads an inventory file's field."""
    owner = ast.unparse(function).rpartition(".")[0]
    return owner in ("reader", "self", "item") and isinstance(function, ast.Attribute)


def test_no_sql_is_made_of_strings() -> None:
    found = {suspect for path in modules(*ROOMS) for suspect in _suspects(path, tree(path))}
    assert found == ALLOWED.keys()


@pytest.mark.parametrize(
    "code",
    [
        'session.execute(text(f"SELECT {x}"))',
        'session.execute(text("SELECT " + x))',
        'session.execute(sa.text("SELECT %s" % x))',
        'session.execute(text("SELECT {}".format(x)))',
        'session.execute(text(" OR ".join(x)))',
        'cursor.execute(f"SELECT {x}", ())',
        'query = "SELECT " + x\ncursor.execute(query)',
        'query = "SELECT 1"\nquery += f" WHERE {x}"\ncursor.execute(query)',
        'QUERIES = {1: f"SELECT {x}"}\ncursor.execute(QUERIES[1])',
        "connection.exec_driver_sql(anything)",
        'order_by(literal_column(f"{x}"))',
    ],
)
def test_the_look_finds_what_it_looks_for(code: str) -> None:
    assert len(_suspects("x.py", ast.parse(code))) == 1


@pytest.mark.parametrize(
    "code",
    [
        'session.execute(text("SELECT 1"))',
        'session.execute(text("SELECT :x"), {"x": f"{y}"})',
        "session.execute(select(A).where(A.x == y))",
        'QUERY = text("SELECT 1")\nsession.execute(QUERY)',
        'reader.text(f"{x}")',
    ],
)
def test_the_look_leaves_bound_values_alone(code: str) -> None:
    assert _suspects("x.py", ast.parse(code)) == set()


INJECTIONS = (
    "'",
    "''",
    '"',
    "' OR '1'='1",
    "' OR 1=1 --",
    "') OR ('1'='1",
    "1; DROP TABLE service --",
    "'; DELETE FROM billing_event; --",
    "' UNION SELECT name, value, 1, 1 FROM radcheck --",
    "1 AND (SELECT 1 FROM (SELECT(SLEEP(9)))x)",
    "'||(SELECT pg_sleep(9))||'",
    "'; SELECT pg_sleep(9) --",
    "$$; SELECT 1; $$",
    "\\'; SELECT 1 --",
    "%' ESCAPE '%",
    "_",
    "%",
    "\\",
    "x' /*! OR 1=1 */ #",
    "-1' UNION ALL SELECT NULL,NULL,NULL--",
    "svc-1001' AND '1'='1",
    "svc-1001') AND randomblob(99999999)--",
    "{{7*7}}",
    ":x %(x)s ?",
    "\x1b\x01\x7f",  # a NUL cannot be in an argument
)
ASKS = (
    ("find", "{}", "--json"),
    ("subscriber", "show", "{}", "--json"),
    ("device", "show", "{}", "--json"),
    ("change", "show", "{}", "--json"),
    ("service", "tier", "{}", "fiber-500", "--yes"),
    ("service", "tier", "svc-1001", "{}", "--yes"),
)


def test_injections_change_no_result(guarded: Guarded) -> None:
    """Goal: 0 changes of result. Method: each answers as a name that does not exist, and no more.

    A wildcard of LIKE stands for itself; the world is the same afterwards.
    """
    desk = guarded.desk
    before = desk.world()
    nobody = {ask: desk.run(*(part.format("no-such-name") for part in ask)) for ask in ASKS}
    assert json.loads(nobody[ASKS[0]].out) == []
    for injection in INJECTIONS:
        for ask in ASKS:
            words = tuple(injection if part == "{}" else part for part in ask)
            told = desk.run(*words)
            assert told.code in (nobody[ask].code, 2), (words, told.text)
            assert "bug in bandmaster" not in told.text, (words, told.text)
            assert guarded.leaks(told.text) == []
            if ask[0] == "find":
                found = json.loads(told.out or "[]")
                assert all(_holds(row, injection) for row in found), (words, told.out)
            else:
                assert told.out in ("", nobody[ask].out), words
    assert desk.world() == before


def _holds(row: object, text: str) -> bool:
    """Whether what was found really has the text in it."""
    return text.lower() in json.dumps(row, ensure_ascii=False).lower()


def test_rows_are_ordered_by_columns() -> None:
    """Goal: no ORDER BY of somebody's. Method: what it is given is a column, or a constant."""
    checked = 0
    for path in modules(*ROOMS):
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in ("order_by", "group_by"):
                checked += 1
                for given in node.args:
                    assert not _made_of_strings(given), (path, ast.unparse(node))
                    assert "text(" not in ast.unparse(given), (path, ast.unparse(node))
    assert checked > 5
