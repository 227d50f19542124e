"""The schema: the layout of the columns, the order of the groups, and groups that plug-ins add."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_assets import build, catalogue, groups, registry
from feature_assets.events.view import View
from feature_assets.group import Column, FeatureGroup, Inputs, SideInput, Values
from tests.deliveries import synthetic

SPEC = {
    "base": (0, 237),
    "multi_source": (238, 328),
    "domain": (329, 487),
    "multidisciplinary": (488, 511),
    "model_derived": (512, 538),
    "extended_source": (539, 622),
    "merchant": (623, 643),
    "raw_power_law": (644, 733),
}
"""The reference columns."""

DIGEST = "bafc2d19a751"
"""Of the whole schema."""

PLAIN = ("periods", "waits", "calendar", "departments", "repeats", "channel_counts", "exposure", "held", "stages")


def test_the_reference_columns_come_first_and_are_the_specification() -> None:
    assert registry.reference() == tuple(range(734))
    assert registry.normalised() == 644
    ranges = {name: (first, end - 1) for name, (first, end) in registry.ranges().items()}
    assert {name: ranges[name] for name in SPEC} == SPEC


def test_plain_columns_lie_behind_the_reference_and_are_raw() -> None:
    first, end = registry.ranges()["plain"]
    assert first == len(registry.reference())
    assert end == registry.width()
    assert set(registry.ranges()) - set(SPEC) == {"plain"}
    positions = [i for group in PLAIN for i in registry.group_positions(group)]
    assert positions == list(range(first, end))
    assert not any(registry.is_normalised(registry.names()[i]) for i in positions)


def test_names_are_different_and_groups_lie_in_their_parts() -> None:
    assert len(set(registry.names())) == registry.width()
    assert sum(len(group.columns) for group in registry.registry().values()) == registry.width()
    first, end = registry.ranges()["extended_source"]
    assert registry.group_positions("campaign") == tuple(range(first + 43, first + 55))
    assert end > first + 55
    first, _ = registry.ranges()["domain"]
    assert registry.group_positions("gmm") == tuple(range(first + 70, first + 92))
    assert registry.group_positions("base") == tuple(range(238))
    assert registry.group_positions("raw_power_law") == tuple(range(644, 734))


def test_every_column_says_what_it_is() -> None:
    for column in registry.columns():
        assert column.meaning, column.name
        assert column.unit, column.name
        assert column.window, column.name
        assert column.sources, column.name
    catalogue = registry.catalogue()
    assert catalogue.height == registry.width()
    assert set(catalogue["group"]) == {name for name, group in registry.registry().items() if group.columns}


def test_groups_come_after_what_they_need() -> None:
    order = list(registry.registry())
    for name, group in registry.registry().items():
        assert all(order.index(need) < order.index(name) for need in group.needs)


def test_digest_depends_on_what_is_present_and_not_on_its_order() -> None:
    names = list(registry.names())
    assert registry.digest(names[:5]) == registry.digest(reversed(names[:5]))
    assert registry.digest(names[:5]) != registry.digest(names[:6])
    with pytest.raises(registry.SchemaError, match="nowhere"):
        registry.digest(["nowhere"])


def test_digest_of_the_built_in_schema_is_that_of_the_bundles_in_use() -> None:
    """Names, their order, and the order of the side inputs: a change here makes every registered version stale."""
    assert registry.digest(registry.names()) == DIGEST


def test_order_comes_in_rounds_as_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`a` needs nothing but is listed after `b`, which needs `c`: the first round holds `c` and `a`, the next `b`."""
    monkeypatch.setattr(registry, "implemented", lambda: [Constant("c"), Constant("b", needs=("c",)), Constant("a")])
    registry.registry.cache_clear()
    assert list(registry.registry()) == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ({"a": ("b",), "b": ("a",)}, "need each other: .*a.*b"),
        ({"a": ("nowhere",)}, r"need \['nowhere'\], which no registered group"),
    ],
)
def test_needs_that_cannot_be_met_are_an_error(
    needs: dict[str, tuple[str, ...]], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "implemented", lambda: [Constant(name, needs=n) for name, n in needs.items()])
    registry.registry.cache_clear()
    with pytest.raises(registry.SchemaError, match=message):
        registry.registry()


class Constant(FeatureGroup):
    """`width` columns that differ between customers by their row."""

    description = "for the test"
    sources = ("customers",)

    def __init__(self, name: str, width: int = 1, needs: tuple[str, ...] = (), prefix: str | None = None) -> None:
        self.name, self.needs = name, needs
        self.columns = tuple(
            Column(f"{prefix or name}__{i}", "row of the customer", "number", "none", ("customers",))
            for i in range(width)
        )

    def _values(self, inputs: Inputs) -> Values:
        rows = np.arange(inputs.view.customers.height, dtype=np.float64)
        return Values(np.stack([rows + i for i in range(len(self.columns))], axis=1))


class SideOnly(FeatureGroup):
    """A side input and no column."""

    name = "side_only"
    description = "for the test"
    sources = ("customers",)
    side_inputs = (SideInput("ones", "ones", (2,), pl.Float32),)

    def _values(self, inputs: Inputs) -> Values:
        return Values(sides={"ones": np.ones((inputs.view.customers.height, 2))})


@pytest.fixture(autouse=True)
def _plugins_go() -> Iterator[None]:
    """Whatever a test registers goes again, and what it derived from it."""
    yield
    for plugin in reversed(registry._plugins):
        registry.unregister(plugin.group.name)
    registry._forget()


def test_a_plugin_has_a_section_of_its_own_and_goes_again() -> None:
    before = (registry.names(), registry.ranges(), list(registry.registry()), registry.catalogue())
    width, reference = registry.width(), [registry.names()[i] for i in registry.reference()]
    group = Constant("weekend", 3)
    registry.register(group, section="habits")
    registry.register(Constant("heavy", 2), normalised=False)
    assert (registry.width(), registry.normalised()) == (width + 5, 647)
    assert registry.ranges()["habits"] == (644, 647)
    assert registry.ranges()["raw_power_law"] == (647, 737)
    assert registry.ranges()["heavy"] == (width + 3, width + 5)
    assert [registry.names()[i] for i in registry.reference()] == reference
    assert registry.group_positions("weekend") == (644, 645, 646)
    assert registry.is_normalised("weekend__2")
    assert not registry.is_normalised("heavy__0")
    assert not registry.is_normalised("raw_power_law__amount_14d")
    assert registry.catalogue().filter(pl.col("group") == "weekend")["section"].to_list() == ["habits"] * 3
    assert registry.digest(before[0]) != DIGEST
    assert "weekend" in catalogue.markdown()
    registry.register(group, section="habits")  # again: changes nothing
    assert registry.width() == width + 5
    registry.unregister("weekend")
    registry.unregister("heavy")
    now = (registry.names(), registry.ranges(), list(registry.registry()), registry.catalogue())
    assert now[:3] == before[:3]
    assert now[3].equals(before[3])
    with pytest.raises(registry.SchemaError, match="no plug-in group is called 'weekend'"):
        registry.unregister("weekend")


def test_two_plugins_share_a_section_and_one_needs_the_other() -> None:
    registry.register(Constant("habits", 2), section="habits")
    registry.register(Constant("trips", 3, needs=("habits", "campaign")), section="habits")
    assert registry.ranges()["habits"] == (644, 649)
    assert registry.group_positions("trips") == (646, 647, 648)
    order = list(registry.registry())
    assert order.index("trips") > order.index("habits")
    with pytest.raises(registry.SchemaError, match=r"\['trips'\] need group 'habits'"):
        registry.unregister("habits")


def test_a_plugin_with_side_inputs_only_needs_no_section() -> None:
    ranges = registry.ranges()
    registry.register(SideOnly())
    assert registry.ranges() == ranges
    assert [side.name for side in registry.side_inputs()].count("ones") == 1


@pytest.mark.parametrize(
    ("group", "options", "message"),
    [
        (Constant("campaign"), {}, "there is a group 'campaign' already"),
        (Constant("mine"), {"section": "base"}, "belongs to the built-in groups"),
        (Constant("mine", prefix="campaign"), {}, "must begin with 'mine__'"),
        (Constant("mine", needs=("nowhere",)), {}, "nowhere"),
        (Constant("mine", needs=("mine",)), {}, "need each other"),
        (Constant("mine"), {"section": "taken", "normalised": False}, "cannot hold both"),
    ],
)
def test_a_plugin_that_does_not_fit_is_refused_and_leaves_nothing(
    group: FeatureGroup, options: dict[str, object], message: str
) -> None:
    registry.register(Constant("theirs"), section="taken")
    names = registry.names()
    with pytest.raises(registry.SchemaError, match=message):
        registry.register(group, **options)
    assert registry.names() == names


def test_side_inputs_of_a_plugin_must_have_names_of_their_own() -> None:
    class Second(SideOnly):
        name = "second"

    registry.register(SideOnly())
    with pytest.raises(registry.SchemaError, match=r"declared twice: \['ones'\]"):
        registry.register(Second())
    assert "second" not in registry.registry()


def test_a_plugin_is_fitted_computed_and_assembled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among no other groups, so that nothing else has to be fitted."""
    registry.register(Constant("weekend", 2))
    registry.register(Constant("heavy"), normalised=False)
    registry.register(SideOnly())
    few = {name: group for name, group in registry.registry().items() if name in ("weekend", "heavy", "side_only")}
    monkeypatch.setattr(registry, "registry", lambda: few)
    tables = synthetic.tables()
    state = build.fit_state(tables, synthetic.TRAIN, seed=0)
    assert state.present == ["weekend__0", "weekend__1", "heavy__0"]
    view = View(tables, synthetic.AS_OF)
    matrix = build.assemble(view, build.compute_all(view, state), state)
    assert matrix.columns == ["customer_id", "as_of", "weekend__0", "weekend__1", "heavy__0", "ones"]
    assert matrix["weekend__0"].abs().max() <= 4.0
    assert matrix["heavy__0"].to_list() == list(range(view.customers.height))


def test_every_module_can_be_imported_alone() -> None:
    """No import depends on another one having come first: there is no circle."""
    root = Path(registry.__file__).parents[1]
    modules = [f"feature_assets.{file.stem}" for file in sorted((root / "feature_assets").glob("[a-z]*.py"))]
    modules += [f"feature_assets.groups.{module}" for module in groups.MODULES]
    script = (
        "import importlib, sys\n"
        "keep = set(sys.modules)\n"
        "for module in sys.argv[1:]:\n"
        "    importlib.import_module(module)\n"
        "    for name in [n for n in sys.modules if n.startswith('feature_assets')]:\n"
        "        del sys.modules[name]\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *modules], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
