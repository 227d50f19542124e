"""Settings of a deployment with some of them changed, by path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from feature_assets.closed import nearest
from pipeline.presets import PRESETS
from pipeline.settings import Settings

OF_PRESETS = {name for preset in PRESETS.values() for name in preset}


def changed(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """The settings with some of them changed. Another preset replaces all settings that presets set.

    Args:
        settings: to start from.
        changes: dotted path → value. A part of the path that names an item of a list of named settings
            (`network.experts.deepfm`) goes into that item; None as its value leaves the item out.

    Raises:
        ValueError: there is no such setting (the message names the nearest one), or the value does not fit.
    """
    values = settings.model_dump(mode="json")
    if "preset" in changes:
        kept = {name: value for name, value in values.items() if name not in OF_PRESETS}
        values = Settings.model_validate({**kept, "preset": changes["preset"]}).model_dump(mode="json")
    for path, value in changes.items():
        _set(values, path.split("."), value, path)
    return Settings.model_validate(values)


def _set(values: Any, parts: Sequence[str], value: Any, path: str) -> None:
    first, rest = parts[0], parts[1:]
    if isinstance(values, list):
        names = [item.get("name") for item in values]
        if first not in names:
            raise ValueError(f"{path}: there is no {first!r}; {nearest(first, [str(name) for name in names])}")
        at = names.index(first)
        if rest:
            _set(values[at], rest, value, path)
        elif value is None:
            del values[at]
        else:
            values[at] = deepcopy(value)
        return
    if not isinstance(values, dict) or first not in values:
        known = values if isinstance(values, dict) else ()
        raise ValueError(f"{path}: there is no setting {first!r}; {nearest(first, known)}")
    if rest:
        _set(values[first], rest, value, path)
    else:
        values[first] = deepcopy(value)
