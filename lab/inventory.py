"""The lab as an inventory that bandmaster imports: what is sold, the BNG, where secrets are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lab.topology import Topology

Json = dict[str, Any]
FILE = "bandmaster-inventory.yaml"


def catalogue(topology: Topology) -> Path:
    """The file beside the topology that says what is sold: `isp.bandmaster.yml` for `isp`."""
    return topology.path.with_name(f"{topology.name}.bandmaster.yml")


def write_inventory(topology: Topology, facts: Json) -> Path | None:
    """Write the inventory of a lab that is up, from lab.json's facts; None without a catalogue.

    Secrets stay in their 0600 files: the inventory names the files.
    """
    source = catalogue(topology)
    if not source.exists():
        return None
    # everything stays text, as the importer reads it: a date is no instant, "10" is no number
    document: Json = yaml.load(source.read_text(encoding="utf-8"), yaml.BaseLoader)  # noqa: S506
    document["devices"] = [_bng(topology.node_running("nas").name, facts)]
    passwords = _passwords(facts)
    for service in document["services"]:
        if service.get("login") in passwords:
            service["password"] = passwords[service["login"]]
    path = Path(facts["state_dir"], FILE)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return path


def advice(path: Path, facts: Json) -> str:
    """What to type to run bandmaster on this lab, one command a line."""
    roles = facts["nodes"]["db"]["servers"]["postgres"]["roles"]
    lines = (
        f'BANDMASTER_DATABASE_URL="$(cat {roles["migrate"]["url_file"]})" bandmaster db upgrade',
        f'export BANDMASTER_DATABASE_URL="$(cat {roles["app"]["url_file"]})"',
        f"bandmaster inventory import {path}",
        "bandmaster device enroll-key bng",
    )
    return "\n".join(f"  {line}" for line in lines)


def _bng(name: str, facts: Json) -> Json:
    servers = facts["nodes"][name]["servers"]
    ssh, snmp, nas = servers["sshd"], servers["snmpd"], servers["nas"]
    return {
        "name": name,
        "role": "bng",
        "platform": "linux_tc",
        "host": ssh["address"],
        "port": ssh["port"],
        "site": "lab",
        "username": ssh["username"],
        "key_file": ssh["key_file"],
        "snmp": {
            "port": snmp["port"],
            "user": snmp["user"],
            "auth": f"file:{snmp['auth_passphrase_file']}",
            "priv": f"file:{snmp['priv_passphrase_file']}",
        },
        "coa": {"port": nas["coa_port"], "secret": f"file:{nas['coa_secret_file']}"},
    }


def _passwords(facts: Json) -> dict[str, str]:
    """References to the subscribers' passwords, by login."""
    return {
        line["login"]: f"file:{line['password_file']}"
        for node in facts["nodes"].values()
        for line in node["servers"].get("nas", {}).get("lines", ())
    }
