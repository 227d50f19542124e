"""Run a study and write its report: every figure with its interval, from predictions that are kept."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from benchmarks.studies import catalogue, report
from benchmarks.studies.judge import Results
from benchmarks.studies.run import run
from pipeline.settings import REPOSITORY


def parser() -> argparse.ArgumentParser:
    """The options of `ple study`."""
    lines = [f"  {name:<18}{study.title}" for name, study in sorted(catalogue.STUDIES.items())]
    made = argparse.ArgumentParser(
        prog="ple study",
        description=__doc__,
        epilog="\n".join(["studies:", *lines, f"  {catalogue.OWN:<18}your own data (--dataset-file)"]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("study", metavar="NAME", choices=[*sorted(catalogue.STUDIES), catalogue.OWN], help="see below")
    made.add_argument("--dataset-file", type=Path, metavar="FILE", help=f"description of the data of {catalogue.OWN}")
    made.add_argument("--folder", type=Path, default=REPOSITORY / ".studies", help="results, kept between runs")
    made.add_argument("--threads", type=int, default=2, help="of each process")
    made.add_argument("--workers", type=int, default=1, help="cells side by side")
    made.add_argument("--origins", nargs="+", metavar="ORIGIN", help="these only: dates, or tables")
    made.add_argument("--report", action="store_true", help="compute nothing, write the report of what is finished")
    made.add_argument("--any-code", action="store_true", help="take up cells that other code has computed")
    made.add_argument("--only", nargs="+", default=(), metavar="VARIANT", help="compute these variants only")
    made.add_argument("--results", type=Path, default=report.FOLDER, help="folder of the report")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Compute what is missing, write the report; 1 if a cell failed or two settings gave identical numbers."""
    options = parser()
    given = options.parse_args(arguments)
    if (given.study == catalogue.OWN) != (given.dataset_file is not None):
        options.error(f"the study {catalogue.OWN}, and no other, needs --dataset-file")
    study = catalogue.own(given.dataset_file) if given.dataset_file else catalogue.STUDIES[given.study]
    if given.origins:
        study = replace(study, origins=tuple(given.origins))
    root = given.folder.resolve()
    failed = (
        [] if given.report else run(study, root, say, given.threads, given.any_code, given.only, workers=given.workers)
    )
    results = Results(study, root, given.any_code)
    say(f"report: {report.write(results, given.results)}")
    for line in (*failed, *results.faults()):
        say(line)
    return 1 if failed or results.faults() else 0


def say(line: str) -> None:
    """A line with the time."""
    print(f"{datetime.now():%H:%M:%S} {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
