"""The traffic table commands of an emulated SmartAX."""

from __future__ import annotations

from dataclasses import dataclass, replace

from lab.emulators import smartax_text as text
from lab.emulators.smartax_device import Device, Shell
from lab.emulators.smartax_grammar import Args
from lab.emulators.smartax_state import (
    HIGHEST_KBPS,
    HIGHEST_TABLE,
    LOWEST_KBPS,
    OFF,
    RefusedError,
    TrafficTable,
    default_burst_bytes,
    new_table,
)

PIR_BELOW_CIR = "Failure: The PIR must not be less than the CIR"
HIGHEST_BURST = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rates:
    cir_kbps: int
    cbs_bytes: int
    pir_kbps: int
    pbs_bytes: int


def display(device: Device, _shell: Shell, args: Args) -> str:
    """`display traffic table ip from-index N | index N | name X`."""
    config = device.running
    how = args.word("from-index", "index", "name")
    if how == "from-index":
        first = args.number(0, HIGHEST_TABLE)
        args.end()
        return text.table_list(t for i, t in sorted(config.tables.items()) if i >= first)
    if how == "index":
        table = config.table(args.number(0, HIGHEST_TABLE))
    else:
        table = config.table_named(args.name())
    args.end()
    return _block(device, table)


def create(device: Device, _shell: Shell, args: Args) -> str:
    """`traffic table ip [index N] [name S] cir K [cbs B] pir K [pbs B] priority P ...`.

    Without an index the lowest free one is taken; `cir off` limits nothing.
    """
    index = args.number(0, HIGHEST_TABLE) if args.maybe("index") else device.running.free_index()
    name = args.name() if args.maybe("name") else ""
    args.word("cir")
    rates = _rates(device, args)
    args.word("priority")
    priority = args.number(0, 7)
    args.word("priority-policy")
    policy = args.word("local-setting", "tag-in-package")
    args.end()
    plain = replace(
        new_table(index, name, rates.cir_kbps, rates.pir_kbps),
        cbs_bytes=rates.cbs_bytes,
        pbs_bytes=rates.pbs_bytes,
    )
    table = replace(plain, priority=priority, policy=policy)
    device.change(device.running.with_table(table, new=True))
    return "  Create traffic descriptor record successfully\n" + _block(device, table)


def modify(device: Device, _shell: Shell, args: Args) -> str:
    """`traffic table ip modify index N [rename S] [cir K [cbs B] pir K [pbs B]]`."""
    args.word("index")
    table = device.running.table(args.number(0, HIGHEST_TABLE))
    if args.maybe("rename"):
        table = replace(table, name=args.name())
    if args.maybe("cir"):
        rates = _rates(device, args)
        table = replace(
            table,
            cir_kbps=rates.cir_kbps,
            cbs_bytes=rates.cbs_bytes,
            pir_kbps=rates.pir_kbps,
            pbs_bytes=rates.pbs_bytes,
        )
    args.end()
    device.change(device.running.with_table(table, new=False))
    return ""


def remove(device: Device, _shell: Shell, args: Args) -> str:
    """`undo traffic table ip index N`; refused while a service-port is bound to it."""
    args.word("index")
    index = args.number(0, HIGHEST_TABLE)
    args.end()
    device.change(device.running.without_table(index))
    return ""


def _rates(device: Device, args: Args) -> _Rates:
    if args.maybe("off"):
        return _Rates(cir_kbps=OFF, cbs_bytes=OFF, pir_kbps=OFF, pbs_bytes=OFF)
    cir_kbps, cbs_bytes = _rate(device, args), _burst(args, "cbs")
    args.word("pir")
    pir_kbps, pbs_bytes = _rate(device, args), _burst(args, "pbs")
    if pir_kbps < cir_kbps:
        raise RefusedError(PIR_BELOW_CIR)
    return _Rates(
        cir_kbps=cir_kbps,
        cbs_bytes=cbs_bytes or default_burst_bytes(cir_kbps),
        pir_kbps=pir_kbps,
        pbs_bytes=pbs_bytes or default_burst_bytes(pir_kbps),
    )


def _rate(device: Device, args: Args) -> int:
    asked_kbps = args.number(LOWEST_KBPS, HIGHEST_KBPS)
    step_kbps = device.knobs.granularity_kbps or 1
    return asked_kbps // step_kbps * step_kbps


def _burst(args: Args, word: str) -> int:
    return args.number(2000, HIGHEST_BURST) if args.maybe(word) else 0


def _block(device: Device, table: TrafficTable) -> str:
    used = device.running.table_used(table.index)
    return text.table_block(table, used=used, label=device.knobs.labels)
