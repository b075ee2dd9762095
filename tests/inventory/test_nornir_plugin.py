"""Nornir gets hosts from the devices, and no secret with them."""

from __future__ import annotations

from inventory_rig import EXAMPLE, parse
from nornir import InitNornir

from inventory import SecretRef, nornir_inventory


def test_nornir_finds_the_plugin_and_builds_hosts_without_passwords() -> None:
    devices = parse(EXAMPLE).devices
    nornir = InitNornir(
        inventory={"plugin": "bandmaster", "options": {"devices": devices}},
        logging={"enabled": False},
    )
    hosts = nornir.inventory.hosts
    assert list(hosts) == ["bng-1", "bng-2", "olt-1"]
    host = hosts["bng-1"]
    assert (host.hostname, host.port, host.platform) == ("192.0.2.11", 830, "juniper_junos")
    assert host.password is None
    assert host.data["device"] == devices[0]
    assert "BNG1_PASSWORD" not in repr(host.dict())
    assert "BNG1_PASSWORD" not in str(host.data["device"].password)
    assert len(nornir.filter(site="HAM1", role="olt").inventory.hosts) == 1


def test_the_same_hosts_without_the_plugin() -> None:
    devices = parse(EXAMPLE).devices
    assert list(nornir_inventory(devices[1:]).hosts) == ["bng-2", "olt-1"]
    assert devices[0].password == SecretRef(ref="env:BNG1_PASSWORD")
