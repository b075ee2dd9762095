"""What the tests of the inventory share: the example network, and a count of statements."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event, text

from device_templates import Field
from inventory import BadField, Device, ImportBatch, ImportResult, keep_batch, parse_files
from orchestrator.database import writing

DATA = Path(__file__).parent / "data"
EXAMPLE = DATA / "isp.yaml"

FIELDS: Mapping[str, Mapping[str, Field]] = {
    "juniper_junos": {
        "interface": Field(kind="text", pattern=r"ge-\d/\d/\d{1,2}", help="like ge-0/0/1"),
        "unit": Field(kind="int", low=0, high=16385, help="a unit"),
    },
    "huawei_smartax": {
        "service_port": Field(kind="int", low=0, high=65535, help="a service-port index"),
    },
    "linux_tc": {
        "interface": Field(kind="text", pattern=r"[a-z][a-z0-9]{0,10}", help="like sub1"),
    },
}


def check_attachment(device: Device, objects: Mapping[str, str]) -> dict[str, str | int]:
    """Type an attachment's fields as the real caller does, with the platform's Field values."""
    fields = FIELDS[device.platform]
    for name in objects:
        if name not in fields:
            raise BadField(device.name, f"{name} is not a field of {device.platform}")
    for name in fields:
        if name not in objects:
            raise BadField(device.name, f"{name} is missing")
    return {name: fields[name].check(device.name, name, objects[name]) for name in fields}


def parse(*paths: Path, known_devices: Sequence[Device] = ()) -> ImportBatch:
    return parse_files(paths, check_attachment, known_devices=known_devices)


def load(engine: Engine, *paths: Path, known_devices: Sequence[Device] = ()) -> ImportResult:
    """Import files in one transaction."""
    batch = parse(*paths, known_devices=known_devices)
    with writing(engine) as session:
        return keep_batch(session, batch)


@contextmanager
def statements(engine: Engine) -> Iterator[list[str]]:
    """Collect the statements that are sent meanwhile, an executemany as one."""
    seen: list[str] = []

    def note(_c: Any, _cur: Any, statement: str, *_rest: Any) -> None:
        if not statement.startswith(("BEGIN", "SET")):
            seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


def together(*acts: Callable[[], Any]) -> list[Any]:
    """Run the acts at the same time; return what each returned or raised."""
    gate = threading.Barrier(len(acts))
    outcomes: list[Any] = [None] * len(acts)

    def run(index: int, act: Callable[[], Any]) -> None:
        gate.wait()
        try:
            outcomes[index] = act()
        except Exception as error:  # noqa: BLE001  the test looks at it
            outcomes[index] = error

    threads = [threading.Thread(target=run, args=(index, act)) for index, act in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def wait_for_waiter(engine: Engine) -> None:
    """Return once some transaction of this PostgreSQL database waits for another one."""
    query = text(
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND datname = current_database()"
    )
    with engine.connect() as connection:
        while not connection.execute(query).scalar_one():
            connection.rollback()  # a new look at the activity needs a new transaction
