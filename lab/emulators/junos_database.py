"""The configuration database of an emulated Junos device: candidate, lock, commits, the timer."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from lab.emulators.junos_config import Config, Problem, difference
from lab.emulators.smartax_clock import Clock, Timer

ROLLBACKS = 50

# What a second confirmed commit does to the first, still unconfirmed one: "keep" keeps the point
# to return to (RFC 6241), "confirm" makes the first permanent. Which one Junos does is unproved.
SecondConfirm = Literal["keep", "confirm"]


class Refusal(Exception):
    """The device says no; nothing was changed."""

    def __init__(self, *problems: Problem, tag: str = "operation-failed") -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = problems
        self.tag = tag


def refusal(message: str, tag: str = "operation-failed") -> Refusal:
    """A refusal of one error without a path."""
    return Refusal(Problem(severity="error", message=message), tag=tag)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who edits: a NETCONF session or a person at a terminal; compared by identity."""

    user: str
    client: str  # "netconf", "cli", "other"
    session_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """One entry of the commit history; `at_s` is in device seconds."""

    number: int
    at_s: float
    user: str
    client: str
    config: Config
    log: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An unconfirmed commit: where to return to, when, and which holder made it."""

    back_to: Config
    timer: Timer
    holder: Holder


ROOT = Holder(user="root", client="other", session_id=0)


class Database:
    """All that commits and edits change; refusals raise `Refusal` and change nothing.

    `on_running` is called after every change of the running configuration.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        on_running: Callable[[Config], None],
        second_confirm: SecondConfirm = "keep",
    ) -> None:
        self._clock = clock
        self._on_running = on_running
        self._second_confirm = second_confirm
        self.candidate: Config | None = None  # None: equal to running
        self.lock: Holder | None = None
        self.pending: Pending | None = None
        self.history: list[Commit] = [
            Commit(number=1, at_s=0.0, user="root", client="other", config=config)
        ]

    @property
    def running(self) -> Config:
        """What the device does now."""
        return self.history[0].config

    @property
    def startup(self) -> Config:
        """What a reload brings back: the last configuration that needs no confirmation."""
        return self.pending.back_to if self.pending else self.running

    @property
    def edited(self) -> Config:
        """The candidate."""
        return self.running if self.candidate is None else self.candidate

    def take_lock(self, holder: Holder) -> None:
        """Exclusive editing; refused if anybody holds the lock or left unsaved edits."""
        if self.lock is not None:
            raise _locked(self.lock)
        if self.candidate is not None:
            msg = "configuration database modified"
            raise refusal(msg, tag="lock-denied")
        self.lock = holder

    def release_lock(self, holder: Holder) -> None:
        """Give the lock back; edits that were not committed go with it."""
        if self.lock is not holder:
            msg = "configuration database is not locked by this session"
            raise refusal(msg)
        self.lock = None
        self.candidate = None

    def ended(self, holder: Holder) -> None:
        """The holder is gone."""
        if self.lock is holder:
            self.release_lock(holder)

    def load(self, holder: Holder, lines: Iterable[str]) -> list[Problem]:
        """Set lines into the candidate; answers what was wrong with single lines."""
        self._refuse_others(holder)
        self.candidate, problems = self.edited.load(lines)
        return problems

    def load_rollback(self, holder: Holder, number: int) -> None:
        """Commit `number` of the history (0 = running) becomes the candidate."""
        self._refuse_others(holder)
        config = self.rollback(number)
        self.candidate = None if number == 0 else config

    def rollback(self, number: int) -> Config:
        """The configuration of entry `number` of the history."""
        if not 0 <= number < len(self.history):
            msg = f"rollback {number} does not exist"
            raise refusal(msg)
        return self.history[number].config

    def compare(self, number: int) -> str:
        """The candidate against entry `number` of the history."""
        return difference(self.rollback(number), self.edited)

    def check(self, holder: Holder) -> None:
        """Commit check; in a confirm window it confirms, as captured from a virtual SRX."""
        self._refuse_others(holder)
        self._check()
        self._stop_timer()

    def commit(self, holder: Holder, *, log: str = "", confirm_min: int = 0) -> None:
        """The candidate becomes running; with `confirm_min` only until the timer runs out.

        A plain commit confirms whatever is unconfirmed, whoever made it.
        """
        self._refuse_others(holder)
        self._check()
        back_to = self.running
        if self.pending is not None and self._second_confirm == "keep":
            back_to = self.pending.back_to
        self._stop_timer()
        comment = f"commit confirmed, rollback in {confirm_min}mins" if confirm_min else ""
        new = self.edited
        self.candidate = None
        if confirm_min:
            timer = self._clock.later(60.0 * confirm_min, self.revert)
            self.pending = Pending(back_to=back_to, timer=timer, holder=holder)
        self._enter(holder, new, log=log, comment=comment)

    def revert(self) -> None:
        """What the timer does when nobody confirmed; nothing if nothing is unconfirmed."""
        if self.pending is None:
            return
        back_to = self.pending.back_to
        self._stop_timer()
        self._enter(ROOT, back_to)

    def reload(self) -> None:
        """Power is lost and comes back: no lock, no edits, startup is running."""
        self.lock = None
        self.candidate = None
        if self.pending is not None:
            self.revert()

    def _enter(self, holder: Holder, config: Config, *, log: str = "", comment: str = "") -> None:
        last = self.history[0]
        entry = Commit(
            number=last.number + 1,
            at_s=self._clock.now_s(),
            user=holder.user,
            client=holder.client,
            config=config,
            log=log,
            comment=comment,
        )
        self.history.insert(0, entry)
        del self.history[ROLLBACKS:]
        self._on_running(config)

    def _check(self) -> None:
        problems = self.edited.problems()
        if problems:
            failed = Problem(severity="error", message="configuration check-out failed")
            raise Refusal(*problems, failed)

    def _refuse_others(self, holder: Holder) -> None:
        if self.lock is not None and self.lock is not holder:
            raise _locked(self.lock)

    def _stop_timer(self) -> None:
        if self.pending is not None:
            self.pending.timer.cancel()
            self.pending = None


def _locked(lock: Holder) -> Refusal:
    by = f"{lock.user} {lock.client} (pid {lock.session_id})"
    text = f"configuration database locked by:\n  {by}\n      exclusive [edit]"
    return refusal(text, tag="lock-denied")
