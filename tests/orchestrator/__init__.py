"""The orchestrator, on real stores and real wires, before emulated devices."""

import pytest

# helpers that assert say what they compared, as tests do
pytest.register_assert_rewrite(
    "tests.orchestrator.cuts",
    "tests.orchestrator.field",
    "tests.orchestrator.moments",
    "tests.orchestrator.rig",
)
