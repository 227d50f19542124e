"""Every setting of a training run (MODEL §13). Architecture and losses have their own, in `ple_model.config`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from ple_model.config import ClosedModel


class TrainingConfig(ClosedModel):
    """Settings of `ple_model.training.trainer.fit`.

    Epochs of phase 2 are counted from its own start. A rate of an expert is a multiple of `learning_rate`.
    `seed` drives the shuffling and every draw inside the model while it trains.

    Raises:
        pydantic.ValidationError: an unknown key (the message names the nearest known one), a number outside its range,
            or more epochs in the two phases together than `max_epochs`.

    Source: MODEL §13.
    """

    phase1_epochs: int = Field(15, ge=1, description="epochs in which everything trains")
    phase2_epochs: int = Field(8, ge=0, description="epochs with shared experts and gates frozen; 0 leaves them out")
    max_epochs: int = Field(100, ge=1, description="the two phases together may not ask for more")
    learning_rate: float = Field(5e-4, gt=0)
    expert_rates: dict[str, float] = Field({}, description="expert → multiple of the learning rate")
    weight_decay: float = Field(0.01, ge=0)
    warmup_epochs: int = Field(5, ge=0, description="linear warm-up of phase 1")
    phase2_warmup_epochs: int = Field(2, ge=0, description="linear warm-up of phase 2")
    warmup_start: float = Field(0.1, gt=0, le=1, description="multiple of the rate at the first step")
    restart_epochs: int = Field(10, ge=1, description="T0: length of the first cosine of phase 1")
    restart_factor: int = Field(2, ge=1, description="each later cosine is this many times longer")
    clip_norm: float = Field(5.0, gt=0, description="largest norm of the whole gradient")
    best_epoch: Literal["network", "task"] = Field(
        "network", description="whose validation decides the weights: one epoch for the network, or one for each task"
    )
    average: float = Field(0.0, ge=0, lt=1, description="decay of a moving average of the weights; 0 takes none")
    patience: int = Field(7, ge=1, description="epochs without a better validation score that end a phase")
    batch_size_gpu: int = Field(16_384, ge=2)
    batch_size_cpu: int = Field(1_024, ge=2)
    accumulate: int = Field(1, ge=1, description="parts of a batch that are computed one after the other")
    min_steps: int = Field(32, ge=1, description="on few rows the batch shrinks until an epoch has this many steps")
    precision: Literal["auto", "float32", "bf16", "fp16"] = Field(
        "auto", description="auto: bf16 where the GPU has it, else fp16 with a scaler; float32 on a CPU"
    )
    compile: bool = Field(False, description="torch.compile the network: takes a minute, pays in long runs")
    deterministic: bool = Field(True, description="deterministic kernels on a GPU; a CPU always is")
    tf32: bool = Field(True, description="TF32 matrix products on a GPU")
    device: str = Field("auto", description="auto takes CUDA if available; else a name torch knows")
    seed: int = Field(0, ge=0)
    max_nonfinite_steps: int = Field(10, ge=0, description="skipped steps before the run stops")

    @model_validator(mode="after")
    def _epochs_fit(self) -> Self:
        if (asked := self.phase1_epochs + self.phase2_epochs) > self.max_epochs:
            raise ValueError(f"phase1_epochs + phase2_epochs = {asked} is more than max_epochs = {self.max_epochs}")
        if bad := {name: rate for name, rate in self.expert_rates.items() if not rate > 0}:
            raise ValueError(f"expert_rates must be above 0, got {bad}; freezing is what phase 2 does")
        return self
