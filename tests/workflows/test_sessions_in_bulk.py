"""Many logins are looked up in the one list of all sessions, and still found one by one."""

from __future__ import annotations

from pathlib import Path

import pytest

from inventory import Device, DeviceProblem, SecretRef
from lab.emulators.fleet import Fleet
from lab.small_isp import SmallIsp
from tests.conftest import StartFleet
from workflows import Crew, CrewSettings, enroll, scan

LOGINS = 12


@pytest.fixture
def isp(subnet: str) -> SmallIsp:
    """A small ISP with more subscribers than are asked for one by one."""
    return SmallIsp(subnet=subnet, services=LOGINS, olts=1)


def crew_of(isp: SmallIsp, folder: Path) -> Crew:
    spec = isp.specs()[0]
    known_hosts = str(folder / "known_hosts")
    enroll(known_hosts, spec.address, spec.port, scan(spec.address, spec.port))
    device = Device(
        name=spec.name,
        role="bng",
        platform="juniper_junos",
        host=spec.address,
        port=spec.port,
        site="fra",
        username=spec.username,
        password=SecretRef(ref="env:UNUSED"),
    )
    settings = CrewSettings(resolve=lambda _ref: spec.password, known_hosts=known_hosts)
    return Crew((device,), settings)


def asked(fleet: Fleet, isp: SmallIsp) -> int:
    entries = fleet.control(isp.bng, "log")["entries"]
    return sum(entry["what"] == "get-subscribers" for entry in entries)


def logins(isp: SmallIsp) -> tuple[str, ...]:
    return tuple(f"user{name.rpartition('-')[2]}@isp" for name in isp.ids())


def test_one_list_shows_the_same_as_a_query_per_login(
    isp: SmallIsp, tmp_path: Path, start_fleet: StartFleet
) -> None:
    fleet = start_fleet(*isp.specs())
    wanted = (*logins(isp), "nobody@isp")
    with crew_of(isp, tmp_path) as crew:
        many = crew.sessions({isp.bng: wanted})[isp.bng]
        assert asked(fleet, isp) == 1
        assert not isinstance(many, DeviceProblem)
        for login in wanted:
            assert crew.sessions({isp.bng: (login,)})[isp.bng] == {login: many[login]}
    assert [len(many[login]) for login in wanted] == [1] * LOGINS + [0]


def test_a_session_that_is_not_understood_hides_no_other(
    isp: SmallIsp, tmp_path: Path, start_fleet: StartFleet
) -> None:
    """Somebody's session without an accounting id spoils the list, not what is ours."""
    fleet = start_fleet(*isp.specs())
    fleet.control(isp.bng, "session_open", user="odd@isp", acct_session_id="")
    with crew_of(isp, tmp_path) as crew:
        many = crew.sessions({isp.bng: logins(isp)})[isp.bng]
    assert not isinstance(many, DeviceProblem)
    assert [len(many[login]) for login in logins(isp)] == [1] * LOGINS
    assert asked(fleet, isp) == 1 + LOGINS
