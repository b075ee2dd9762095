"""The service-port commands of an emulated SmartAX."""

from __future__ import annotations

from dataclasses import replace

from lab.emulators import smartax_text as text
from lab.emulators.smartax_device import Device, Shell
from lab.emulators.smartax_grammar import Args
from lab.emulators.smartax_state import HIGHEST_TABLE, RefusedError, ServicePort

HIGHEST_PORT = 65_535
HIGHEST_VLAN = 4093
EXISTS = (
    "Failure: Service virtual port has existed already."
    " Conflicted service virtual port index: {index}"
)


def display(device: Device, _shell: Shell, args: Args) -> str:
    """`display service-port all | N`."""
    rx_is_inbound = device.knobs.rx_is_inbound
    if args.maybe("all"):
        args.end()
        return text.port_list(device.running, rx_is_inbound=rx_is_inbound)
    port = device.running.port(args.number(0, HIGHEST_PORT))
    args.end()
    return text.port_block(device.running, port, rx_is_inbound=rx_is_inbound)


def change(device: Device, _shell: Shell, args: Args) -> str:
    """`service-port N vlan ... | adminstatus ... | [inbound ...] [outbound ...]`."""
    index = args.number(0, HIGHEST_PORT)
    if args.maybe("vlan"):
        port = _new(device, index, args)
    else:
        port = device.running.port(index)
        if args.maybe("adminstatus"):
            port = replace(port, enabled=args.word("enable", "disable") == "enable")
        else:
            port = _bound(device, port, args)
    args.end()
    device.change(device.running.with_port(port))
    return ""


def remove(device: Device, _shell: Shell, args: Args) -> str:
    """`undo service-port N`."""
    index = args.number(0, HIGHEST_PORT)
    args.end()
    device.change(device.running.without_port(index))
    return ""


def _new(device: Device, index: int, args: Args) -> ServicePort:
    vlan = args.number(1, HIGHEST_VLAN)
    args.word("gpon")
    fsp = args.fsp()
    args.word("ont")
    ont = args.number(0, 127)
    args.word("gemport")
    gem = args.number(0, 4095)
    args.word("multi-service")
    args.word("user-vlan")
    untagged = args.maybe("untagged")
    flow_para = "untag" if untagged else str(args.number(1, HIGHEST_VLAN))
    if args.maybe("tag-transform"):
        args.word("translate")
    port = ServicePort(index=index, vlan=vlan, fsp=fsp, ont=ont, gem=gem, flow_para=flow_para)
    if args.more:
        port = _bound(device, port, args)
    args.end()
    if index in device.running.ports:
        raise RefusedError(EXISTS.format(index=index))
    return port


def _bound(device: Device, port: ServicePort, args: Args) -> ServicePort:
    """The port with one or both directions bound as the rest of the line says."""
    if args.word("inbound", "outbound") == "inbound":
        port = replace(port, inbound=_table(device, args))
        if args.maybe("outbound"):
            port = replace(port, outbound=_table(device, args))
        return port
    port = replace(port, outbound=_table(device, args))
    if args.maybe("inbound"):
        port = replace(port, inbound=_table(device, args))
    return port


def _table(device: Device, args: Args) -> int:
    args.word("traffic-table")
    if args.word("index", "name") == "index":
        return device.running.table(args.number(0, HIGHEST_TABLE)).index
    return device.running.table_named(args.name()).index
