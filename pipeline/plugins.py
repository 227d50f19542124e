"""Plug-ins: modules of one's own that add to the product without an edit of it.

A plug-in is an importable module with a function `extend(extensions)`; the setting `plugins` names it. What it adds to
the packages goes into their registries; promotion rules and monitoring assets are kept here. No registry belongs here.
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import dagster as dg

    from feature_assets.data.dataset import DatasetConfig
    from pipeline.training.promotion import Rule

MonitoringFactory = Callable[["DatasetConfig", "dg.PartitionsDefinition"], "Sequence[dg.AssetsDefinition]"]
"""Makes assets of the group `monitoring` from the data set and the partitions of the nights."""


class PluginError(ValueError):
    """A plug-in that cannot be imported, has no `extend`, or fails in it."""


@dataclass
class Extensions:
    """The additions of one plug-in: its `extend` calls these methods."""

    promotion_rules: "list[Rule]" = field(default_factory=list)
    monitoring_factories: list[MonitoringFactory] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    """Python files of the plug-in: they decide about what a training makes, so its digest covers them."""

    def feature_group(self, group: Any, section: str | None = None, normalised: bool = True) -> None:
        """Add a feature group (`feature_assets.registry.register`)."""
        import_module("feature_assets.registry").register(group, section=section, normalised=normalised)

    def task(self, task: Any) -> None:
        """Add a task (`feature_assets.labels.register`)."""
        import_module("feature_assets.labels").register(task)

    def expert(self, config_class: type, expert_class: type) -> None:
        """Add an expert of the network (`ple_model.experts.register`)."""
        import_module("ple_model.experts").register(config_class, expert_class)

    def promotion_rule(self, rule: "Rule") -> None:
        """Add a rule that a candidate must pass to take over."""
        self.promotion_rules.append(rule)

    def monitoring_assets(self, factory: MonitoringFactory) -> None:
        """Add assets of the group `monitoring`; the job `nightly` materialises them."""
        self.monitoring_factories.append(factory)


def load_plugins(names: Sequence[str]) -> Extensions:
    """Everything that the named modules add, in their order. A module extends the registries once a process.

    Raises:
        PluginError: a module cannot be imported, has no function `extend`, or fails in it.
    """
    loaded = [_load(name) for name in names]
    return Extensions(
        promotion_rules=[rule for one in loaded for rule in one.promotion_rules],
        monitoring_factories=[factory for one in loaded for factory in one.monitoring_factories],
        files=[file for one in loaded for file in one.files],
    )


@cache
def _load(name: str) -> Extensions:
    try:
        module = import_module(name)
    except Exception as error:  # whatever the code of somebody else raises
        raise PluginError(f"plug-in {name!r} cannot be imported: {_words(error)}") from error
    if not callable(getattr(module, "extend", None)):
        raise PluginError(f"plug-in {name!r} has no function extend(extensions)")
    extensions = Extensions()
    try:
        module.extend(extensions)
    except Exception as error:
        raise PluginError(f"plug-in {name!r} failed in extend(extensions): {_words(error)}") from error
    source = Path(str(module.__file__))
    extensions.files += sorted(source.parent.rglob("*.py")) if source.name == "__init__.py" else [source]
    return extensions


def _words(error: Exception) -> str:
    """What an error of the plug-in says, and the line that raised it."""
    if isinstance(error, ImportError | SyntaxError):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({frame.filename}, line {frame.lineno})"
