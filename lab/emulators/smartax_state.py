"""The configuration of an emulated SmartAX as a value: traffic tables and service-ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lab.emulators.base import Json

OFF = -1  # a traffic table that limits nothing; the device prints `off`
NO_TABLE = -1  # a direction of a service-port without a traffic table; printed as `-`
LOWEST_KBPS = 64
HIGHEST_KBPS = 10_240_000
HIGHEST_TABLE = 1023

NO_SUCH_TABLE = "Failure: The traffic table does not exist"
TABLE_EXISTS = "Failure: The traffic table exists already"
TABLE_IN_USE = "Failure: The traffic table is being used"
NAME_IN_USE = "Failure: The traffic table name has existed already"
NO_SUCH_PORT = "Failure: The service virtual port does not exist"
NO_PORTS = "Failure: No service virtual port can be operated"


class RefusedError(Exception):
    """The device refuses a well-formed command; the text is what it prints."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficTable:
    """One rate profile; rates in kbit/s (k = 1000), bursts in bytes; OFF means unlimited."""

    index: int
    name: str
    cir_kbps: int
    cbs_bytes: int
    pir_kbps: int
    pbs_bytes: int
    priority: int = 0
    policy: str = "local-setting"  # or tag-in-package


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One subscriber flow; `inbound` limits what comes from the subscriber (upstream)."""

    index: int
    vlan: int
    fsp: str  # frame/slot/port, e.g. 0/1/0
    ont: int
    gem: int
    flow_para: str  # user VLAN, or `untag`
    inbound: int = NO_TABLE
    outbound: int = NO_TABLE
    enabled: bool = True
    line_up: bool = True

    @property
    def up(self) -> bool:
        """What the STATE column says."""
        return self.enabled and self.line_up


def default_burst_bytes(rate_kbps: int) -> int:
    """The burst a SmartAX picks by itself: 32 x rate + 2000, as every plain row seen shows."""
    return OFF if rate_kbps == OFF else 32 * rate_kbps + 2000


def new_table(index: int, name: str, cir_kbps: int, pir_kbps: int) -> TrafficTable:
    """A table with default bursts and priority."""
    return TrafficTable(
        index=index,
        name=name or f"ip-traffic-table_{index}",
        cir_kbps=cir_kbps,
        cbs_bytes=default_burst_bytes(cir_kbps),
        pir_kbps=pir_kbps,
        pbs_bytes=default_burst_bytes(pir_kbps),
    )


# The table that every shelf is delivered with and that limits nothing.
FACTORY_TABLE = replace(new_table(6, "", OFF, OFF), policy="tag-in-package")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A whole configuration; never changed in place, so running and saved may be the same one."""

    tables: Mapping[int, TrafficTable] = field(default_factory=dict)
    ports: Mapping[int, ServicePort] = field(default_factory=dict)

    def table(self, index: int) -> TrafficTable:
        """The table of that index; raises RefusedError."""
        if index not in self.tables:
            raise RefusedError(NO_SUCH_TABLE)
        return self.tables[index]

    def table_named(self, name: str) -> TrafficTable:
        """The table of that name; raises RefusedError."""
        for table in self.tables.values():
            if table.name == name:
                return table
        raise RefusedError(NO_SUCH_TABLE)

    def port(self, index: int) -> ServicePort:
        """The service-port of that index; raises RefusedError."""
        if index not in self.ports:
            raise RefusedError(NO_SUCH_PORT)
        return self.ports[index]

    def table_used(self, index: int) -> bool:
        """True if any service-port is bound to the table."""
        return any(index in (port.inbound, port.outbound) for port in self.ports.values())

    def free_index(self) -> int:
        """The lowest unused table index."""
        return next(i for i in range(HIGHEST_TABLE + 1) if i not in self.tables)

    def with_table(self, table: TrafficTable, *, new: bool) -> Config:
        """Add (`new`) or change a table; raises RefusedError for a taken index or name."""
        if new and table.index in self.tables:
            raise RefusedError(TABLE_EXISTS)
        if not new:
            self.table(table.index)
        for other in self.tables.values():
            if other.name == table.name and other.index != table.index:
                raise RefusedError(NAME_IN_USE)
        return replace(self, tables={**self.tables, table.index: table})

    def without_table(self, index: int) -> Config:
        """Remove a table; raises RefusedError if it is absent or in use."""
        self.table(index)
        if self.table_used(index):
            raise RefusedError(TABLE_IN_USE)
        return replace(self, tables={i: t for i, t in self.tables.items() if i != index})

    def with_port(self, port: ServicePort) -> Config:
        """Add a service-port, or put it in the place of its former self; tables must exist."""
        for index in (port.inbound, port.outbound):
            if index != NO_TABLE:
                self.table(index)
        return replace(self, ports={**self.ports, port.index: port})

    def without_port(self, index: int) -> Config:
        """Remove a service-port; raises RefusedError if it is absent."""
        self.port(index)
        return replace(self, ports={i: p for i, p in self.ports.items() if i != index})


def seeded(options: Json) -> Config:
    """The configuration written in a fleet file.

    traffic_tables: [{index, name, cir_kbps, pir_kbps[, cbs_bytes, pbs_bytes, priority, policy]}];
    service_ports: [{index, vlan, fsp, ont, gem[, flow_para, inbound, outbound, enabled, line_up]}].
    Raises ValueError for an unknown or missing field and for what the device itself would refuse.
    """
    config = Config(tables={FACTORY_TABLE.index: FACTORY_TABLE})
    try:
        tables = {row["index"]: _seeded_table(row) for row in options.get("traffic_tables", ())}
        config = Config(tables={**config.tables, **tables})
        ports = {row["index"]: _seeded_port(row) for row in options.get("service_ports", ())}
    except (KeyError, TypeError) as exc:
        raise ValueError(f"seed of a SmartAX: {exc}") from None
    for port in ports.values():
        for index in (port.inbound, port.outbound):
            if index != NO_TABLE and index not in config.tables:
                raise ValueError(f"service-port {port.index}: no traffic table {index}")
    return replace(config, ports=ports)


def _seeded_table(row: Json) -> TrafficTable:
    plain = new_table(row["index"], row.get("name", ""), row["cir_kbps"], row["pir_kbps"])
    return replace(plain, **{key: row[key] for key in row if key != "name"})


def _seeded_port(row: Json) -> ServicePort:
    values = {"flow_para": row["vlan"], **row}
    return ServicePort(**{**values, "flow_para": str(values["flow_para"])})


def as_json(config: Config) -> Json:
    """The configuration as JSON, shaped like a seed; keys of both mappings are texts."""
    return {
        "traffic_tables": {str(i): _fields(t) for i, t in sorted(config.tables.items())},
        "service_ports": {str(i): _fields(p) for i, p in sorted(config.ports.items())},
    }


def _fields(row: TrafficTable | ServicePort) -> Json:
    return {name: getattr(row, name) for name in row.__slots__}
