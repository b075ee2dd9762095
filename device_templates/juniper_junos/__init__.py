"""Junos as a BNG: a policer per direction on a subscriber's unit, under confirmed commit."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

from device_templates.fields import Field
from device_templates.platform import Database, Objects, Platform, Reading

from . import radius, writing
from . import reading as readback

_CONFIG = "config:committed"
_POLICERS = "rpc:get-interface-policer-information"


def _read(database: Database, objects: tuple[Objects, ...]) -> tuple[str, ...]:  # noqa: ARG001
    """Both databases are the committed one: Junos loads at boot what was confirmed last."""
    return (_CONFIG, _POLICERS) if database == "running" else (_CONFIG,)


def _parse(
    database: Database,  # noqa: ARG001 - the number of replies says it
    objects: tuple[Objects, ...],
    replies: tuple[str, ...],
) -> Reading:
    return readback.parse(objects, replies)


def _snmp_interface(objects: Objects) -> str:
    return f"{objects['interface']}.{objects['unit']}"


PLATFORM = Platform(
    name=readback.PLATFORM_NAME,
    title="Juniper Junos BNG",
    mechanism="native_confirm",
    transport="napalm",
    transport_options=MappingProxyType(
        {
            "driver": "junos",
            # a warning is no refusal (RFC 6241 4.3): what was done is read back. A delete that
            # finds nothing is one, and it is what makes a line absolute
            "optional_args": MappingProxyType({"ignore_warning": True}),
        }
    ),
    fields=MappingProxyType(
        {
            "interface": Field(
                kind="text",
                pattern=r"(?:ge|xe|et)-[0-9]{1,3}/[0-9]{1,3}/[0-9]{1,3}(?::[0-9]{1,2})?"
                r"|(?:ae|ps)[0-9]{1,4}",
                help="a Junos interface such as ge-0/0/1, xe-0/1/0:2 or ae12",
            ),
            "unit": Field(kind="int", low=0, high=1_073_741_823, help="a unit number like 1042"),
        }
    ),
    read=_read,
    parse=_parse,
    target=writing.target,
    render=writing.render,
    owned=writing.owned,
    profile_lines=writing.profile_lines,
    profile_owned=writing.profile_owned,
    radius_reply=radius.radius_reply,
    coa=radius.coa,
    session_read=radius.session_read,
    session_parse=radius.session_parse,
    session_list=radius.SESSION_LIST,
    snmp_interface=_snmp_interface,
    dictionary=str(Path(__file__).parent / "dictionary"),
    note="If we crash, the router goes back by itself when its revert timer ends.",
)
