"""The tree of errors, named for what the operator does next."""

from __future__ import annotations

_SHOWN = 20  # problems of a file in a message; the rest are counted


class BandmasterError(Exception):
    """Something the operator can act on.

    `thing` names what it is about, `problem` says what failed and why it matters, `remedy` says
    what to do. None of them may hold a secret. `exit_code` follows the table in the README.
    """

    exit_code = 1

    def __init__(self, thing: str, problem: str, remedy: str = "") -> None:
        self.thing = thing
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{thing}: {problem}")


class WrongUse(BandmasterError):
    """The request itself is wrong: correct the command or the file and send it again."""

    exit_code = 2


class UnknownName(WrongUse):
    """Nothing of that name exists: look it up and name it again."""


class BadField(WrongUse):
    """A field's value is not of its type or outside its allow-list: correct the field."""


class BadFile(WrongUse):
    """A file cannot be imported as it stands: correct the lines named and import it again.

    `problems` has one text per problem, `FILE:LINE: FIELD: what is wrong`, in the order of lines;
    the message tells the first of them.
    """

    def __init__(
        self, thing: str, problem: str, remedy: str = "", problems: tuple[str, ...] = ()
    ) -> None:
        told = [problem, *(f"  {each}" for each in problems[:_SHOWN])]
        if len(problems) > _SHOWN:
            told.append(f"  and {len(problems) - _SHOWN} more")
        super().__init__(thing, "\n".join(told), remedy)
        self.problems = problems


class BadSettings(WrongUse):
    """Settings or a secret's file are missing or unsafe: correct them."""


class Refused(BandmasterError):
    """Policy, a lease or a stale plan stands in the way: nothing was started."""

    exit_code = 5


class StalePlan(Refused):
    """The world moved since the plan was made: plan again."""


class LeaseHeld(Refused):
    """Another worker is driving a device that is needed: wait for it."""


class OnHold(Refused):
    """A person has stopped new work: ask them or release the hold."""


class OpenChange(Refused):
    """The service has an undecided, unapplied or disputed change: settle that first."""


class KeyConflict(Refused):
    """The idempotency key was used before for something else: choose another key."""


class NotNewest(Refused):
    """Only a service's newest change can be undone: undo the newer one first."""


class ProfileMissing(Refused):
    """The device lacks a profile that the tier needs: make it with `device profiles`."""


class DeviceProblem(BandmasterError):
    """A device could not be used; nothing was changed on it."""


class Unreachable(DeviceProblem):
    """No connection could be made: check the path to the device and try again."""


class LoginRefused(DeviceProblem):
    """The device refused our credentials: correct the secret the inventory refers to."""


class HostKeyUnknown(DeviceProblem):
    """No host key is enrolled for the device: enrol it."""


class HostKeyChanged(DeviceProblem):
    """The host key is not the enrolled one; no password was sent: find out why first."""


class Unreadable(DeviceProblem):
    """The device's answer was not understood: nothing may be believed about it."""


class DatabaseProblem(BandmasterError):
    """The database is locked, full or away: mend it and run the command again."""


class LedgerBroken(BandmasterError):
    """The ledger contradicts itself: bill nothing from it and run `bandmaster ledger verify`."""


class Undecided(BandmasterError):
    """The change is not settled yet: run `bandmaster recover`."""

    exit_code = 6
