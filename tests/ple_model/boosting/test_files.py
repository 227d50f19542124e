"""Trees that are saved are the trees that are loaded; what was altered is refused."""

from pathlib import Path

import pytest

from ple_model.boosting.boosted import Boosted
from ple_model.boosting.candidates import CandidateTrees
from ple_model.boosting.files import TreesError, load_trees, save_trees
from ple_model.boosting.fit import fit_all
from tests.ple_model.boosting.world import BUDGET, binned, world


@pytest.fixture(scope="module")
def fitted() -> dict[str, Boosted]:
    x, tasks = world()
    return fit_all(binned(x), tasks, BUDGET)


def test_what_was_saved_is_loaded_and_predicts_the_same_bytes(fitted: dict[str, Boosted], tmp_path: Path) -> None:
    names = save_trees(tmp_path / "a", fitted)
    assert {"trees.json", "binary.txt", "brands.0.txt"} <= set(names)
    assert sorted(names) == sorted(file.name for file in (tmp_path / "a").iterdir())
    loaded = load_trees(tmp_path / "a")
    assert loaded == fitted
    x, _ = world()
    for name, boosted in loaded.items():
        assert boosted.predict(x).tobytes() == fitted[name].predict(x).tobytes()


def test_equal_trees_give_equal_bytes(fitted: dict[str, Boosted], tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save_trees(tmp_path / folder, fitted)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_models_of_many_columns_keep_their_order(fitted: dict[str, Boosted], tmp_path: Path) -> None:
    text = fitted["binary"].models[0]
    many = Boosted("contrastive", (0.5,) * 12, (text, text + "\n", text + "\n\n"), (9, 10, 2), (1, 2, 3), 12, 5, 6)
    save_trees(tmp_path, {"task": many})
    assert load_trees(tmp_path)["task"] == many


def test_an_altered_or_missing_file_is_refused_by_name(fitted: dict[str, Boosted], tmp_path: Path) -> None:
    save_trees(tmp_path, fitted)
    file = tmp_path / "binary.txt"
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"num_leaves=7", b"num_leaves=6", 1))
    with pytest.raises(TreesError, match=r"binary\.txt is not the file that was saved"):
        load_trees(tmp_path)
    file.unlink()
    with pytest.raises(TreesError, match=r"lacks binary\.txt"):
        load_trees(tmp_path)
    (tmp_path / "trees.json").write_text("{")
    with pytest.raises(TreesError, match="not readable JSON"):
        load_trees(tmp_path)
    (tmp_path / "trees.json").unlink()
    with pytest.raises(TreesError, match="holds no trees"):
        load_trees(tmp_path)


def test_a_model_over_pairs_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    pairs = CandidateTrees("contrastive", "tree\n", (0.25, 0.5), (1, -1, 0), trees=3, train_rows=7, pairs=20)
    assert save_trees(tmp_path, {"brands": pairs}) == ["trees.json", "brands.txt"]
    assert load_trees(tmp_path) == {"brands": pairs}
