"""Damage to files, as a disk or a careless hand does it."""

from __future__ import annotations

import os
from pathlib import Path


def flip(file: Path, place: float = 0.5) -> None:
    """Flip one bit at this share of the file; the time of the change moves, so that a process that has read the file
    looks again."""
    content = bytearray(file.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(1, 1))
