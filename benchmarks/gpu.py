"""The network on a GPU: what a step costs beside its floors, and whether what is special there gives the same numbers.

    python benchmarks/gpu.py [--only steps|scan|rows|training|asset] [--customers 2000] [--rounds 5]

steps      a training step of the presets `default` and `reference` in fp32 and bf16, beside its two floors
scan       mamba-ssm's scan beside the form in torch and beside the recurrence in float64: numbers and time
rows       the share of a step that waits for its rows, from host memory and resident on the GPU
training   the rows of a simulated night: fits in bf16 and fp32, with small and large batches, beside the CPU
asset      `ple train` end to end on the GPU: the job `training` of a home without a model

A part that fails does not end the others; the exit status tells. Without a CUDA device it says what did not run.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
import whole
from gpu_floors import seconds, show
from torch import Tensor

from ple_model.experts.temporal.scan import fused_scan, selective_scan

CUDA = torch.device("cuda")
LARGE, SMALL = 16_384, 256
"""Rows of a step: what fills a GPU, and what the preset `default` trains with."""


def steps(given: argparse.Namespace) -> None:
    """Both presets beside their floors."""
    for preset in ("default", "reference"):
        config = whole.preset_config(preset)
        data = whole.table(config, LARGE)
        for rows in (SMALL, LARGE):
            print(f"\npreset {preset}, {sum(p.numel() for p in whole.network(config, data).parameters()):,} parameters")
            show(config, data, rows, given.rounds)


def scan(given: argparse.Namespace, rows: int = 4_096, days: int = 180, chunk: int = 32) -> None:
    """y and its gradients of three ways; errors are relative to the recurrence in float64."""
    heads, width, state = 2, 16, 16
    generator = torch.Generator().manual_seed(0)
    shapes = {"x": (rows, days, heads, width), "dt": (rows, days, heads), "a": (heads,)}
    shapes |= {"b": (rows, days, state), "c": (rows, days, state)}
    drawn = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    drawn["dt"], drawn["a"] = 0.1 * drawn["dt"].exp(), -drawn["a"].exp()
    few = {name: tensor[:64] if tensor.ndim > 1 else tensor for name, tensor in drawn.items()}
    truth = _gradients(lambda *xs: _recurrence(*xs), few, torch.float64)
    ways: dict[str, Callable[..., Tensor]] = {
        "torch": lambda *xs: selective_scan(*xs, chunk, "torch"),
    }
    if fused_scan() is None:
        print("mamba-ssm is not installed: its parity did not run")
    else:
        ways["mamba-ssm"] = lambda *xs: selective_scan(*xs, chunk)
    took = {}
    for name, way in ways.items():
        found = _gradients(way, few, torch.float32)
        errors = {key: float((found[key] - truth[key]).norm() / truth[key].norm()) for key in truth}
        shown = ", ".join(f"{key} {error:.1e}" for key, error in errors.items())
        print(f"{name:<10} relative error against the recurrence in float64: {shown}", flush=True)
        assert max(errors.values()) < 5e-3, f"{name}: more than TF32 products explain"
        took[name] = seconds(lambda way=way: _gradients(way, drawn, torch.float32, keep=False), given.rounds)
    for name, best in took.items():
        print(f"{name:<10} {rows} rows of {days} days, forward and backward: {1e3 * best:.2f} ms")
    if len(took) == 2:
        print(f"mamba-ssm against torch: {took['torch'] / took['mamba-ssm']:.2f}×", flush=True)


def _recurrence(x: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The definition, step by step."""
    state = torch.zeros(*x.shape[:1], *x.shape[2:], b.shape[-1], dtype=x.dtype, device=x.device)
    found = []
    for t in range(x.shape[1]):
        kept = (dt[:, t] * a).exp()[..., None, None]
        state = kept * state + (dt[:, t, :, None] * x[:, t])[..., None] * b[:, t, None, None, :]
        found.append((state * c[:, t, None, None, :]).sum(-1))
    return torch.stack(found, 1)


def _gradients(
    way: Callable[..., Tensor], drawn: dict[str, Tensor], kind: torch.dtype, keep: bool = True
) -> dict[str, Tensor]:
    """y and the gradients of its mean square by input, in float64 on the CPU."""
    given = [tensor.to(CUDA, kind).requires_grad_() for tensor in drawn.values()]
    y = way(*given)
    y.square().mean().backward()
    if not keep:
        return {}
    return {"y": y.detach().double().cpu()} | {
        f"d{name}": tensor.grad.double().cpu() for name, tensor in zip(drawn, given, strict=True)
    }


def rows(given: argparse.Namespace) -> None:
    """Time to fetch the rows of a step, and its share of the step, by where they rest."""
    config = whole.preset_config("default")
    for count in (SMALL, LARGE):
        host = whole.table(config, 4 * LARGE if count == LARGE else 64 * SMALL)
        step = seconds(whole.Learner(config, host, count, "cuda").step, 2 * given.rounds)
        for name, table in (("host memory", host), ("the GPU", host.resident(CUDA))):
            index = torch.randperm(len(table))[:count]
            waited = seconds(lambda t=table, i=index: t.batch(i, CUDA), 4 * given.rounds)
            print(
                f"{count:,} rows from {name}: {1e3 * waited:.2f} ms, {waited / (waited + step):.0%} of a step",
                flush=True,
            )


def training(given: argparse.Namespace) -> None:
    """Fits of one simulated night's rows: speed, and the validation score that it buys."""
    from gpu_training import compare

    compare(given.folder, given.customers)


def asset(given: argparse.Namespace) -> None:
    """The training asset, with all before and behind it, in a new home."""
    home = given.folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    (home / "settings.yaml").write_text("training: {device: cuda}\n")
    command = [sys.executable, "-m", "pipeline.cli", "train", "--dataset", "bank_simulation"]
    command += ["--customers", str(given.customers)]
    started = time.perf_counter()
    done = subprocess.run(
        command, env=os.environ | {"PLE_HOME": str(home)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    told = [line for line in text.splitlines() if re.search(r"rows/s|cuda|bf16|registered|champion|fail", line, re.I)]
    print("\n".join(told[-25:]))
    print(f"`ple train`, {given.customers:,} customers: {time.perf_counter() - started:.0f} s", flush=True)
    if done.returncode:
        print(text[-3_000:])
        raise SystemExit(f"the training ended with status {done.returncode}")


PARTS = {part.__name__: part for part in (steps, scan, rows, training, asset)}


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--customers", type=int, default=2_000, help="of the simulation")
    parser.add_argument("--folder", type=Path, help="keeps what is made; without it, a temporary one")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print(f"no CUDA device here, so nothing of this ran: {', '.join(given.only)}")
        return 0
    torch.backends.cuda.matmul.allow_tf32 = True
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        given.folder = given.folder or Path(folder)
        for name in given.only:
            print(f"\n=== {name}", flush=True)
            started = time.perf_counter()
            try:
                PARTS[name](given)
            except (Exception, SystemExit):
                traceback.print_exc()
                failed.append(name)
            print(f"({name}: {time.perf_counter() - started:.0f} s)", flush=True)
            torch.cuda.empty_cache()
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall parts ran")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
