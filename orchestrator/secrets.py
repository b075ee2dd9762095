"""Turning a reference into its secret at the moment of use, and hiding secrets in any text."""

from __future__ import annotations

import json
import os
import stat
from html import escape
from pathlib import Path
from urllib.parse import quote

from inventory import BadSettings, SecretRef

MASK = "***"


class SecretStore:
    """Resolves `env:NAME`, `file:/path` (mode 0600) and `keyring:service/name`.

    It remembers what it gave out only to be able to mask it in texts.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._given: set[str] = set()

    def __repr__(self) -> str:
        return "SecretStore(***)"

    def __call__(self, ref: SecretRef) -> str:
        """Return the secret; BadSettings names the reference, never the value."""
        if not ref.ref:
            return ""
        scheme, _, rest = ref.ref.partition(":")
        ways = {"env": _from_environment, "file": self._from_file, "keyring": _from_keyring}
        if scheme not in ways or not rest:
            raise BadSettings(  # not quoted: it may be the secret itself
                "secret reference",
                "says no way to keep a secret that is known here",
                "Write env:NAME, file:/path or keyring:service/name.",
            )
        secret = ways[scheme](rest)
        if not secret:
            raise BadSettings(f"secret {scheme}:{rest}", "is empty", "Set it, then try again.")
        self._given.add(secret)
        return secret

    def mask(self, text: str) -> str:
        """Return `text` with every secret that was given out replaced by ***."""
        forms = {form for secret in self._given for form in _forms(secret)}
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, MASK)
        return text

    def _from_file(self, rest: str) -> str:
        path = Path(rest) if Path(rest).is_absolute() else self._base / rest
        refuse_open_file(path, f"secret file {path}")
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError):  # whose text may show what is in it
            raise BadSettings(
                f"secret file {path}", "cannot be read as text", "Put one secret into it, in UTF-8."
            ) from None


def _forms(secret: str) -> tuple[str, ...]:
    """Return a secret as it is, and as Python, JSON, a URL and XML write it."""
    return (
        secret,
        repr(secret)[1:-1],
        json.dumps(secret)[1:-1],
        quote(secret, safe=""),
        escape(secret),
    )


def refuse_open_file(path: Path, thing: str) -> None:
    """Raise BadSettings unless the file exists and nobody but its owner can read it."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise BadSettings(thing, "cannot be read", "Create it with mode 0600.") from error
    if stat.S_IMODE(mode) & 0o077:
        raise BadSettings(
            thing,
            f"others can read it (mode {stat.S_IMODE(mode):04o})",
            f"Run: chmod 600 {path}",
        )


def _from_environment(name: str) -> str:
    if name not in os.environ:
        raise BadSettings(f"secret env:{name}", "the variable is not set", f"Export {name}.")
    return os.environ[name]


def _from_keyring(rest: str) -> str:
    import keyring  # noqa: PLC0415  # slow to import, and most sites never use it
    import keyring.errors  # noqa: PLC0415

    service, _, name = rest.partition("/")
    try:
        return keyring.get_password(service, name) or ""
    except keyring.errors.KeyringError as error:
        raise BadSettings(
            f"secret keyring:{rest}",
            f"the keyring cannot be used: {error}",
            "Unlock it, or keep the secret as env: or file:.",
        ) from error
