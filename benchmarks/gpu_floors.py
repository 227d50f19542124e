"""A training step on a GPU beside two floors: its operations at the measured rate of matrix products, and its bytes at
the measured bandwidth.

Bytes: every tensor that the backward needs is written once and read once; parameters are read forward and backward,
their gradients written and read by clipping and by the optimizer, which reads and writes them and two moments; the
batch is read once.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from whole import Learner

from ple_model.config import ModelConfig
from ple_model.training.data import TensorTable

MATRIX, COPY = 8_192, 2**28
PER_PARAMETER = 11  # transfers of a float: 2 of the weight, 3 of its gradient, 2 each of the weight and the two moments


def seconds(run: Callable[[], object], rounds: int) -> float:
    """Best time of a call, device included."""
    found = float("inf")
    for turn in range(rounds + 2):
        torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        torch.cuda.synchronize()
        if turn > 1:
            found = min(found, time.perf_counter() - started)
    return found


def operations(learner: Learner) -> int:
    """Of the matrix products of a step."""
    with FlopCounterMode(display=False) as counter:
        learner.total().backward()
    return counter.get_total_flops()


def traffic(learner: Learner) -> int:
    """Bytes that a step must move."""
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if tensor.is_cuda:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        total = learner.total()
    weights = {parameter.untyped_storage().data_ptr() for parameter in learner.parameters}
    batch = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in learner.inputs.tensors().values()}
    kept = sum(size for place, size in saved.items() if place not in weights and place not in batch)
    total.backward()
    floats = sum(parameter.numel() for parameter in learner.parameters)
    return 2 * kept + 4 * PER_PARAMETER * floats + sum(batch.values())


def show(config: ModelConfig, data: TensorTable, rows: int, rounds: int) -> None:
    """A line for fp32 (TF32 products) and one for bf16."""
    source = torch.empty(COPY, device="cuda")
    target = torch.empty_like(source)
    bandwidth = 2 * 4 * COPY / seconds(lambda: target.copy_(source), rounds)
    print(f"\n{torch.cuda.get_device_name()}, {rows} rows a step, {bandwidth / 1e9:,.0f} GB/s")
    found = {}
    for precision in (torch.float32, torch.bfloat16):
        learner = Learner(config, data, rows, "cuda")
        learner.precision = precision
        a, b = torch.randn(2, MATRIX, MATRIX, device="cuda", dtype=precision).unbind(0)
        rate = 2 * MATRIX**3 / seconds(lambda a=a, b=b: a @ b, rounds)
        learner.step()
        name = str(precision).removeprefix("torch.")
        found[name] = seconds(learner.step, 2 * rounds)
        computing, moving = operations(learner) / rate, traffic(learner) / bandwidth
        print(
            f"{name:<10}{found[name] * 1e3:8.1f} ms a step, {rows / found[name]:,.0f} rows/s; floors: operations "
            f"{computing * 1e3:.2f} ms at {rate / 1e12:.0f} TFLOP/s, bytes {moving * 1e3:.2f} ms"
        )
    print(f"bf16 against fp32: {found['float32'] / found['bfloat16']:.2f}×", flush=True)
