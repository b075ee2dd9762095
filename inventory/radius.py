"""Logins and their groups in FreeRADIUS's tables; no function commits (D9)."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from sqlalchemy import (
    ColumnElement,
    Table,
    and_,
    bindparam,
    delete,
    insert,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import Session

from .errors import Refused
from .radius_rows import (
    RADCHECK,
    RADGROUPCHECK,
    RADGROUPREPLY,
    RADIUS_GROUP,
    RADREPLY,
    RADUSERGROUP,
)
from .sql import chunks, insert_new, one_of, select_among

_PASSWORD = "Cleartext-Password"  # noqa: S105  the attribute's name; CHAP needs the text itself
_AUTH_TYPE, _REJECT = "Auth-Type", "Reject"
_NAME = RADIUS_GROUP.c.tier + "@" + RADIUS_GROUP.c.platform  # as `group_name` makes it
_WRITTEN = (
    select(RADIUS_GROUP, RADGROUPREPLY.c.attribute, RADGROUPREPLY.c.op, RADGROUPREPLY.c.value)
    .select_from(RADIUS_GROUP.outerjoin(RADGROUPREPLY, RADGROUPREPLY.c.groupname == _NAME))
    .where(one_of(RADIUS_GROUP.c.tier, "tiers"))
)
_GROUPS = select(RADUSERGROUP.c.groupname).where(one_of(RADUSERGROUP.c.username, "logins"))
_GIVEN = select(RADGROUPREPLY.c.attribute).where(one_of(RADGROUPREPLY.c.groupname, "groups"))
# what bears on moving logins, as (kind, name, value): one question instead of three
_STANDING = union_all(
    select(
        literal("current").label("kind"),
        RADUSERGROUP.c.username.label("name"),
        RADUSERGROUP.c.groupname.label("value"),
    ).where(one_of(RADUSERGROUP.c.username, "logins")),
    select(literal("ours"), _NAME, literal("")).where(one_of(_NAME, "groups") | _NAME.in_(_GROUPS)),
    select(literal("rival"), RADREPLY.c.username, RADREPLY.c.attribute).where(
        one_of(RADREPLY.c.username, "logins"), RADREPLY.c.attribute.in_(_GIVEN)
    ),
)
_MOVED = update(RADUSERGROUP).where(RADUSERGROUP.c.username == bindparam("the_login"))
_SECRET = re.compile(r"password|secret|key", re.IGNORECASE)


class AttributeLike(Protocol):
    """A RADIUS attribute as FreeRADIUS's tables hold it."""

    @property
    def name(self) -> str:
        """The dictionary's name, with a tag where it takes one (`ERX-Service-Activate:1`)."""

    @property
    def op(self) -> str:
        """FreeRADIUS's operator."""

    @property
    def value(self) -> str:
        """The value as text."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class RadiusAttribute:
    """One reply item; `op` is FreeRADIUS's operator (`:=`, `=`, `+=`)."""

    name: str
    op: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiusLogin:
    """What a login gets at its next Access-Request; group "" = it has none."""

    login: str
    group: str = ""
    has_password: bool = False
    attributes: tuple[RadiusAttribute, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiusBinding:
    """A login and the group it shall have; password "" leaves the stored one alone."""

    login: str
    group: str
    password: str = field(default="", repr=False)


def group_name(tier: str, platform: str) -> str:
    """Return the name of the group that gives `tier` in the dialect of `platform`."""
    return f"{tier}@{platform}"


def read_login(session: Session, login: str) -> RadiusLogin:
    """Return what the login has now; a login without rows has group "" and no password."""
    return read_logins(session, (login,))[login]


def read_logins(session: Session, logins: Collection[str]) -> dict[str, RadiusLogin]:
    """Return what each login has now, with three queries per thousand logins."""
    groups: dict[str, str] = {}
    passwords: set[str] = set()
    for part in chunks(sorted(set(logins))):
        groups |= _groups_of(session, part)
        # the value is not selected: a password leaves this table for FreeRADIUS alone
        query = select(RADCHECK.c.username).where(
            one_of(RADCHECK.c.username, part), RADCHECK.c.attribute.like("%-Password")
        )
        passwords |= set(session.execute(query).scalars())
    attributes = read_groups(session, set(groups.values()))
    return {
        login: RadiusLogin(
            login=login,
            group=groups.get(login, ""),
            has_password=login in passwords,
            attributes=attributes.get(groups.get(login, ""), ()),
        )
        for login in logins
    }


def read_groups(session: Session, names: Collection[str]) -> dict[str, tuple[RadiusAttribute, ...]]:
    """Return the reply attributes of each group, sorted; a group without rows is left out."""
    return _items(session, RADGROUPREPLY, names)


def write_group(
    session: Session, tier: str, platform: str, attributes: Iterable[AttributeLike]
) -> str:
    """Make sure that one group exists (see `write_groups`) and return its name."""
    write_groups(session, {(tier, platform): attributes})
    return group_name(tier, platform)


def write_groups(
    session: Session, groups: Mapping[tuple[str, str], Iterable[AttributeLike]]
) -> None:
    """Make sure that the groups of (tier, platform) exist with exactly these reply attributes.

    The transaction that inserts the radius_group row writes the reply rows; any other waits for it
    and finds them. Raises Refused where a group of that name holds something else: it is
    somebody's, or somebody has edited it, and nobody's rates are changed behind a price.
    """
    keys = sorted(groups)  # one order for everybody: no two transactions wait for each other
    stored = _written(session, keys)
    if fresh := [
        {"tier": tier, "platform": name}
        for tier, name in keys
        if group_name(tier, name) not in stored
    ]:
        insert_new(session, RADIUS_GROUP, fresh)
        stored |= read_groups(session, [group_name(*key) for key in keys])
    rows: list[dict[str, str]] = []
    for key in keys:
        name = group_name(*key)
        wanted = sorted(
            RadiusAttribute(name=item.name, op=item.op, value=item.value) for item in groups[key]
        )
        if not stored.get(name):
            rows += [_item_row("groupname", name, item) for item in wanted]
        elif list(stored[name]) != wanted:
            thing = f"RADIUS group {name}"
            raise Refused(
                thing,
                f"gives {_shown(stored[name])} where tier {key[0]} is {_shown(wanted)}",
                "Rename or correct that group in radgroupreply; bandmaster does not overwrite it.",
            )
    if rows:
        session.execute(insert(RADGROUPREPLY), rows)


def _written(
    session: Session, keys: Sequence[tuple[str, str]]
) -> dict[str, tuple[RadiusAttribute, ...]]:
    """Return the reply attributes, sorted, of those groups that bandmaster wrote."""
    found: dict[str, list[RadiusAttribute]] = {}
    tiers = sorted({tier for tier, _platform in keys})
    for row in session.connection().execute(_WRITTEN, {"tiers": tiers}):
        items = found.setdefault(group_name(row.tier, row.platform), [])
        if row.attribute is not None:
            items.append(RadiusAttribute(name=row.attribute, op=row.op, value=row.value))
    return {name: tuple(sorted(items)) for name, items in found.items()}


def bind_login(session: Session, login: str, group: str, password: str = "") -> None:
    """Put one login into a group (see `bind_many`)."""
    bind_many(session, (RadiusBinding(login=login, group=group, password=password),))


def bind_many(session: Session, bindings: Sequence[RadiusBinding]) -> None:
    """Put each login into its group, which `write_groups` has made in this or an earlier change.

    A constant number of statements per thousand logins. Raises Refused, naming the login, where
    leaving a group of another maker would change more than the tier, or where the login has reply
    rows of its own that would stand over the tier's.
    """
    ordered = sorted(bindings, key=lambda binding: binding.login)
    targets = {binding.group for binding in ordered}
    standing = _standing(session, [binding.login for binding in ordered], targets)
    if targets - standing.ours:
        msg = f"no radius_group row for {sorted(targets - standing.ours)}: write_groups comes first"
        raise ValueError(msg)
    current = standing.current
    _refuse_other_rates(session, ordered, current, standing.ours)
    if standing.rivals:
        _refuse_own_reply(*min(standing.rivals))
    moved = [
        {"the_login": binding.login, "groupname": binding.group}
        for binding in ordered
        if current.get(binding.login, binding.group) != binding.group
    ]
    fresh: list[dict[str, Any]] = [
        {"username": binding.login, "groupname": binding.group, "priority": 0}
        for binding in ordered
        if binding.login not in current
    ]
    if moved:
        session.execute(_MOVED, moved)
    if fresh:
        session.execute(insert(RADUSERGROUP), fresh)
    # a login that has a group was not shut out by us: a rejection there is somebody's own
    for part in chunks([row["username"] for row in fresh]):
        session.execute(delete(RADCHECK).where(_shut(part)))
    _keep_passwords(session, [binding for binding in ordered if binding.password])


@dataclass(frozen=True, slots=True)
class _Standing:
    """What bears on moving some logins into groups."""

    current: dict[str, str] = field(default_factory=dict)  # group by login
    ours: set[str] = field(default_factory=set)  # of these groups, those that bandmaster wrote
    rivals: list[tuple[str, str]] = field(default_factory=list)  # (login, attribute) in radreply


def _standing(session: Session, logins: Sequence[str], targets: Collection[str]) -> _Standing:
    found = _Standing()
    for part in chunks(logins):
        given = {"logins": part, "groups": sorted(targets)}
        for kind, name, value in session.connection().execute(_STANDING, given):
            if kind == "current":
                found.current[name] = value
            elif kind == "ours":
                found.ours.add(name)
            else:
                found.rivals.append((name, value))
    return found


def unbind_login(session: Session, login: str) -> None:
    """Take one login's rows away (see `unbind_many`)."""
    unbind_many(session, (login,))


def unbind_many(session: Session, logins: Sequence[str]) -> None:
    """Shut the logins out: no group, and every Access-Request is rejected.

    The password stays in radcheck behind the rejection: a termination that is taken back must
    let the subscriber in again, and nobody else could give the password back.
    """
    wanted = sorted(set(logins))
    for part in chunks(wanted):
        session.execute(delete(RADUSERGROUP).where(one_of(RADUSERGROUP.c.username, part)))
        session.execute(delete(RADCHECK).where(_shut(part)))
    if wanted:
        session.execute(
            insert(RADCHECK),
            [
                {"username": login, "attribute": _AUTH_TYPE, "op": ":=", "value": _REJECT}
                for login in wanted
            ],
        )


def _shut(logins: Sequence[str]) -> ColumnElement[bool]:
    """Match the rows by which `unbind_many` shuts logins out."""
    mine = one_of(RADCHECK.c.username, logins)
    return and_(mine, RADCHECK.c.attribute == _AUTH_TYPE, RADCHECK.c.value == _REJECT)


def _groups_of(session: Session, logins: Sequence[str]) -> dict[str, str]:
    query = select_among(RADUSERGROUP.c.username, RADUSERGROUP.c.username, RADUSERGROUP.c.groupname)
    rows = session.execute(query, {"names": logins})
    return {row.username: row.groupname for row in rows}


def _items(
    session: Session, table: Table, groups: Collection[str]
) -> dict[str, tuple[RadiusAttribute, ...]]:
    found: dict[str, list[RadiusAttribute]] = defaultdict(list)
    for part in chunks(sorted(groups)):
        for row in session.execute(select_among(table.c.groupname, table), {"names": part}):
            found[row.groupname].append(
                RadiusAttribute(name=row.attribute, op=row.op, value=row.value)
            )
    return {name: tuple(sorted(items)) for name, items in found.items()}


def _item_row(owner: str, name: str, item: RadiusAttribute) -> dict[str, str]:
    return {owner: name, "attribute": item.name, "op": item.op, "value": item.value}


def _refuse_other_rates(
    session: Session,
    bindings: Sequence[RadiusBinding],
    current: Mapping[str, str],
    ours: Collection[str],
) -> None:
    foreign = {group for group in current.values() if group not in ours}
    if not foreign:
        return
    checks = _items(session, RADGROUPCHECK, foreign)
    gives = read_groups(session, foreign | {binding.group for binding in bindings})
    for binding in bindings:
        old = current.get(binding.login, binding.group)
        if old not in foreign:
            continue
        lost = gives.get(old, ()) + checks.get(old, ())
        # operators may differ, the outcome at the NAS may not
        if _values(lost) != _values(gives.get(binding.group, ())):
            thing = f"login {binding.login}"
            raise Refused(
                thing,
                f"is in RADIUS group {old}, which gives {_shown(lost)}, and would be moved to "
                f"{binding.group}, which gives {_shown(gives.get(binding.group, ()))}",
                "Choose the tier that the line has now, and move what else the group gives to "
                "radreply rows of the login.",
            )


def _refuse_own_reply(login: str, attribute: str) -> None:
    thing = f"login {login}"
    raise Refused(
        thing,
        f"has a {attribute} of its own in radreply, which competes with its tier's",
        "Delete that row: the tier's group gives the attribute.",
    )


def _keep_passwords(session: Session, bindings: Sequence[RadiusBinding]) -> None:
    present: set[str] = set()
    for part in chunks([binding.login for binding in bindings]):
        query = select(RADCHECK.c.username).where(
            one_of(RADCHECK.c.username, part), RADCHECK.c.attribute == _PASSWORD
        )
        present |= set(session.execute(query).scalars())
    changed = [
        {"the_login": binding.login, "value": binding.password, "op": ":="}
        for binding in bindings
        if binding.login in present
    ]
    fresh: list[dict[str, Any]] = [
        {"username": binding.login, "attribute": _PASSWORD, "op": ":=", "value": binding.password}
        for binding in bindings
        if binding.login not in present
    ]
    try:
        if changed:
            mine = RADCHECK.c.username == bindparam("the_login")
            statement = update(RADCHECK).where(mine, RADCHECK.c.attribute == _PASSWORD)
            session.execute(statement, changed)
        if fresh:
            session.execute(insert(RADCHECK), fresh)
    except StatementError as error:
        error.hide_parameters = True  # its text would repeat the passwords
        raise


def _values(items: Iterable[RadiusAttribute]) -> list[tuple[str, str]]:
    return sorted((item.name, item.value) for item in items)


def _shown(items: Iterable[RadiusAttribute]) -> str:
    """Name the items for a message; another maker's group may hold a secret."""
    shown = [f"{i.name} {'***' if _SECRET.search(i.name) else i.value}" for i in items]
    return ", ".join(shown) or "nothing"
