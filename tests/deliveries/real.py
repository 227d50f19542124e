"""Real purchases that a package brings: CDNOW (Fader & Hardie), in lifetimes."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

REAL = Path(str(distribution("lifetimes").locate_file("lifetimes/datasets")))
"""Folder of the files."""
