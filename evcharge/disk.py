"""Room on the disk of the platform's home.

On a full disk each server fails in its own way. So the platform stops adding before: while less than a reserve is free, nothing
is sent to Kafka, published or loaded. What waits stays where it is, and goes on by itself once there is room.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from evcharge.connections import ServerDownError
from evcharge.settings import Settings


class NoRoomError(ServerDownError):
    """The disk has too little room. It counts as a server that is down: nothing is lost, and it is tried again later."""


def free_bytes(folder: Path) -> int:
    """What is free on the disk of a folder, which need not exist yet."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return shutil.disk_usage(existing).free


def reserve_bytes(settings: Settings) -> int:
    """What stays free on the disk."""
    return settings.disk_reserve_mb * 1_000_000


def lack_of_room(settings: Settings) -> str:
    """What is wrong in one line; empty if there is room."""
    free = free_bytes(settings.home)
    if free >= reserve_bytes(settings):
        return ""
    return (
        f"the disk of {settings.home} has {free / 1e9:.1f} GB left, less than the {reserve_bytes(settings) / 1e9:.1f} GB that "
        "stay free (EVCHARGE_DISK_RESERVE_MB): nothing is sent, published or loaded until there is room"
    )


def require_room(settings: Settings, store: str) -> None:
    """Returns if the home's disk has room, or if `store`, which gets what is added, is external. Raises NoRoomError."""
    if not settings.is_external(store) and (lack := lack_of_room(settings)):
        raise NoRoomError(lack)
