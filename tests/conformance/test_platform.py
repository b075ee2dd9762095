"""Every platform folder passes the same suite; platform N+1 changes a tier as it is dropped in."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import Engine

import device_templates
from device_templates import (
    Platform,
    Section,
    gate,
    gate_profiles,
    platform,
    platforms,
    section_rate,
    typed_objects,
)
from inventory import Rate, Refused, Unreadable
from lab.emulators.base import DeviceSpec, Json
from lab.small_isp import SmallIsp
from orchestrator.database import make_engine
from tests.conftest import StartFleet
from tests.desk import open_desk, tier
from tests.device_templates.template_models import read
from tests.tree import ROOMS, source, tracked

from .samples import ACME, SAMPLES, Sample

OLD = Rate(down_kbps=100_000, up_kbps=20_000)
NEW = Rate(down_kbps=500_000, up_kbps=100_000)
SLOW = Rate(down_kbps=1_000, up_kbps=1_000)
# every way a service goes, there and back
WAYS = [
    ("active", OLD),
    ("active", NEW),
    ("suspended", SLOW),
    ("active", NEW),
    ("terminated", NEW),
    ("active", OLD),
]
GARBAGE = ("", "\n", "\x00", "<a", "% Unknown command", "Failure: busy", "1" * 10_000, "end\n")


@pytest.fixture(params=sorted(SAMPLES))
def found(request: pytest.FixtureRequest) -> Platform:
    """Each platform, the one that was dropped in last week included."""
    if not SAMPLES[request.param].shipped:
        request.getfixturevalue("acme")
    return platform(request.param)


@pytest.fixture
def sample(found: Platform) -> Sample:
    """The platform's sample."""
    return SAMPLES[found.name]


def _folder(found: Platform) -> Path:
    return Path(inspect.getfile(found.render)).parent


def test_every_shipped_platform_has_a_sample() -> None:
    assert set(platforms()) == {name for name, sample in SAMPLES.items() if sample.shipped}


def test_a_folder_holds_what_a_reader_needs(found: Platform) -> None:
    """Goal: a platform is one folder. Method: its files, its words, and no other platform's."""
    folder = _folder(found)
    assert folder.name == found.name
    assert (folder / "golden" / "README.md").is_file()
    told = (folder / "golden" / "README.md").read_text("utf-8")
    examples = sorted(path.name for path in (folder / "golden").glob("*.txt"))
    assert examples
    assert [name for name in examples if f"`{name}`" not in told] == []
    assert list(folder.glob("*.j2"))
    assert found.title
    assert found.note
    for path in folder.rglob("*.py"):
        module = ast.parse(path.read_text("utf-8"))
        assert ast.get_docstring(module)
        imported = {
            name
            for node in ast.walk(module)
            if isinstance(node, ast.ImportFrom | ast.Import)
            for name in (getattr(node, "module", None) or "", *(a.name for a in node.names))
        }
        assert not imported & (set(SAMPLES) - {found.name})


def test_a_line_is_typed_once_and_stays_as_it_is(found: Platform, sample: Sample) -> None:
    for objects in (sample.objects, *sample.others, sample.golden):
        typed = typed_objects(found, "S-1", objects)
        assert typed_objects(found, "S-1", typed) == typed
        as_text = {name: str(value) for name, value in objects.items()}
        assert typed_objects(found, "S-1", as_text) == typed  # a CSV knows text alone


def test_every_way_there_and_back_reads_as_meant(found: Platform, sample: Sample) -> None:
    """Goal: render and parse are each other's mirror, on running and startup, for every state."""
    model = sample.model()
    rates = tuple({rate for _, rate in WAYS})
    known = read(found, model, (sample.objects,)).profiles
    model.send(gate_profiles(found, found.profile_lines(rates, known)))
    neighbours = read(found, model, sample.others).sections
    passed: list[Section] = []
    for state, rate in WAYS:
        seen = read(found, model, (sample.objects,))
        before = seen.sections[0]
        after = found.target(sample.objects, state, rate, before, seen.profiles)
        assert found.target(sample.objects, state, rate, after, seen.profiles) == after
        forward = gate(found, found.render(sample.objects, before, after), sample.objects)
        inverse = gate(found, found.render(sample.objects, after, before), sample.objects)
        assert found.render(sample.objects, after, after) == ()
        for lines, goal in ((forward, after), (inverse, before), (forward, after)):
            model.send(lines)
            model.send(lines)  # absolute: a replay is harmless
            assert read(found, model, (sample.objects,)).sections == (goal,)
        if state != "terminated":
            assert section_rate(after) == rate
        assert dict(after)["state"] == ("off" if state == "terminated" else "on")
        passed.append(after)
    assert passed[1] == passed[3]
    assert all(one != other for one, other in pairwise(passed))
    assert read(found, model, sample.others).sections == neighbours


def test_profiles_are_made_once(found: Platform, sample: Sample) -> None:
    model = sample.model()
    seen = read(found, model, (sample.objects,))
    lines = found.profile_lines((OLD, NEW, SLOW), seen.profiles)
    assert found.profile_lines((NEW, SLOW, OLD, NEW), seen.profiles) == lines
    model.send(gate_profiles(found, lines))
    again = read(found, model, (sample.objects,))
    assert found.profile_lines((OLD, NEW, SLOW), again.profiles) == ()
    assert again.sections == seen.sections  # no subscriber was touched
    for line in lines:
        with pytest.raises(Refused):
            gate(found, (line,), sample.objects)


def test_the_golden_upgrade_is_the_lines_own_and_nobody_elses(
    found: Platform, sample: Sample
) -> None:
    text = (_folder(found) / "golden" / "upgrade.txt").read_text("utf-8")
    forward, _, inverse = text.partition("\n\n")
    for lines in (tuple(forward.splitlines()), tuple(inverse.splitlines())):
        assert gate(found, lines, sample.golden) == lines
        for line in lines:
            for other in sample.others:
                with pytest.raises(Refused):
                    gate(found, (line,), other)


def test_what_is_asked_is_plain_and_the_same_every_time(found: Platform, sample: Sample) -> None:
    places = (sample.objects, *sample.others)
    for database in ("running", "startup"):
        asked = found.read(database, places)
        assert asked == found.read(database, places)
        assert asked
        for query in asked:
            assert query.isascii()
            assert query.isprintable()
            assert query.splitlines() == [query]


def test_an_answer_that_is_none_is_refused(found: Platform, sample: Sample) -> None:
    """Goal: nothing is believed that was not understood. Method: garbage, one answer too few."""
    model = sample.model()
    asked = found.read("running", (sample.objects,))
    good = tuple(model.ask(query) for query in asked)
    assert found.parse("running", (sample.objects,), good).sections != ((),)
    for text in GARBAGE:
        for place in range(len(good)):
            replies = (*good[:place], text, *good[place + 1 :])
            try:
                sections = found.parse("running", (sample.objects,), replies).sections
            except Unreadable:
                continue
            assert sections in (((),), _good(found, sample, good)), (text, place)
    with pytest.raises(Unreadable):
        found.parse("running", (sample.objects,), ("",) * len(good))


def _good(found: Platform, sample: Sample, replies: tuple[str, ...]) -> tuple[Section, ...]:
    return found.parse("running", (sample.objects,), replies).sections


def test_radius_words_are_plain_and_tell_rates_apart(found: Platform) -> None:
    """Goal: a tier is one group of attributes. Method: two rates give two, one gives the same."""
    if found.radius_reply is None:
        assert (found.coa, found.session_read, found.session_parse) == (None, None, None)
        return
    assert found.coa is not None
    assert found.session_read is not None
    old, new = (found.radius_reply(rate, *(False,)) for rate in (OLD, NEW))
    assert old != new
    assert old == found.radius_reply(OLD, *(False,))
    for attribute in (*old, *new, *found.coa(OLD, NEW, *(False,))):
        assert attribute.op in (":=", "=", "+=")
        assert attribute.value.isascii()
        assert attribute.value.isprintable()
        assert len(attribute.value) <= 253
    for query in found.session_read("user1@isp"):
        assert query.splitlines() == [query]


class _AcmeIsp(SmallIsp):
    """The small ISP whose OLTs are of the made-up platform."""

    def _device(self, spec: DeviceSpec) -> Json:
        device = super()._device(spec)
        return {**device, "platform": ACME} if spec.kind == "smartax" else device


@pytest.mark.usefixtures("acme")
def test_platform_n_plus_1_changes_a_tier_with_no_edit_elsewhere(
    tmp_path: Path, start_fleet: StartFleet, subnet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Goal: one folder is all. Method: drop it in; import, plan, apply, refuse, recover, read."""
    names = [path for path in tracked() if path.partition("/")[0] in (*ROOMS, "lab")]
    assert [path for path in names if ACME in source(path)] == []
    isp = _AcmeIsp(subnet=subnet)
    engine: Engine = make_engine(f"sqlite:///{tmp_path / 'bandmaster.db'}")
    desk = open_desk(tmp_path, engine, start_fleet(*isp.specs()), isp, monkeypatch)
    assert ACME in desk.good("device", "list").out
    planned = desk.good("service", "tier", "svc-1001", "fiber-500", "--plan-only", code=3)
    assert ACME in planned.out
    desk.good(*tier("svc-1001"))
    port = desk.control("olt-fra-1", "dump")["saved"]["service_ports"]["1001"]
    tables = desk.control("olt-fra-1", "dump")["saved"]["traffic_tables"]
    assert tables[str(port["outbound"])]["cir_kbps"] == NEW.down_kbps
    before = desk.devices()
    desk.control("olt-fra-2", "fault", verb="service-port*", kind="refuse", arg="Failure: no")
    told = desk.run(*tier("svc-1002"))
    assert told.code == 1
    told.says("olt-fra-2", "Failure: no")
    assert desk.devices() == before
    desk.good("recover", "--wait")
    desk.good("device", "check")
    desk.good("ledger", "verify", "--deep")
    engine.dispose()


def test_the_made_up_platform_is_gone_again() -> None:
    assert ACME not in platforms()
    assert len(device_templates.__path__) == 1
