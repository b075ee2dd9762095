"""What an emulated SmartAX prints: lists, blocks and configurations, in the shapes of captures.

The lists of service-ports and traffic tables, the configuration's sections and the factory table
follow public captures; the block of one service-port follows label lists only, and `display
client` is a guess of ours.
"""

from __future__ import annotations

from collections.abc import Iterable

from lab.emulators.smartax_state import (
    NO_PORTS,
    NO_TABLE,
    OFF,
    Config,
    RefusedError,
    ServicePort,
    TrafficTable,
)

VERSION = "MA5800V100R022"
_RULE = "  " + "-" * 77
_SHORT_POLICY = {"local-setting": "local-pri", "tag-in-package": "tag-pri"}
SECTIONS = ("global-config", "bbs-config")


def _rate(value: int) -> str:
    return "off" if value == OFF else str(value)


def _table_id(index: int) -> str:
    return "-" if index == NO_TABLE else str(index)


def table_list(tables: Iterable[TrafficTable]) -> str:
    """All traffic tables, without their names: the real list has no such column either."""
    rows = [
        f"  {t.index:<4} {_rate(t.cir_kbps):<9} {_rate(t.cbs_bytes):<10} {_rate(t.pir_kbps):<9}"
        f" {_rate(t.pbs_bytes):<10} {t.priority:<4} {'-':<11} {_SHORT_POLICY[t.policy]}"
        for t in tables
    ]
    head = (
        "  TID  CIR       CBS        PIR       PBS        Pri  Copy-policy Pri-Policy",
        "       (kbps)    (bytes)    (kbps)    (bytes)",
    )
    return "\n".join((_RULE, *head, _RULE, *rows, _RULE, f"  Total Num : {len(rows)}"))


def table_block(table: TrafficTable, *, used: bool, label: str) -> str:
    """One traffic table as label and value; `label` begins the first two: TD or Traffic Table."""
    rows = (
        (f"{label} Index", str(table.index)),
        (f"{label} Name", table.name),
        ("Priority", str(table.priority)),
        ("Copy Priority", "-"),
        ("Priority Policy", _SHORT_POLICY[table.policy]),
        ("CIR", _with_unit(table.cir_kbps, "kbps")),
        ("CBS", _with_unit(table.cbs_bytes, "bytes")),
        ("PIR", _with_unit(table.pir_kbps, "kbps")),
        ("PBS", _with_unit(table.pbs_bytes, "bytes")),
        ("Referenced Status", "used" if used else "not used"),
    )
    return "\n".join((_RULE, *_labelled(rows), _RULE))


def _with_unit(value: int, unit: str) -> str:
    return "off" if value == OFF else f"{value} {unit}"


def _labelled(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"  {label:<20} : {value}" for label, value in rows]


def port_list(config: Config, *, rx_is_inbound: bool) -> str:
    """All service-ports; raises RefusedError if there is none."""
    if not config.ports:
        raise RefusedError(NO_PORTS)
    head = (
        "  Switch-Oriented Flow List",
        _RULE,
        "   INDEX VLAN VLAN     PORT F/ S/ P VPI  VCI   FLOW  FLOW       RX   TX   STATE",
        "         ID   ATTR     TYPE                    TYPE  PARA",
        _RULE,
    )
    rows = [
        _port_row(port, rx_is_inbound=rx_is_inbound) for _, port in sorted(config.ports.items())
    ]
    up = sum(port.up for port in config.ports.values())
    total = len(config.ports)
    foot = (
        _RULE,
        f"   Total : {total}  (Up/Down :    {up}/{total - up})",
        "   Note  : F--Frame, S--Slot, P--Port,",
        "           VPI is the ONT and VCI the GEM port of an access by GPON",
    )
    return "\n".join((*head, *rows, *foot))


def _port_row(port: ServicePort, *, rx_is_inbound: bool) -> str:
    rx, tx = _columns(port, rx_is_inbound=rx_is_inbound)
    slot, _, number = port.fsp.rpartition("/")
    flow = "vlan" if port.flow_para.isdigit() else "-"
    return (
        f"   {port.index:>5} {port.vlan:>4} common   gpon {slot} /{number:<2} {port.ont:<4}"
        f" {port.gem:<5} {flow:<5} {port.flow_para:<10} {rx:<4} {tx:<4} {_state(port)}"
    )


def _columns(port: ServicePort, *, rx_is_inbound: bool) -> tuple[str, str]:
    inbound, outbound = _table_id(port.inbound), _table_id(port.outbound)
    return (inbound, outbound) if rx_is_inbound else (outbound, inbound)


def _state(port: ServicePort) -> str:
    return "up" if port.up else "down"


def port_block(config: Config, port: ServicePort, *, rx_is_inbound: bool) -> str:
    """One service-port as label and value; only here do table names stand beside directions."""
    rx, tx = _columns(port, rx_is_inbound=rx_is_inbound)
    slot, _, number = port.fsp.rpartition("/")
    rows = (
        ("Index", str(port.index)),
        ("VLAN ID", str(port.vlan)),
        ("VLAN attr", "common"),
        ("Port type", "gpon"),
        ("F/S/P", f"{slot} /{number}"),
        ("ONT ID", str(port.ont)),
        ("GEM port index", str(port.gem)),
        ("Flow type", "vlan" if port.flow_para.isdigit() else "-"),
        ("Flow para", port.flow_para),
        ("RX", rx),
        ("TX", tx),
        ("Inbound table name", _table_name(config, port.inbound)),
        ("Outbound table name", _table_name(config, port.outbound)),
        ("Admin status", "enable" if port.enabled else "disable"),
        ("State", _state(port)),
        ("Label", "-"),
        ("Tag transform", "translate"),
        ("Description", "-"),
    )
    return "\n".join((_RULE, *_labelled(rows), _RULE))


def _table_name(config: Config, index: int) -> str:
    return "-" if index == NO_TABLE else config.tables[index].name


def configuration(config: Config, only: str = "") -> str:
    """A configuration as lines that the device would take again; `only` one section of it."""
    lines = [f"[{VERSION}: 5011]", "#"]
    for section in SECTIONS:
        if only in ("", section):
            body = _table_lines(config) if section == "global-config" else _port_lines(config)
            lines += [f"[{section}]", f"  <{section}>", *body, "#"]
    return "\n".join((*lines, "return"))


def _table_lines(config: Config) -> list[str]:
    return [f" {_table_line(table)}" for _, table in sorted(config.tables.items())]


def _table_line(table: TrafficTable) -> str:
    rates = f"cir {table.cir_kbps} cbs {table.cbs_bytes} pir {table.pir_kbps}"
    rates = "cir off" if table.cir_kbps == OFF else f"{rates} pbs {table.pbs_bytes}"
    return (
        f'traffic table ip index {table.index} name "{table.name}" {rates}'
        f" priority {table.priority} priority-policy {table.policy}"
    )


def _port_lines(config: Config) -> list[str]:
    lines = []
    for _, port in sorted(config.ports.items()):
        lines.append(f" {_port_line(port)}")
        if not port.enabled:
            lines.append(f" service-port {port.index} adminstatus disable")
    return lines


def _port_line(port: ServicePort) -> str:
    user = port.flow_para if port.flow_para.isdigit() else "untagged"
    line = (
        f"service-port {port.index} vlan {port.vlan} gpon {port.fsp} ont {port.ont}"
        f" gemport {port.gem} multi-service user-vlan {user} tag-transform translate"
    )
    if port.inbound != NO_TABLE:
        line += f" inbound traffic-table index {port.inbound}"
    if port.outbound != NO_TABLE:
        line += f" outbound traffic-table index {port.outbound}"
    return line


def version(uptime: str) -> str:
    """What `display version` says; `uptime` is the text of it."""
    return "\n".join(
        (
            f"  VERSION : {VERSION}",
            "  PATCH   : SPH101",
            "  PRODUCT : MA5800-X7",
            "",
            f"  Uptime is {uptime}",
        )
    )


def clients(rows: Iterable[tuple[int, str, str, str]]) -> str:
    """Logged-in sessions as (id, user name, address, login time); the shape is our guess."""
    lines = [
        f"  {number:<6} {user:<20} {address:<16} {login}" for number, user, address, login in rows
    ]
    head = f"  {'ID':<6} {'User name':<20} {'Address':<16} Login time"
    return "\n".join((_RULE, head, _RULE, *lines, _RULE, f"  Total : {len(lines)}"))
