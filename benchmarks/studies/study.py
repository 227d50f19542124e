"""What a study is: data. A variant is a named change of settings, so that an ablation is a list."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from numpy.typing import NDArray

from feature_assets.closed import nearest

if TYPE_CHECKING:
    from benchmarks.studies.store import Cell, Store

Role = Literal["validation", "test", "later"]
Run = Literal["network", "trees", "refit", "peer"]
Stopping = Literal["holdout", "training dates"]
Log = Callable[[str], None]
Arrays = dict[str, NDArray]


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        name: in tables and files.
        changes: path of a setting → its value, as `changes.changed` reads them.
        run: what is trained: a version as a night makes it, the boosted trees alone, a version and after it its
            network again on every label that had matured by the origin, or another model.
        stopping: rows that choose the epoch: those of the holdout's validation customers, or the same customers' rows
            at the latest training dates, which then train nothing. Calibration reads the holdout's in any case.
        peer: with run "peer", a library or a published network (`nights.peers`, `tables.peers`).
        why: what the variant asks, for the report.
    """

    name: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    run: Run = "network"
    stopping: Stopping = "holdout"
    peer: str = ""
    why: str = ""


@dataclass(frozen=True)
class Comparison:
    """A subject beside others; a model is `<variant>/<source>`, a source one of the predictions that a cell writes."""

    subject: str
    others: tuple[str, ...]
    title: str


@dataclass(frozen=True)
class Trained:
    """What a cell has computed: predictions, role → what `CellFiles.save` takes; epochs, in words; rows a second; the
    network's parameters."""

    predictions: dict[str, Arrays]
    best: str = ""
    speed: float | None = None
    parameters: int | None = None


@dataclass(frozen=True)
class Printed:
    """A figure that a paper prints: model, task → value of the task's metric, and where it stands."""

    model: str
    values: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class Study(ABC):
    """Origins × seeds × variants, and what is compared. What an origin and a cell are, a kind of study says.

    Attributes:
        name: of the study and of its report.
        title, question: for people.
        origins: each has rows of its own to train and to judge.
        seeds: of initial weights and shuffling.
        variants: what is trained at each origin with each seed.
        comparisons: tables of the report.
        role: the rows that are judged.
        oracle: whether to measure the distance to the best possible prediction.
        printed: figures of papers, to stand beside those of the models.
        seesaw: the model over which the gains on two tasks are drawn against each other; none without it.
        along: models that are drawn along the origins, which are numbers then.
        core_hours: what all cells cost together, as measured; 0 where it was not.
    """

    name: str
    title: str
    question: str
    origins: tuple[str, ...]
    seeds: tuple[int, ...]
    variants: tuple[Variant, ...]
    comparisons: tuple[Comparison, ...]
    role: Role = "test"
    oracle: bool = False
    printed: tuple[Printed, ...] = ()
    seesaw: str = ""
    along: tuple[str, ...] = ()
    core_hours: float = 0.0

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"study {self.name}: two variants have one name: {names}")
        for comparison in self.comparisons:
            for model in (comparison.subject, *comparison.others):
                if variant_of(model) not in names:
                    hint = nearest(variant_of(model), names)
                    raise ValueError(f"study {self.name}: {model!r} is of no variant; {hint}")

    def variant(self, name: str) -> Variant:
        """The variant of that name. Raises ValueError that names the nearest one."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise ValueError(f"no variant {name!r}; {nearest(name, [v.name for v in self.variants])}")

    # --- what a kind of study says ------------------------------------------------------------------------------
    @property
    @abstractmethod
    def data(self) -> str:
        """Name of the data set."""

    @property
    def arguments(self) -> str:
        """Arguments of the command that runs the study."""
        return self.name

    @abstractmethod
    def check(self, root: Path) -> None:
        """Raises ValueError where a setting of a variant does not exist."""

    @abstractmethod
    def origin_content(self, root: Path) -> Mapping[str, Any]:
        """What decides the material of an origin."""

    @abstractmethod
    def cell_content(self, variant: Variant, seed: int, root: Path) -> Mapping[str, Any]:
        """What decides a cell beside its origin and the code."""

    @abstractmethod
    def code(self) -> str:
        """Digest of the code that decides a cell's predictions beside that of its material."""

    @abstractmethod
    def prepare(self, origin: str, store: Store, log: Log) -> None:
        """Make the material of an origin; what is there is not made again."""

    @abstractmethod
    def compute(self, cell: Cell, log: Log) -> Trained:
        """Train and predict, in a process of its own."""

    @property
    def shared(self) -> Collection[str]:
        """Sources that a variant does not decide: cells of several variants have the same."""
        return ()

    @abstractmethod
    def share(self, cell: Cell, log: Log) -> None:
        """Make what several cells read, before they all would."""

    @abstractmethod
    def facts(self, about: Mapping[str, Any]) -> str:
        """An origin in words, from what `OriginFiles.about` says."""


def variant_of(model: str) -> str:
    """The variant of a model `<variant>/<source>`."""
    return model.split("/", 1)[0]


def source_of(model: str) -> str:
    """The source of a model `<variant>/<source>`."""
    return model.split("/", 1)[1]
