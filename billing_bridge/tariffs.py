"""What a used quantity costs: exact, rounded half up once for each line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from inventory import Plan, PriceVersion, WrongUse

from .proration import prorate, round_half_up

_KBPS_A_MBPS = 1_000
_BPS_A_KBPS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageStep:
    """Up to `up_to` units (0 = without end) each costs `unit_minor`; reaching it, `flat_minor`."""

    up_to: int = 0
    unit_minor: int | Fraction = 0
    flat_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockStep:
    """Up to `most` begun blocks (0 = without end) of `size` units cost `price_minor` each."""

    size: int
    price_minor: int
    most: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Overage:
    """What was used beyond an allowance: begun blocks, and their price under the cap."""

    blocks: int
    amount_minor: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitCharge:
    """A committed rate's price for its part of the period, and that of the rate above it."""

    over: int
    commit_minor: int
    over_minor: int

    @property
    def amount_minor(self) -> int:
        """Both lines together."""
        return self.commit_minor + self.over_minor


def graduated(
    quantity: int, steps: Sequence[UsageStep], *, flat_when_zero: bool = False
) -> tuple[int, ...]:
    """Return one amount for each step reached: each unit costs what its own step says.

    `flat_when_zero` charges the first step's flat fee even where nothing was used.
    """
    amounts: list[int] = []
    below = 0
    for step in steps:
        units = _within(_not_negative(quantity), step.up_to) - below
        if units <= 0 and not (flat_when_zero and not amounts and quantity == 0):
            break
        amounts.append(round_half_up(Fraction(step.unit_minor) * units) + step.flat_minor)
        below += units
        if step.up_to == 0:
            break
    return _complete(amounts, below, quantity)


def volume(quantity: int, steps: Sequence[UsageStep]) -> int:
    """Return the amount where all units cost what the step says that the last one reached."""
    for step in steps:
        if step.up_to == 0 or _not_negative(quantity) <= step.up_to:
            return round_half_up(Fraction(step.unit_minor) * quantity) + step.flat_minor
    raise WrongUse("price steps", f"end before {quantity} units", "Give the last step no end.")


def increment(before: int, quantity: int, steps: Sequence[UsageStep]) -> int:
    """Return what `quantity` more units cost after `before` were billed by the same steps."""
    return sum(graduated(before + quantity, steps)) - sum(graduated(before, steps))


def package(quantity: int, free: int, size: int, price_minor: int) -> int:
    """Return the price of the begun packages of `size` units beyond the free ones."""
    return _begun(quantity - free, size) * price_minor


def blocks_each(quantity: int, steps: Sequence[BlockStep]) -> tuple[int, ...]:
    """Return one amount for each step reached: each step takes its blocks, the last all the rest.

    The rule of Kill Bill's ALL_TIERS.
    """
    amounts: list[int] = []
    left = _not_negative(quantity)
    for number, step in enumerate(steps, start=1):
        if left <= 0:
            break
        blocks = _begun(left, step.size)
        if step.most and number < len(steps):
            blocks = min(blocks, step.most)
        amounts.append(blocks * step.price_minor)
        left -= blocks * step.size
    return tuple(amounts)


def blocks_top(quantity: int, steps: Sequence[BlockStep]) -> int:
    """Return the amount where all blocks are of the step that the last unit falls in.

    The rule of Kill Bill's TOP_TIER; beyond the last step everything is priced by the last.
    """
    reach = 0
    for number, step in enumerate(steps, start=1):
        reach += step.most * step.size
        if step.most == 0 or quantity <= reach or number == len(steps):
            return _begun(quantity, step.size) * step.price_minor
    raise WrongUse("price steps", "are none", "Give at least one.")


def duration(stretches_s: Sequence[int], price_minor: int, per_s: int, increment_s: int = 1) -> int:
    """Return the price of the stretches of one session: begun increments, rounded once at the end.

    `price_minor` buys `per_s` seconds.
    """
    charged_s = _begun(sum(stretches_s), increment_s) * increment_s
    return prorate(price_minor, charged_s, per_s)


def minimum_true_up(minimum_minor: int, billed_minor: int) -> int:
    """Return what is missing to the minimum of a period."""
    return max(0, minimum_minor - billed_minor)


def overage(
    used: int,
    included: int | Fraction,
    block: int,
    block_minor: int,
    cap_minor: int = 0,
) -> Overage:
    """Return what exceeds an allowance, in begun blocks; `cap_minor` 0 = no cap."""
    blocks = _begun(Fraction(used) - included, block)
    amount = blocks * block_minor
    return Overage(blocks=blocks, amount_minor=min(amount, cap_minor) if cap_minor else amount)


def committed(
    commit: int,
    measured: int,
    commit_minor: int,
    over_minor: int,
    *,
    part: Fraction = Fraction(1),
    over_unit: int = 1,
) -> CommitCharge:
    """Return commit + max(0, measured - commit) x rate.

    `over_minor` buys `over_unit` of the rate above; `part` is the part of the period for which
    the commit is owed, the rate above is measured in that part alone.
    """
    over = max(0, measured - commit)
    return CommitCharge(
        over=over,
        commit_minor=prorate(commit_minor, part.numerator, part.denominator),
        over_minor=prorate(over_minor, over, over_unit),
    )


def plan_overage(
    plan: Plan, price: PriceVersion, down_bytes: int, up_bytes: int, part: Fraction
) -> Overage:
    """Return what a service used beyond its plan's allowance in a period.

    `part` is the part of the period that its lines charge: the allowance shrinks with it.
    """
    if not plan.block_bytes:
        return Overage(blocks=0, amount_minor=0)
    used = counted_bytes(plan, down_bytes, up_bytes)
    included = plan.allowance_bytes * part
    return overage(used, included, plan.block_bytes, price.block_minor, price.cap_minor)


def plan_burst(plan: Plan, price: PriceVersion, measured_bps: int) -> int:
    """Return the price of the measured rate (bit/s) above the committed one.

    The committed rate itself is what the plan's price buys, and its lines charge that.
    """
    return committed(
        plan.commit_kbps * _BPS_A_KBPS,
        measured_bps,
        0,
        price.burst_minor,
        over_unit=_BPS_A_KBPS * _KBPS_A_MBPS,
    ).over_minor


def slowed_down(plan: Plan, down_bytes: int, up_bytes: int) -> bool:
    """Whether fair use ends here: the line may be slowed down, which costs nothing."""
    used = counted_bytes(plan, down_bytes, up_bytes)
    return plan.fair_use_bytes > 0 and used > plan.fair_use_bytes


def counted_bytes(plan: Plan, down_bytes: int, up_bytes: int) -> int:
    """Return the bytes that a plan counts."""
    return {"down": down_bytes, "up": up_bytes, "both": down_bytes + up_bytes}[
        plan.allowance_counts
    ]


def _begun(quantity: int | Fraction, size: int) -> int:
    """How many blocks are begun; none by nothing or less."""
    if size <= 0:
        raise WrongUse("block", f"must hold at least one unit, got {size}")
    return max(0, int(-(-Fraction(quantity) // size)))


def _within(quantity: int, up_to: int) -> int:
    return min(quantity, up_to) if up_to else quantity


def _not_negative(quantity: int) -> int:
    if quantity < 0:
        raise WrongUse("quantity", f"must be 0 or more, got {quantity}")
    return quantity


def _complete(amounts: list[int], priced: int, quantity: int) -> tuple[int, ...]:
    if priced < quantity:
        raise WrongUse("price steps", f"end before {quantity} units", "Give the last no end.")
    return tuple(amounts)
