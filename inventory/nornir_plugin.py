"""Nornir's view of the devices: hosts without passwords, found under the plugin's name."""

from __future__ import annotations

from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory
from nornir.core.plugins.inventory import InventoryPluginRegister

from .device import Device

PLUGIN = "bandmaster"


def nornir_inventory(devices: tuple[Device, ...]) -> Inventory:
    """Return a Nornir inventory with one host per device, in the order given.

    `host.data["device"]` is the Device. A host never holds a password: secrets are resolved when
    a wire is opened (decisions.md D14), and what Nornir prints of a host cannot give one away.
    """
    defaults = Defaults()
    hosts = Hosts()
    for device in devices:
        hosts[device.name] = Host(
            name=device.name,
            hostname=device.host,
            port=device.port,
            username=device.username,
            platform=device.platform,
            data={"device": device, "role": device.role, "site": device.site},
            defaults=defaults,
        )
    return Inventory(hosts=hosts, groups=Groups(), defaults=defaults)


class BandmasterInventory:
    """The inventory plugin `bandmaster`; its one option is `devices`, a tuple of Device."""

    def __init__(self, devices: tuple[Device, ...]) -> None:
        self._devices = devices

    def load(self) -> Inventory:
        """Return the inventory (Nornir's InventoryPlugin)."""
        return nornir_inventory(self._devices)


InventoryPluginRegister.register(PLUGIN, BandmasterInventory)
