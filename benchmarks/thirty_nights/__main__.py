"""Run the thirty nights and write down what they show: `python -m benchmarks.thirty_nights --folder F`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.thirty_nights import report
from benchmarks.thirty_nights.claims import judge
from benchmarks.thirty_nights.story import Story


def main() -> int:
    """1 if something that the nights must show does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="home and notes; a killed run goes on here")
    parser.add_argument("--results", type=Path, default=report.FOLDER, help="folder of the report")
    given = parser.parse_args()
    story = Story(given.folder, lambda line: print(line, flush=True))
    notes = story.run()
    claims = judge(story, notes)
    for claim in claims:
        print(claim.line)
    print(report.write(story, notes, claims, given.results))
    return int(not all(claim.holds for claim in claims))


if __name__ == "__main__":
    sys.exit(main())
