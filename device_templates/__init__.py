"""What each platform says: one folder a platform, found by looking."""

from .discover import platform, platforms
from .fields import Field
from .gate import gate, gate_profiles, typed_objects
from .platform import (
    AccessSession,
    Database,
    DeadMan,
    Mechanism,
    Objects,
    Platform,
    ProfileSeen,
    Reading,
    ReplyAttribute,
    Section,
    as_section,
    section_rate,
    section_text,
)

__all__ = [
    "AccessSession",
    "Database",
    "DeadMan",
    "Field",
    "Mechanism",
    "Objects",
    "Platform",
    "ProfileSeen",
    "Reading",
    "ReplyAttribute",
    "Section",
    "as_section",
    "gate",
    "gate_profiles",
    "platform",
    "platforms",
    "section_rate",
    "section_text",
    "typed_objects",
]
