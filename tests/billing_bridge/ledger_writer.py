"""A process that appends to a ledger until its time is over: what the attack on readers runs."""

from __future__ import annotations

import random
import time

from ledger_facts import at, usage

from billing_bridge import append
from inventory import DatabaseProblem
from orchestrator.database import make_engine, writing

PAUSE_S = 0.08  # between two transactions: 8 writers keep the store busy and not the machine


def write_until(url: str, writer: int, seconds: float) -> int:
    """Append batches of 1 to 3 events for some time; return how many events are recorded.

    A store that is busy for too long is asked again with the same events, as a worker does.
    """
    engine = make_engine(url)
    dice = random.Random(writer)  # noqa: S311
    ends, recorded, number = time.monotonic() + seconds, 0, writer * 1_000_000
    while time.monotonic() < ends:
        batch = [usage(number + one) for one in range(dice.randint(1, 3))]
        number += len(batch)
        while True:
            try:
                with writing(engine) as session:
                    recorded += len(append(session, batch, at(number % 1000)))
                break
            except DatabaseProblem:
                continue
        time.sleep(PAUSE_S * dice.random())
    engine.dispose()
    return recorded
