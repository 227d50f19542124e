"""The wheel holds the three packages and all that they read; a trial installs it and runs a night of a user's files."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from click.testing import CliRunner

import pipeline
from pipeline.cli import main
from tests.deliveries import shop

ROOT = Path(__file__).parents[1]
PACKAGES = {"pipeline", "ple_model", "feature_assets"}
OUTSIDE = re.compile(r"parents\[[1-9]\]|\bREPOSITORY\b")
"""How code would reach files beside the packages."""
REACHING = {
    "feature_assets/kernels/compiled.py": "its own package",
    "pipeline/settings.py": "declares REPOSITORY",
    "pipeline/commands/study.py": "the studies, which a wheel says that it has not",
    "pipeline/servers/interfaces.py": "the working folder of servers: where the packages are imported from",
    "pipeline/intake/arrivals.py": "a path inside the lake",
    "pipeline/upkeep/upgrade.py": "a path inside the lake",
    "pipeline/resources/local_versions.py": "a path inside the lake",
    "pipeline/resources/object_versions.py": "a path inside the lake",
}


def build(folder: Path) -> Path:
    """The wheel of this checkout, without a network; what setuptools leaves behind lies in `folder`."""
    source = folder / "source"
    source.mkdir()
    for name in (*PACKAGES, "pyproject.toml", "README.md"):
        (source / name).symlink_to(ROOT / name)
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*words, "--wheel-dir", str(folder), "."], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    [wheel] = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"))


def files_of(folder: Path) -> set[str]:
    """Files of a package in the clone, links followed, without what Python leaves behind."""
    found: set[str] = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if name != "__pycache__"]
        found |= {(Path(here) / name).relative_to(ROOT).as_posix() for name in names}
    return found


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    info = {name for name in inside if name.partition("/")[0].endswith(".dist-info")}
    assert inside - info == {name for package in PACKAGES for name in files_of(ROOT / package)}
    top = next(name for name in info if name.endswith("top_level.txt"))
    assert set(zipfile.ZipFile(wheel).read(top).decode().split()) == PACKAGES
    assert {
        "feature_assets/datasets/completejourney.yaml",
        "feature_assets/datasets/trees/completejourney.yaml",
    } <= inside


def test_the_command_the_extras_and_the_version_stand_in_one_place(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    [info] = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
    assert "ple = pipeline.cli:main" in archive.read(f"{info}/entry_points.txt").decode()
    metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
    assert metadata["Version"] == pipeline.__version__
    assert {"gpu", "bench", "docs", "postgres"} <= set(metadata.get_all("Provides-Extra") or ())
    assert CliRunner().invoke(main, ["--version"]).stdout.strip() == f"ple {pipeline.__version__}"
    assert "version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"## {pipeline.__version__}" in (ROOT / "docs" / "changelog.md").read_text(encoding="utf-8")


def test_the_packages_read_nothing_beside_them() -> None:
    found = {
        name
        for package in PACKAGES
        for name in files_of(ROOT / package)
        if name.endswith(".py") and OUTSIDE.search((ROOT / name).read_text(encoding="utf-8"))
    }
    assert found == set(REACHING)


def test_what_is_installed_answers_without_the_clone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "from pipeline.settings import WORKSPACE, Settings; from pipeline.training.trees import FOLDER;"
        "from pipeline.reports.pages.page import Page; import pipeline;"
        "print(pipeline.__file__); print(Settings(home='.', dataset='bank_simulation').load_dataset().name);"
        "print(WORKSPACE.is_file(), len(list(FOLDER.glob('*.yaml'))), '<h1>' in Page.of('t', '', []).html())"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    where, *told = done.stdout.splitlines()
    assert Path(where).is_relative_to(tmp_path)
    assert told == ["bank_simulation", "True 1 True"]


def test_a_build_of_torch_without_cuda_is_one_setting() -> None:
    words = ["make", "--dry-run", "--always-make", "setup", "TORCH_INDEX=https://index.example/cpu"]
    told = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    torch, rest = (next(i for i, line in enumerate(told) if end in line) for end in (" torch", "--editable"))
    assert "--index-url https://index.example/cpu torch" in told[torch]
    assert torch < rest
    without = subprocess.run(words[:-1], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "--index-url" not in without
    image = (ROOT / "docs" / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    assert '--index-url "$TORCH_INDEX" torch' in image
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert re.search(r"^torch==\d", pinned, re.MULTILINE)


@pytest.mark.trial
def test_the_wheel_in_an_empty_environment_runs_a_night_of_a_users_files(trial_folder: Path) -> None:
    """Wheel, `ple data init`, `ple nightly --dataset-file`; nothing of the clone is on the path."""
    work = trial_folder / "installed"
    work.mkdir(exist_ok=True)
    own, home, ple = work / "sold", work / "home", work / "venv" / "bin" / "ple"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PLE_"))}
    environment = kept | {"PLE_HOME": str(home), "OMP_NUM_THREADS": "1"}

    def run(*words: str | Path) -> str:
        done = subprocess.run([str(w) for w in words], cwd=work, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    if not ple.exists():
        wheel = next(iter(work.glob("*.whl")), None) or build(work)
        run(sys.executable, "-m", "venv", work / "venv")
        pip = [work / "venv" / "bin" / "pip", "install", "--quiet", "--no-compile"]
        run(*pip, "--constraint", ROOT / "constraints.txt", wheel)
    assert run(ple, "--version").strip() == f"ple {pipeline.__version__}"
    if not own.exists():
        own.mkdir()
        tables = shop.tables()
        lines = tables["transactions"].join(tables["products"], on="product_id", how="left")
        lines.select("customer_id", "at", "product_id", "category_l1", "amount", "channel").write_csv(own / "sales.csv")
    description = own / "sold.yaml"
    if not description.exists():
        run(ple, "data", "init", own)
    home.mkdir(exist_ok=True)
    (home / "settings.yaml").write_text(
        "bootstrap_resamples: 20\nsnapshot_step_days: 28\npromotion: {critical: []}\n"
        "training: {phase1_epochs: 2, phase2_epochs: 1, warmup_epochs: 1, phase2_warmup_epochs: 1}\n"
        "boosting: {single: {rounds: 5, leaves: 7}, multiclass: {rounds: 3, leaves: 7}}\n",
        encoding="utf-8",
    )
    run(ple, "nightly", "--dataset-file", description)
    environment["DATASET_FILE"] = str(description)
    told = run(ple, "scores")
    assert "ltv" in told
    assert "churn" not in told, "5 of the 60 customers have ever left for four weeks"
