"""Papers as files: their owner's alone, whole or not there, and never over one that is there."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from inventory import BandmasterError, Refused, WrongUse, new_id

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._-]")


class Unwritable(BandmasterError):
    """A file could not be written: mend what the system says and export again."""


def file_name(number: str, ending: str) -> str:
    """Return the name of a paper: its number alone, of which its issuer and kind are a part."""
    return f"{_NOT_IN_NAMES.sub('_', number).lstrip('.')}.{ending}"


def open_folder(folder: Path) -> None:
    """Make a folder for its owner alone unless there is one; WrongUse where that cannot be."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as problem:
        raise WrongUse(f"--out {folder}", f"is no folder: {problem.strerror}") from problem


def keep(folder: Path, name: str, content: bytes) -> bool:
    """Write a file (0600); return False where the same one is there already.

    It appears whole, under a name that was free. Raises Refused where another file has the name,
    Unwritable where the system does not write it.
    """
    path, fresh = folder / name, folder / f".{name}.{new_id()}"
    try:
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(fresh, path)
        finally:
            with suppress(FileNotFoundError):
                fresh.unlink()
    except FileExistsError:
        if _holds(path, content):
            return False
        raise Refused(
            str(path),
            "is there already and says something else",
            "Move it away, or export elsewhere.",
        ) from None
    except OSError as problem:
        raise Unwritable(str(path), f"cannot be written: {problem.strerror}") from problem
    return True


def _holds(path: Path, content: bytes) -> bool:
    """Whether a plain file, and no link to one, holds just this."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            return file.read(len(content) + 1) == content
    except OSError:
        return False
