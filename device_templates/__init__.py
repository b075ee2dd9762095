"""What each platform says: one folder a platform, found by looking."""

from .fields import Field
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
    section_rate,
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
    "section_rate",
]
