"""Transports are found by name, and their libraries are loaded when a wire is made."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from transport_rig import PASSWORD, Rig

from device_templates import platforms
from inventory import BadSettings, DeviceProblem, SecretRef
from workflows import transports
from workflows.transports import connect

HEAVY = ("napalm", "netmiko", "paramiko", "ncclient", "jnpr.junos", "pyrad", "pysnmp")
SHOW = "import sys, workflows.transports; print(*sorted(set(sys.modules) & set(sys.argv[1:])))"


def test_no_library_is_loaded_by_the_room() -> None:
    """Goal: commands that reach no device do not pay for the libraries."""
    told = subprocess.run(
        [sys.executable, "-c", SHOW, *HEAVY], check=True, capture_output=True, text=True
    )
    assert told.stdout.split() == []


@pytest.mark.parametrize("name", sorted(platforms()))
def test_every_platform_has_its_transport(start_bng: Callable[..., Rig], name: str) -> None:
    """Goal: each platform folder names a transport that makes a wire, not yet open."""
    wire = connect(start_bng().context(platform=name), platforms()[name])
    wire.close()


def test_transport_from_an_entry_point(
    start_bng: Callable[..., Rig], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: another package may bring a transport."""

    class Entry:
        def load(self) -> object:
            return type("Module", (), {"connect": staticmethod(lambda context, _kind: context)})

    rig = start_bng()
    monkeypatch.setattr(
        transports,
        "entry_points",
        lambda *, group, name: (Entry(),) if (group, name) == (transports.GROUP, "smoke") else (),
    )
    context = rig.context()
    assert connect(context, replace(rig.platform, transport="smoke")) is context


@pytest.mark.parametrize("name", ["carrier_pigeon", "../os", "", "hostkeys.x"])
def test_unknown_transport(start_bng: Callable[..., Rig], name: str) -> None:
    """Goal: a settings error that says where to add one; nothing but a plain name is imported."""
    rig = start_bng()
    with pytest.raises(BadSettings, match="no such transport"):
        connect(rig.context(), replace(rig.platform, transport=name))


@pytest.mark.parametrize("kind", ["bng", "olt"])
def test_secrets_stand_in_no_log(
    start_bng: Callable[..., Rig],
    start_olt: Callable[..., Rig],
    kind: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Goal: not even at the lowest level, with the right password or a wrong one."""
    caplog.set_level(logging.DEBUG)
    rig = {"bng": start_bng, "olt": start_olt}[kind]()
    wire = rig.open()
    with pytest.raises(DeviceProblem) as caught:
        rig.open(password=SecretRef(ref="test:another-secret"))
    assert caplog.records
    for text in (caplog.text, repr(wire), repr(rig.context()), str(caught.value)):
        assert PASSWORD not in text
        assert "another-secret" not in text
