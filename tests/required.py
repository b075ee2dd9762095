"""What a test needs of the machine: missing, it is skipped with the reason; in CI it fails."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def missing(reason: str) -> NoReturn:
    """Skip, or fail where BANDMASTER_REQUIRE_LAB says that nothing may be left out."""
    if os.environ.get("BANDMASTER_REQUIRE_LAB"):
        pytest.fail(f"required here, and cannot run: {reason}")
    pytest.skip(reason)
