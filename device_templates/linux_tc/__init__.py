"""Linux as a BNG: an HTB class a direction, with a dead man's switch on the box."""

from __future__ import annotations

from types import MappingProxyType

from device_templates.fields import Field
from device_templates.platform import Objects, Platform, ReplyAttribute
from inventory import Rate

from . import reading, writing
from .dead_man import dead_man


def _rate(rate: Rate) -> tuple[ReplyAttribute, ...]:
    """accel-ppp's reading of Filter-Id: download first, kbit/s."""
    value = f"{rate.down_kbps}/{rate.up_kbps}"
    return (ReplyAttribute(name="Filter-Id", op=":=", value=value),)


def _radius_reply(rate: Rate, suspended: bool) -> tuple[ReplyAttribute, ...]:  # noqa: ARG001, FBT001
    return _rate(rate)


def _coa(before: Rate, after: Rate, suspended: bool) -> tuple[ReplyAttribute, ...]:  # noqa: ARG001, FBT001
    return _rate(after)


def _snmp_interface(objects: Objects) -> str:
    return str(objects["interface"])


PLATFORM = Platform(
    name=reading.PLATFORM_NAME,
    title="Linux BNG with HTB",
    mechanism="dead_man",
    transport="netmiko",
    transport_options=MappingProxyType({"base": "linux"}),
    fields=MappingProxyType(
        {
            "interface": Field(
                kind="text",
                # with `ifb-` before it, it must fit the kernel's 15 characters
                pattern=r"(?!ifb-)[a-z][a-z0-9.-]{0,10}",
                help="the line's own interface, at most 11 characters, such as sub1",
            ),
            "class_minor": Field(
                kind="text",
                pattern=r"[1-9a-f][0-9a-f]{0,3}",
                help="the class as tc prints it after `1:` (hexadecimal), such as 10",
            ),
        }
    ),
    read=reading.read,
    parse=reading.parse,
    target=writing.target,
    render=writing.render,
    owned=writing.owned,
    profile_lines=writing.profile_lines,
    profile_owned=writing.profile_owned,
    save_lines=writing.save_lines,
    dead_man=dead_man(),
    radius_reply=_radius_reply,
    coa=_coa,
    session_read=reading.session_read,
    session_parse=reading.session_parse,
    snmp_interface=_snmp_interface,
    note="If we crash, a job on the box restores the old rates (a reboot ends the job).",
)
