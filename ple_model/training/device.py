"""Device and precision of a training run, and repeatable kernels."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ple_model.training.config import TrainingConfig


def choose_device(name: str) -> torch.device:
    """`auto` is CUDA if available, else the CPU.

    Raises:
        ValueError: a name torch does not know, or CUDA where torch has none.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"training.device = {name!r} is no device; use auto, cpu or cuda") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"training.device = {name!r}, and torch finds no CUDA device here; use auto or cpu")
    return device


def choose_precision(config: TrainingConfig, device: torch.device) -> torch.dtype:
    """Type of autocast; float32 means none. A CPU stays in float32: its bf16 products are ten times slower.

    Raises:
        ValueError: fp16 asked for on a device without a loss scaler.
    """
    if config.precision == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if config.precision == "fp16" and device.type != "cuda":
        raise ValueError(f"training.precision = 'fp16' needs CUDA, the device is {device}; use auto or float32")
    return {"float32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[config.precision]


@contextmanager
def reproducible(config: TrainingConfig, device: torch.device) -> Iterator[None]:
    """Draws that leave the caller's generators as they were; on CUDA, TF32 and deterministic kernels as set.

    A CUDA kernel without a deterministic form warns, and a resumed run may then differ in its last bits.
    """
    if device.type != "cuda":
        with torch.random.fork_rng(devices=[]):
            yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.tf32
    torch.use_deterministic_algorithms(config.deterministic, warn_only=True)
    try:
        with torch.random.fork_rng(devices=[device]):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
