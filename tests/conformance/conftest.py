"""The made-up platform, there for a test and forgotten after it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import device_templates
from device_templates import platforms

from .samples import ACME, drop_in


@pytest.fixture
def acme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder dropped in beside the shipped ones; nothing else is touched."""
    folder = tmp_path / "dropped"
    made = drop_in(folder)
    monkeypatch.setattr(device_templates, "__path__", [*device_templates.__path__, str(folder)])
    platforms.cache_clear()
    importlib.invalidate_caches()
    yield made
    platforms.cache_clear()
    for name in [name for name in sys.modules if name.startswith(f"device_templates.{ACME}")]:
        del sys.modules[name]
