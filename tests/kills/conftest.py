"""The fields and rigs of the orchestrator's tests, for processes that are stopped and killed."""

from __future__ import annotations

from tests.orchestrator.conftest import hasty_rig, start_field, start_rig

__all__ = ["hasty_rig", "start_field", "start_rig"]
