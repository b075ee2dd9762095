"""Reads devices' answers that may be hostile: bounded words in errors, XML without a DTD."""

from __future__ import annotations

# A DOCTYPE is refused before the parser sees the text, so no entity can be declared in it.
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from inventory import Unreadable


def unreadable(platform: str, problem: str) -> Unreadable:
    """Return the error for an answer that was not understood; it must not quote configuration."""
    return Unreadable(
        f"{platform} answer",
        f"{problem}: nothing is believed about this device",
        "Look at the device by hand; keep the answer if it looks right.",
    )


def xml_root(platform: str, text: str, expected: str) -> ET.Element:
    """Return the element called `expected` (local name): the root, or the rpc-reply's child.

    Raises Unreadable for text that is not XML, has a DTD, or holds something else or an error.
    """
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise unreadable(platform, "XML with a document type is refused")
    try:
        root = ET.fromstring(text)  # noqa: S314 - without a DTD there is nothing to expand
    except (ET.ParseError, ValueError) as error:
        raise unreadable(platform, f"{expected} is not well-formed XML") from error
    candidates = [root, *root] if local(root) == "rpc-reply" else [root]
    if any(local(element) == "rpc-error" for element in root.iter()):
        raise unreadable(platform, f"an error came instead of {expected}")
    for element in candidates:
        if local(element) == expected:
            return element
    raise unreadable(platform, f"{local(root)!r:.60} came instead of {expected}")


def local(element: ET.Element) -> str:
    """Return an element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def below(element: ET.Element, name: str) -> Iterator[ET.Element]:
    """Give every descendant called `name` (local name), in document order."""
    return (found for found in element.iter() if local(found) == name and found is not element)


def first_text(element: ET.Element, name: str) -> str:
    """Return the stripped text of the first descendant called `name`; "" if there is none."""
    found = next(below(element, name), None)
    return (found.text or "").strip() if found is not None else ""
