"""SmartAX OLTs (MA5600T, MA5800): traffic tables on a service-port, undone by inverse commands."""

from __future__ import annotations

from types import MappingProxyType

from device_templates.fields import Field
from device_templates.platform import Platform

from . import reading, writing

# What workflows.transports.netmiko needs to know; each text is a regular expression unless it is
# a command.
_OPTIONS = {
    "base": "huawei_smartax",  # netmiko's device type
    "prompt_pattern": r"[>#$]",  # accounts may land at `#`, which the base class does not expect
    "config_mode": True,  # lines are sent in configuration mode, after `enable`
    # blanks are named: `\s` takes line ends too, and a million empty lines then take a day
    "error_pattern": r"^[ \t]*(?:Failure:|Error:|% (?:Unknown|Parameter|Incomplete|Too many))",
    "busy": r"Failure: System is (?:busy|reading or writing flash)",
    "save": "save",  # a command; the prompt is back long before the configuration is kept
    "save_done": r"saved successfully",  # printed when it really is
    "save_timeout_s": 300,
    "drain_query": "display client",  # a command; lists who is logged in [K]
    "drain_row": r"^[ \t]*(?P<id>\d+)[ \t]+(?P<user>\S+)[ \t]+(?P<address>\S+)[ \t]+\S.*$",
    "drain_total": r"Total\s*:\s*(?P<total>\d+)",
}

PLATFORM = Platform(
    name=reading.PLATFORM_NAME,
    title="Huawei SmartAX OLT",
    mechanism="inverse",
    transport="netmiko",
    transport_options=MappingProxyType(_OPTIONS),
    fields=MappingProxyType(
        {
            "service_port": Field(
                kind="int", low=0, high=65_535, help="a service-port number like 1042"
            ),
            "port": Field(
                kind="text",
                pattern=r"[0-9]{1,2}/[0-9]{1,2}/[0-9]{1,2}",
                help="the PON port as frame/slot/port, such as 0/1/0",
                required=False,
            ),
            "ont": Field(kind="int", low=0, high=255, help="an ONT number", required=False),
        }
    ),
    read=reading.read,
    parse=reading.parse,
    target=writing.target,
    render=writing.render,
    owned=writing.owned,
    profile_lines=writing.profile_lines,
    profile_owned=writing.profile_owned,
    note="If we crash, the OLT keeps what it was told until recovery runs.",
)
