"""The project's own files, as its rules look at them: what git tracks and what the code says."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("inventory", "device_templates", "billing_bridge", "workflows", "orchestrator")
BESIDE = ("lab", "benchmarks", "tools")  # in the repository, not in the wheel


@cache
def tracked() -> tuple[str, ...]:
    """Every file of the repository, by its path from the root."""
    done = subprocess.run(
        ["git", "ls-files", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(sorted(name for name in done.stdout.split("\0") if (ROOT / name).is_file()))


def modules(*folders: str) -> tuple[str, ...]:
    """The paths of all Python files below some folders."""
    return tuple(p for p in tracked() if p.endswith(".py") and p.partition("/")[0] in folders)


@cache
def source(path: str) -> str:
    """A file's text."""
    return (ROOT / path).read_text("utf-8")


@cache
def tree(path: str) -> ast.Module:
    """A module's syntax tree."""
    return ast.parse(source(path), path)


def dotted(path: str) -> str:
    """The name a file is imported by."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(path: str) -> Iterator[tuple[str, str]]:
    """Yield (module, name) of every import, relative ones made absolute; name "" = the module."""
    package = dotted(path) if path.endswith("/__init__.py") else dotted(path).rpartition(".")[0]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")
            kept = above[: len(above) - node.level + 1] if node.level else []
            module = ".".join([*kept, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)
