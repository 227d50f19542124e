"""Every block of code in README and docs: run by a test that is named here, or not, with the reason; and every command
of `ple` and `make`, in a block or in the text, exists with its options."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import pytest
import yaml

from benchmarks.studies import __main__ as studies
from pipeline.cli import main
from pipeline.settings import load_settings
from tests.pipeline.commands.test_errors import every_command

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", *sorted(file.relative_to(ROOT).as_posix() for file in (ROOT / "docs").rglob("*.md")))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`((?:ple|make) [^`]+)`")
EXAMPLE = "test_the_example_becomes_contract_tables"
DATABASE = "test_the_example_of_a_database_is_read_night_by_night"
RECIPES = "test_each_recipe_is_one_file_beside_the_settings"

PAGES_RUN_BY = {
    ("docs/own_data.md", "csv"): EXAMPLE,
    ("docs/own_data.md", "yaml"): EXAMPLE,
    ("docs/own_data.md", "sql"): DATABASE,
    ("docs/extending.md", "python"): RECIPES,
    ("docs/extending.md", "yaml"): RECIPES,
    ("docs/operating.md", "yaml"): "test_settings_in_operating_are_settings",
}
"""Page, language → the test that runs all of its blocks."""
BLOCKS_RUN_BY = {
    "model = mlflow.pyfunc.load_model(": "test_the_registered_model_predicts_without_the_pipeline",
    "model = PLEClusterAdaTT(ModelConfig(": "test_the_model_of_the_readme_predicts",
    "duckdb.read_parquet(f": "test_every_reader_reads_the_folder_the_date_and_the_version",
    "connection.register_filesystem(": "test_readers_in_polars_and_duckdb_see_one_version_while_connections_are_cut",
    "simulate(Path(": "test_the_simulation_is_written_as_the_page_says",
    "write(Path(": "test_the_simulation_is_written_as_the_page_says",
}
"""Words of a block → the test that runs it, or the same calls."""
NOT_CODE = {
    "customer_id     ": "scores, printed",
    "/data/inbox/": "a listing of folders",
    "lake/published/": "a listing of folders",
    "<url>/published/": "a listing of objects",
}
"""How a block without a language begins → what it is."""
COMMANDS_RUN_BY = {
    "nightly": "test_the_wheel_in_an_empty_environment_runs_a_night_of_a_users_files",
    "backfill": "test_the_nights_of_a_range_are_made_oldest_first_and_published_ones_left",
    "train": "test_a_training_on_demand_fails_loudly",
    "promote": "test_promote_and_rollback_by_command_are_noted_in_dagster",
    "rollback": "test_after_a_rollback_the_nights_give_the_old_scores_bit_for_bit",
    "status": "test_the_status_is_a_screenful_and_the_same_as_json",
    "doctor": "test_a_restored_home_works_and_the_doctor_finds_it_well",
    "ui": "test_one_server_takes_the_place_of_the_command",
    "backup": "test_a_restored_home_works_and_the_doctor_finds_it_well",
    "restore": "test_a_restored_home_works_and_the_doctor_finds_it_well",
    "forget": "test_the_command_asks_tells_and_says_what_versions_retain",
    "data init": "test_init_describes_what_it_sees_and_marks_its_guesses",
    "data check": "test_check_says_what_a_night_would_find",
    "report": "test_the_report_is_found_made_again_where_it_is_missing_and_copied",
    "scores": "test_one_customer_in_natural_units_with_class_names",
    "explain task": "test_the_page_of_a_task_in_every_form",
    "explain customer": "test_the_page_of_a_customer_shows_natural_values",
    "tasks": "test_every_task_is_listed_with_its_state",
    "base-rates": "test_base_rates_have_the_names_of_classes",
    "model": "test_every_command_is_tried",
    "features": "test_overview_lists_every_group_and_its_positions",
    "plan": "test_a_plan_says_what_a_night_takes_and_what_ends_first",
    "study": "test_a_study_of_a_table_to_the_report",
}
OTHERS = {
    "mlflow": "test_a_version_is_registered_found_elsewhere_verified_and_removed",
    "python3": "Python's own: -m venv",
    "pip": "test_the_wheel_in_an_empty_environment_runs_a_night_of_a_users_files",
    "python": "test_a_study_from_the_delivery_to_the_report",
    "export": "the shell's own",
    "createuser": "PostgreSQL's own",
    "createdb": "PostgreSQL's own",
    "docker": "test_the_image_copies_what_is_there",
    "kubectl": "test_kustomize_builds_each_layer",
}
"""Other programs that a block calls → the test that does the same, or whose they are."""


LAUNCHPAD = "ops: {make_champion: "
"""How the one block of YAML begins that is no setting: what is typed into Dagster's launchpad."""


class Block(NamedTuple):
    page: str
    language: str
    text: str


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


BLOCKS = [Block(page, *found) for page in PAGES for found in FENCE.findall(text_of(page))]


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a block of shell, as words without settings of the environment."""
    for line in block.text.splitlines():
        for part in line.partition(" #")[0].split(";"):
            words = shlex.split(re.sub(r"^\s*\w+=\$\((.*)\)$", r"\1", part))
            while words and re.match(r"[A-Z_]+=", words[0]):
                words.pop(0)
            if words:
                yield [Path(words[0]).name, *words[1:]]


def test_every_block_is_run_or_says_why_not() -> None:
    left = []
    for block in BLOCKS:
        named = PAGES_RUN_BY.get((block.page, block.language))
        found = named or next((test for words, test in BLOCKS_RUN_BY.items() if words in block.text), None)
        shown = not block.language and any(block.text.startswith(words) for words in NOT_CODE)
        if not (found or shown or block.language == "sh"):
            left.append((block.page, block.text[:60]))
    assert left == []


def test_every_command_of_a_block_is_run_by_a_test() -> None:
    programs = {words[0] for block in BLOCKS if block.language == "sh" for words in commands(block)}
    assert programs - set(OTHERS) == {"ple", "make"}
    assert set(COMMANDS_RUN_BY) == set(every_command(main))


def test_the_tests_that_are_named_exist() -> None:
    code = "\n".join(file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("test_*.py"))
    there = set(re.findall(r"^def (test_\w+)\(", code, re.MULTILINE))
    named = {*PAGES_RUN_BY.values(), *BLOCKS_RUN_BY.values(), *COMMANDS_RUN_BY.values(), *OTHERS.values()}
    assert {name for name in named if name.startswith("test_")} - there == set()


def understood(words: list[str]) -> None:
    """Fails where `ple` has no such command or option, or the Makefile no such target."""
    if words[0] == "make":
        rules = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
        assert [word for word in words[1:] if "=" not in word and word not in rules] == [], words
        return
    command: Any = main
    rest = words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, words
        command, rest = command.commands[rest[0]], rest[1:]
    options = {option for each in command.params for option in each.opts} | {"--help", "-h"}
    if command is main.commands["study"]:
        options |= set(re.findall(r"--[a-z-]+", studies.parser().format_help()))
    assert [word for word in rest if word.startswith("--") and word.partition("=")[0] not in options] == [], words


@pytest.mark.parametrize("page", PAGES)
def test_commands_have_the_form_that_a_page_gives(page: str) -> None:
    for block in BLOCKS:
        if block.page == page and block.language == "sh":
            for words in commands(block):
                if words[0] in ("ple", "make"):
                    understood(words)
    for found in INLINE.findall(FENCE.sub("", text_of(page))):
        understood(re.sub(r"[\[\]]", "", found).split())


def test_settings_in_operating_are_settings(tmp_path: Path) -> None:
    texts = [block.text for block in BLOCKS if block[:2] == ("docs/operating.md", "yaml")]
    found = [text for text in texts if not text.startswith(LAUNCHPAD)]
    assert len(found) == len(texts) - 1 > 5
    for number, text in enumerate(found):
        home = tmp_path / str(number)
        home.mkdir()
        kept = "\n".join(line for line in text.splitlines() if not line.startswith("plugins:"))  # of another company
        (home / "settings.yaml").write_text(kept, encoding="utf-8")
        assert yaml.safe_load(text)
        load_settings(home=home)


def run(text: str, folder: Path, known: dict[str, Any]) -> dict[str, Any]:
    """The names after a block of Python, run as a file."""
    file = folder / "block.py"
    file.write_text(text, encoding="utf-8")
    return runpy.run_path(str(file), init_globals=known)


def test_the_model_of_the_readme_predicts(tmp_path: Path) -> None:
    import random_rows

    [text] = [block.text for block in BLOCKS if "model = PLEClusterAdaTT(ModelConfig(" in block.text]
    build, predict = text[: text.index("model.predict(")], text[text.index("model.predict(") :]
    known = run(build, tmp_path, {})
    known["rows"] = random_rows.inputs(known["inputs"], 4)
    known["model"].fit_inputs(known["rows"])
    assert run(f"found = {predict}", tmp_path, known)["found"]["churn"].shape[0] == 4


def test_the_simulation_is_written_as_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    texts = [block.text for block in BLOCKS if block.page == "docs/bank_simulation.md"]
    assert len(texts) == 2
    known: dict[str, Any] = {}
    for text in texts:
        known = run(text.replace("20_000", "60").replace("workers=2", "workers=1"), tmp_path, known)
    assert (tmp_path / "bank" / "tables" / "transactions").is_dir()
    assert (tmp_path / "bank" / "oracle" / "classes.json").is_file()
