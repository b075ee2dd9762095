"""What happens around the workers: devices, logins and the store do, refuse, forget, act late."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .world import ALWAYS, BEFORE_REVERSAL, FAULTS, OPEN, Rules, State, Store, Tx, doubted

Step = tuple[str, State]
_PLACE = {name: place for place, name in enumerate(FAULTS)}


class Surroundings:
    """Faults as budgets, requests as they land, transactions as they become durable.

    `own_save`: confirming saves nothing. `ends_session`: on the way forward the session is ended,
    not changed (suspend, terminate).
    """

    def __init__(
        self, rules: Rules, *, token: bool, own_save: bool = False, ends_session: bool = False
    ) -> None:
        self.rules = rules
        self.token = token
        self.own_save = own_save
        self.ends_session = ends_session

    def spend(self, state: State, fault: str) -> State | None:
        """Return the state with one fault less to come; None when none is left."""
        place = _PLACE[fault]
        left = state.left[place]
        if left == ALWAYS:
            return state
        if left == 0:
            return None
        return state._replace(left=(*state.left[:place], left - 1, *state.left[place + 1 :]))

    def steps(self, state: State) -> Iterator[Step]:
        """Everything that happens by itself; after the close only what is still under way."""
        for message in state.late:
            rest = state._replace(late=tuple(m for m in state.late if m != message))
            to, verb = message
            yield f"~{verb} to {to} is lost", rest
            for after, verdict in self.does(rest, to, verb):
                yield f"~{verb} to {to} lands: {verdict}", after
        for tx in state.late_tx:
            rest = state._replace(late_tx=tuple(t for t in state.late_tx if t != tx))
            yield f"~{tx[0]} vanishes", rest
            after, ok = self.lands(rest, tx, stale=False)
            if ok:
                yield f"~{tx[0]} lands late", after
        if state.s.login >= 0:
            yield (
                "~login completes",
                state._replace(s=state.s._replace(session=state.s.login, login=-1)),
            )
        if not state.store.state.startswith("CLOSED"):
            yield from self._devices(state)
            yield from self._people(state)
            yield from self._subscriber(state)

    def _devices(self, state: State) -> Iterator[Step]:
        n, x = state.n, state.x
        left = self.spend(state, "timer")
        if left is not None and n.pending:
            yield "~timer fires", left._replace(n=n._replace(running=0, pending=False))
        left = self.spend(state, "reload")
        if left is not None:
            back = n._replace(running=n.saved, pending=False)
            yield "~N reloads", left._replace(n=back, late=_but(state, "N"))
            kept = x._replace(first=x.saved_first, second=x.saved_second)
            yield "~X reloads", left._replace(x=kept, late=_but(state, "X"))
        left = self.spend(state, "dead")
        if left is not None and not x.dead:
            yield "~X refuses everything from now on", left._replace(x=x._replace(dead=True))

    def _people(self, state: State) -> Iterator[Step]:
        left = self.spend(state, "human_commit")
        if left is not None and state.n.pending:
            kept = state.n._replace(saved=state.n.running, pending=False)
            yield "~a person's commit confirms ours", left._replace(n=kept)
        left = self.spend(state, "edit")
        if left is not None and not state.x.edited:
            yield "~a person edits X", left._replace(x=state.x._replace(edited=True))
        left = self.spend(state, "failover")
        if left is not None and state.store.verdict == "COMMIT" and not self.rules.synchronous:
            lost = state.store._replace(state="INTENT", verdict="", net=0, rows=0, applied=0)
            yield "~the store forgets the decision", left._replace(store=lost)

    def _subscriber(self, state: State) -> Iterator[Step]:
        left = self.spend(state, "session")
        if left is None:
            return
        if state.s.session >= 0:
            yield "~session ends", left._replace(s=state.s._replace(session=-1))
        elif state.s.login < 0:
            yield "~login reads the rows", left._replace(s=state.s._replace(login=state.store.rows))

    # ---- a request lands

    def does(self, state: State, to: str, verb: str) -> Iterator[tuple[State, str]]:
        """Yield what may become of a request that arrives: (afterwards, the answer)."""
        if to == "S":
            yield from self._session(state, verb)
            return
        left = self.spend(state, "refuse")
        if left is not None:
            yield left, "REFUSED"
        if to == "N":
            yield from self._armed(state, verb)
        elif state.x.dead:
            yield state, "REFUSED"
        else:
            yield from self._plain(state, verb)

    def _session(self, state: State, verb: str) -> Iterator[tuple[State, str]]:
        rate = int(verb[-1])
        if state.s.session < 0:
            yield state, "NAK"
            return
        ends = self.ends_session and rate == 1
        after = state._replace(s=state.s._replace(session=-1 if ends else rate))
        early = rate == 1 and state.store.verdict != "COMMIT"
        yield (
            (_spoil(after, "P9 a session was raised before the decision") if early else after),
            "ACK",
        )
        left = self.spend(state, "refuse")
        if left is not None:
            yield left, "NAK"

    def _armed(self, state: State, verb: str) -> Iterator[tuple[State, str]]:
        n, store = state.n, state.store
        if verb == "prepare":
            yield self._written(state._replace(n=n._replace(running=1, pending=True))), "SENT"
        elif verb == "save":
            kept = n if n.pending else n._replace(saved=n.running)
            yield state._replace(n=kept), "SENT"
        elif verb == "abort":
            saved = n.saved if self.own_save else 0
            yield (
                self._written(state._replace(n=n._replace(running=0, pending=False, saved=saved))),
                "SENT",
            )
        elif not n.pending:  # confirm or extend, and nothing is armed
            yield state, "REFUSED" if self.token else "SENT"
        elif verb == "extend":
            yield state, "SENT"
        else:
            saved = n.saved if self.own_save else n.running
            after = state._replace(n=n._replace(pending=False, saved=saved))
            if store.verdict != "COMMIT":
                after = _spoil(after, "P3 confirmed without a durable COMMIT")
            yield after, "SENT"

    def _plain(self, state: State, verb: str) -> Iterator[tuple[State, str]]:
        x = state.x
        if verb == "save":
            kept = x._replace(saved_first=x.first, saved_second=x.second)
            yield state._replace(x=kept), "SENT"
            return
        if verb == "confirm":
            yield state, "SENT"
            return
        value = int(verb == "prepare")
        if self.rules.compare and (x.edited or (value and x.running() == "MIXED")):
            yield state, "REFUSED"
            return
        whole = self._written(state._replace(x=x._replace(first=value, second=value)))
        half = self._written(state._replace(x=x._replace(first=value)))
        if x.edited:
            whole = _spoil(whole, "P8 a person's line was overwritten")
        yield whole, "SENT"
        if half != whole:
            yield half, "UNKNOWN"  # cut between its two lines
            left = self.spend(half, "refuse")
            if left is not None:
                yield left, "REFUSED"

    def _written(self, after: State) -> State:
        if after.store.state == "":
            return _spoil(after, "P2 a device was written before the intent was durable")
        return after

    # ---- a transaction becomes durable, or not

    def lands(self, state: State, tx: Tx, *, stale: bool) -> tuple[State, bool]:
        """Return the state with the transaction durable, or unchanged and False."""
        if tx[0] == "epoch":
            return self._shut_out(state), True
        if tx[0] == "accept":
            return self._accepted(state, tx[1])
        store = self._stored(state.store, tx, stale=stale and self.rules.epoch)
        return (state, False) if store is None else (state._replace(store=store), True)

    def _shut_out(self, state: State) -> State:
        if not self.rules.epoch:
            return state
        first = ("epoch", "accept")
        workers = tuple(w._replace(stale="".join(w.tx[:1]) not in first) for w in state.workers)
        return state._replace(late_tx=(), workers=workers)

    def _accepted(self, state: State, name: str) -> tuple[State, bool]:
        """A person leaves a participant as it is, if the exception is still open."""
        if name not in doubted(state.store):
            return state, False
        store = state.store._replace(accepted=_in_order(state.store.accepted + name))
        if not self.rules.accept_alone and not doubted(store) and store.state in OPEN:
            store = store._replace(
                state="CLOSED REVERSED" if store.state == "REVERSED" else "CLOSED"
            )
        return self._shut_out(state)._replace(store=store), True

    def _stored(self, store: Store, tx: Tx, *, stale: bool) -> Store | None:
        kind, unique = tx[0], self.rules.unique
        if kind == "write":
            return self._written_down(store, tx, stale=stale)
        if stale:
            return None
        if kind == "reverse":
            return self._reversed(store)
        if kind in ("commit", "abort") and store.verdict and (kind == "abort" or unique):
            return None
        rows = 1 if self.rules.one_transaction else store.rows
        return {
            "intent": store._replace(state="INTENT"),
            "commit": store._replace(verdict="COMMIT", state="COMMITTED", net=1, rows=rows),
            "abort": store._replace(verdict="ABORT", state="ABORTED"),
            "rows": store._replace(rows=1),
            "post": store._replace(net=1, rows=1),
        }[kind]

    def _reversed(self, store: Store) -> Store | None:
        if store.state != "COMMITTED" and (self.rules.unique or store.net == 0):
            return None
        state = "REVERSED" if store.state in OPEN else "CLOSED REVERSED"
        again = 0 if self.rules.settle_again else BEFORE_REVERSAL
        return store._replace(state=state, net=0, rows=0, applied=again if store.applied else 0)

    def _written_down(self, store: Store, tx: Tx, *, stale: bool) -> Store | None:
        _, was, does, doubts, clear = tx
        moves = does == "close" or (does == "apply" and not store.applied)
        if moves and (stale or (self.rules.unique and store.state != was)):
            return None
        excused = _in_order((set(store.excused) - set(clear)) | set(doubts))
        after = store._replace(excused=excused, applied=store.applied or int(does != ""))
        if does == "close":
            after = after._replace(
                state="CLOSED REVERSED" if store.state == "REVERSED" else "CLOSED"
            )
        return after


def _in_order(names: Iterable[str]) -> str:
    return "".join(sorted(names))


def _spoil(state: State, what: str) -> State:
    return state._replace(store=state.store._replace(spoilt=what))


def _but(state: State, to: str) -> tuple[tuple[str, str], ...]:
    return tuple(message for message in state.late if message[0] != to)
