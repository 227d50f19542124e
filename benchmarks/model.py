"""Speed of the model and of published PLE, as ratios of two sides that take turns in one process.

    python benchmarks/model.py [--threads 1] [--rounds 5] [--only PART]

Budgets (PERFORMANCE §2, §3): published PLE at equal shapes against the faster of torch-rechub and DeepCTR-Torch (extra
`[bench]`), a step at least 1.2× with 2 tasks and 1.4× with 16, an epoch with each side's own loader at least 1.4×,
and at least 70 % of the measured rate of matrix products; all behind the experts at least 2× its loops; experts of
single tasks and InfoNCE over a whole table at least 1.3× their plain form; adaTT at most 1.15× a plain step; scoring
at least 2.5× the rows a second of training. For a GPU see `gpu.py`.

One thread is timed by CPU time, more by the clock on the wall. The best of all rounds counts.
"""

from __future__ import annotations

import argparse
import gc
import os
import time
import unittest.mock
from collections.abc import Callable, Mapping

import peers
import torch
import whole

from ple_model.config import TaskExpertsConfig
from ple_model.layers import task_experts
from ple_model.layers.contrastive import CandidateTable, info_nce
from ple_model.layers.members import repeated
from ple_model.multitask import evaluating
from ple_model.serving.inference import BLOCK, raw_outputs
from ple_model.tasks import kind_of
from ple_model.training.data import TensorTable

MATRIX = 1_024
COLUMNS, MEMBERS = 472, 8
"""What the wide expert reads of the embedded data, flags of absence included, and members of the default."""


class Timer:
    """Best seconds of each of several sides over rounds in which they take turns."""

    def __init__(self, threads: int) -> None:
        self.clock = time.process_time if threads == 1 else time.perf_counter

    def best(self, sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
        found = dict.fromkeys(sides, float("inf"))
        for turn in range(rounds + 1):
            for name, side in sides.items():
                gc.collect()
                started = self.clock()
                side()
                if turn:  # the first warms up
                    found[name] = min(found[name], self.clock() - started)
        return found


def report(what: str, value: float, budget: float, at_most: bool = False, unit: str = "×") -> None:
    """One line: what was measured, the budget, and whether it is met."""
    met = value <= budget if at_most else value >= budget
    shown, wanted = (f"{value:.0%}", f"{budget:.0%}") if unit == "%" else (f"{value:.2f}{unit}", f"{budget:g}{unit}")
    print(
        f"{what:<66}{shown:>8}  {'at most' if at_most else 'at least'} {wanted:<6}{'' if met else '  MISSED'}",
        flush=True,
    )


def published(timer: Timer, rounds: int) -> None:
    """PLE with 2 and with 16 tasks against the faster peer."""
    a, b = torch.randn(2, MATRIX, MATRIX).unbind(0)
    for tasks, budget in ((2, 1.2), (16, 1.4)):
        shape = peers.Shape(tasks)
        rows = peers.Rows.drawn(4 * shape.rows if tasks == 2 else shape.rows, tasks)
        sides = [make(shape, rows) for make in (peers.ours, peers.rechub, peers.deepctr)]
        steps = timer.best({side.name: side.step for side in sides} | {"product": lambda: a @ b}, rounds)
        rate = 2 * MATRIX**3 / steps.pop("product")
        shown = ", ".join(f"{name} {shape.rows / seconds:,.0f}" for name, seconds in steps.items())
        print(f"\n{tasks} tasks, 8 + 8 experts, rows/s in a step: {shown}")
        mine = steps.pop("ours")
        report(f"a step against the faster peer, {tasks} tasks", min(steps.values()) / mine, budget)
        report(f"share of {rate / 1e9:.0f} GFLOP/s, {tasks} tasks", shape.products / mine / rate, 0.7, unit="%")
        if tasks == 2:
            epochs = timer.best({side.name: side.epoch for side in sides}, rounds)
            shown = ", ".join(f"{name} {len(rows.labels) / seconds:,.0f}" for name, seconds in epochs.items())
            print(f"end to end, rows/s: {shown}")
            mine = epochs.pop("ours")
            report("end to end against the faster peer", min(epochs.values()) / mine, 1.4)


def behind(rounds: int, data: TensorTable, rows: int) -> None:
    """Gates, basket, transfer and towers against loops over tasks, forward and backward, on one core and on all that a
    night has."""
    model = whole.Learner(whole.model_config(), data, rows).model
    stacked, loops = whole.Behind(model), whole.BehindInLoops(model)
    given = whole.behind_inputs(model, rows)
    with torch.no_grad(), evaluating(stacked), evaluating(loops):  # the same numbers, before they are timed
        expected = loops(*given)
        for name, raw in stacked(*given).items():
            torch.testing.assert_close(raw, expected[name], atol=1e-4, rtol=1e-4)

    def side(module: whole.Behind | whole.BehindInLoops) -> Callable[[], None]:
        def run() -> None:
            module.zero_grad(set_to_none=True)
            module.train()
            torch.stack([raw.square().mean() for raw in module(*given).values()]).sum().backward()

        return run

    given_threads = torch.get_num_threads()
    for threads in sorted({given_threads, os.cpu_count() or 1}):
        torch.set_num_threads(threads)
        found = Timer(threads).best({"stacked": side(stacked), "loops": side(loops)}, 8 * rounds)
        ours, theirs = (1e3 * found[name] for name in ("stacked", "loops"))
        print(f"\nbehind the experts, {rows} rows, {threads} thread(s): {ours:.1f} ms, its loops {theirs:.1f} ms")
        report("all behind the experts against its loops", theirs / ours, 2.0)
    torch.set_num_threads(given_threads)


def single_tasks(timer: Timer, rounds: int, rows: int) -> None:
    """Experts of single tasks forward and backward, task by task, against plain products over all tasks."""
    tasks = [task for task in whole.model_config().tasks if not kind_of(task).retrieves]
    places = [torch.randperm(COLUMNS)[:40].tolist() for _ in tasks]
    experts = task_experts.TaskExperts(TaskExpertsConfig(), tasks, places, MEMBERS).train()
    encoded = torch.randn(rows, COLUMNS, requires_grad=True)

    def side(own: bool) -> Callable[[], None]:
        def run() -> None:
            experts.zero_grad(set_to_none=True)
            with unittest.mock.patch.object(task_experts, "runs_here", return_value=own):
                said = experts(encoded)
            torch.stack([raw.square().mean() for raw in said.values()]).sum().backward()

        return run

    found = timer.best({"ours": side(True), "plain": side(False)}, 4 * rounds)
    ours, plain = (1e3 * found[name] for name in ("ours", "plain"))
    print(f"\nexperts of {len(tasks)} single tasks, {rows} rows: {ours:.1f} ms, plain products {plain:.1f} ms")
    report("experts of single tasks against plain products", plain / ours, 1.3)


def candidates(timer: Timer, rounds: int, rows: int) -> None:
    """InfoNCE of all members against a table of 500, forward and backward, against its formula step by step."""
    table = CandidateTable(500, 128, 0.07)
    query, beside = torch.randn(MEMBERS * rows, 128, requires_grad=True), torch.randn(rows, 500, requires_grad=True)
    labels = torch.randint(0, 500, (rows, 60)).where(torch.rand(rows, 60) < 0.3, -1)

    def ours() -> None:
        table.loss(query, labels, 0, beside).mean().backward()

    def formula() -> None:
        every, given = repeated(labels, MEMBERS), labels >= 0
        scores = table.scores(query, repeated(beside, MEMBERS))
        hit = torch.zeros(len(scores), 501, dtype=torch.bool).scatter_(1, every.where(every >= 0, 500), True)
        negative = scores.masked_fill(hit[:, :500], -torch.inf)
        positive = scores.gather(1, every.clamp(min=0))
        info_nce(positive, repeated(given, MEMBERS), negative).mean().backward()

    found = timer.best({"ours": ours, "formula": formula}, 4 * rounds)
    mine, theirs = (1e3 * found[name] for name in ("ours", "formula"))
    print(
        f"\nInfoNCE of {MEMBERS} members over 500 candidates, {rows} rows: {mine:.1f} ms, its formula {theirs:.1f} ms"
    )
    report("InfoNCE against its formula", theirs / mine, 1.3)


def adatt(timer: Timer, rounds: int, data: TensorTable, rows: int) -> None:
    """Ten steps, one of which measures, with adaTT and without it."""
    sides = {
        name: whole.Learner(whole.model_config(on), data, rows) for name, on in (("with", True), ("without", False))
    }

    def ten(learner: whole.Learner) -> Callable[[], None]:
        return lambda: [learner.step() for _ in range(10)] and None

    found = timer.best({name: ten(learner) for name, learner in sides.items()}, max(rounds // 2, 1))
    once = timer.best({"compare": sides["with"].compare}, 1)["compare"]
    print(f"\na step of the full model, {rows} rows: {found['without'] * 100:.0f} ms; ", end="")
    print(f"adaTT's comparison of its two spaces, once an epoch: {once * 1e3:.0f} ms")
    report("adaTT against a plain step", found["with"] / found["without"], 1.15, at_most=True)


def scoring(timer: Timer, rounds: int, data: TensorTable, rows: int) -> None:
    """Rows a second of scoring, in its blocks, against those of training."""
    learner = whole.Learner(whole.model_config(), data, rows)
    block, _ = data.batch(torch.arange(BLOCK) % rows, torch.device("cpu"))
    sides = {"training": learner.step, "scoring": lambda: raw_outputs(learner.model, block)}
    found = timer.best(sides, 2 * rounds)
    rates = {"training": rows / found["training"], "scoring": BLOCK / found["scoring"]}
    print(f"\nfull model, rows/s: training {rates['training']:,.0f}, scoring {rates['scoring']:,.0f}")
    report("scoring against training", rates["scoring"] / rates["training"], 2.5)


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=256, help="of a batch of the full model; 256 is a night's")
    parser.add_argument("--only", choices=("published", "behind", "single_tasks", "candidates", "adatt", "scoring"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    timer, wanted = Timer(given.threads), given.only
    print(
        f"{given.threads} thread(s), {'CPU time' if given.threads == 1 else 'wall time'}, best of {given.rounds} rounds"
    )
    if wanted in (None, "published"):
        published(timer, given.rounds)
    for name, kernel in (("single_tasks", single_tasks), ("candidates", candidates)):
        if wanted in (None, name):
            kernel(timer, given.rounds, given.rows)
    if wanted in (None, "behind", "adatt", "scoring"):
        data = whole.table(whole.model_config(), given.rows)
        if wanted in (None, "behind"):
            behind(given.rounds, data, given.rows)
        for name, part in (("adatt", adatt), ("scoring", scoring)):
            if wanted in (None, name):
                part(timer, given.rounds, data, given.rows)


if __name__ == "__main__":
    main()
