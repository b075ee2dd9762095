"""bandmaster killed on real parts: one `recover`, and device, RADIUS, session and ledger agree."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from product_rig import RATES, Product, login

from device_templates import platform
from inventory import Rate, find_device
from lab.servers.daemon import wait_until
from orchestrator.database import reading
from orchestrator.office import open_office
from orchestrator.settings import load
from workflows import Handle, HandleItem, no_fence

KILLED = -signal.SIGKILL
OTHER = {"home-50": "home-100", "home-100": "home-50"}
LINUX = platform("linux_tc")


@pytest.fixture
def both(product: Product) -> tuple[str, str]:
    """The plan that both lines have, sub2 online with it, and another plan to give them."""
    plan = product.service("line-1")["plan_code"]
    product.tier("line-2", plan)
    login(product)
    product.static_at("line-1", plan)
    product.dynamic_at(plan)
    target = OTHER[plan]
    changes = f"service,plan\nline-1,{target}\nline-2,{target}\n"
    (product.folder / "changes.csv").write_text(changes, encoding="utf-8")
    return plan, target


def cut(product: Product, edge: str) -> None:
    """Give both lines their plan in one set, and be killed at an edge."""
    words = ("service", "tier", "--file", "changes.csv", "--yes")
    ended = product.run(*words, cut=("--at", edge))
    assert ended.code == KILLED, ended.err


def agrees(product: Product, plan: str) -> None:
    """Assert that everything about both lines says this plan, and that nothing is left to do."""
    product.static_at("line-1", plan)
    product.dynamic_at(plan)
    product.static_at("line-3", "home-20")
    product.at_rest()


def events(product: Product) -> tuple[int, int]:
    """How many events each line has."""
    return len(product.events("line-1")), len(product.events("line-2"))


@pytest.mark.parametrize(
    ("edge", "running", "armed", "decided"),
    [
        ("after intent", "old", False, False),
        ("after prepare bng", "new", True, False),
        ("after decision", "new", True, True),
        ("after confirm bng", "new", False, True),
        ("before coa", "new", False, True),
    ],
)
def test_a_kill_is_mended_by_one_recover(
    product: Product,
    both: tuple[str, str],
    edge: str,
    running: str,
    armed: bool,
    decided: bool,
) -> None:
    """Goal: one of two worlds at any time for RADIUS and ledger, one for all after recovery.

    Method: a set of a static and a dynamic line; what each part says at the cut, then recover.
    """
    old, new = both
    before = events(product)
    cut(product, edge)
    assert product.kernel("acc1") == RATES[new if running == "new" else old]
    assert ("armed" in product.jobs()) is armed
    down, up = RATES[new if decided else old]
    assert product.answer() == f"{down}/{up}"
    assert product.kernel("acc2") == RATES[old]
    assert events(product) == tuple(count + decided for count in before)
    product.good("recover", "--wait")
    agrees(product, new if decided else old)
    assert events(product) == tuple(count + decided for count in before)


def test_a_killed_recovery_is_recovered(product: Product, both: tuple[str, str]) -> None:
    """Goal: closing may die too. Method: kill the recovery just before it closes; run it again."""
    _, new = both
    product.good("service", "tier", "--file", "changes.csv", "--yes")
    ended = product.run("recover", "--wait", cut=("--at", "before close"))
    assert ended.code == KILLED, ended.err
    states = product.rows("select state from public.change where state <> 'CLOSED'")
    assert states == [("COMMITTED",), ("COMMITTED",)]
    product.good("recover", "--wait")
    agrees(product, new)


@pytest.mark.parametrize(
    ("edge", "decided"), [("after prepare bng", False), ("after decision", True)]
)
def test_nobody_recovers_until_the_timer_has_fired(
    product: Product,
    both: tuple[str, str],
    edge: str,
    decided: bool,
) -> None:
    """Goal: the box restores by itself; a decided change is then driven forward once more.

    Method: the job's own `sleep` is ended early, which is all that passing time would do.
    """
    old, new = both
    cut(product, edge)
    assert product.kernel("acc1") == RATES[new]
    end_the_wait(product)
    assert wait_until(lambda: product.kernel("acc1") == RATES[old], 20)
    assert wait_until(lambda: "restored" in product.jobs(), 20)
    product.good("recover", "--wait")
    agrees(product, new if decided else old)


def test_the_timer_restores_after_its_seconds(product: Product) -> None:
    """Goal: armed means armed, for the time that was said. Method: a handle of 3 s, no confirm."""
    office = open_office(load(product.folder / "bandmaster.toml"))
    with reading(office.engine) as session:
        bng = find_device(session, "bng")
    objects = {"interface": "acc3", "class_minor": "10"}
    with office.crew((bng,), no_fence) as crew:
        seen = crew.sections({"bng": (objects,)})["bng"]
        before = seen.sections[0]  # type: ignore[union-attr]
        after = LINUX.target(objects, "active", Rate(down_kbps=9_000, up_kbps=3_000), before, ())
        item = HandleItem(
            service_id="line-3",
            objects=tuple(objects.items()),
            before=before,
            after=after,
            forward=LINUX.render(objects, before, after),
            inverse=LINUX.render(objects, after, before),
        )
        handle = Handle(
            device="bng", platform="linux_tc", token="0f.1", items=(item,), revert_after_s=3
        )
        assert crew.prepare({"bng": handle})["bng"].verdict == "SENT"
        assert crew.observe({"bng": handle})["bng"].pending == "OURS"
        assert product.kernel("acc3") == (9_000, 3_000)
    assert wait_until(lambda: product.kernel("acc3") == RATES["home-20"], 30)
    with office.crew((bng,), no_fence) as crew:
        observed = crew.observe({"bng": handle})["bng"]
    assert (observed.running(), observed.pending) == ("OLD", "NONE")
    office.engine.dispose()


def end_the_wait(product: Product) -> None:
    """End the `sleep` of the one job that is armed, by its process id."""
    (armed,) = product.lab.run("bng", "sh", "-c", "cd /run/bandmaster && ls *.armed").split()
    name = armed.removesuffix(".armed").encode()
    (job,) = (pid for pid, words in processes() if words.endswith(b"\0" + name + b"\0"))
    (child,) = (pid for pid, words in processes() if parent(pid) == job and b"sleep" in words)
    os.kill(child, signal.SIGTERM)


def processes() -> list[tuple[int, bytes]]:
    """Every process with its command line; nodes of the lab share this machine's table."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            found.append((int(place.name), (place / "cmdline").read_bytes()))
        except OSError:
            continue  # it has ended meanwhile
    return found


def parent(pid: int) -> int:
    """The parent's id; 0 if the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
