"""Tasks of a few lines over a toy delivery; they lie in a module of their own because workers import them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from feature_assets.events.view import View
from pipeline.shards.work import Own

MEANWHILE = 30.0
"""Seconds after which whatever is waited for hangs."""


def marked(folder: Path, name: str) -> bool:
    """Leave a mark; whether it is the first of this name."""
    try:
        (folder / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@dataclass(frozen=True)
class Spend:
    """Spend and the process that computed it; a mark an attempt in `marks`."""

    marks: Path

    def __call__(self, view: View, own: Own) -> Mapping[str, pl.DataFrame]:
        ids = view.customers.select("customer_id")
        (self.marks / f"{ids['customer_id'][0]}-{os.getpid()}-{time.time_ns()}").touch()
        return {"rows": ids.with_columns(spent=view.net_spend(90)), "ids": ids}


@dataclass(frozen=True)
class DiesOnce(Spend):
    """The first attempt at the shard of `customer` is killed after it has begun to write; with `always`, every one."""

    customer: str
    always: bool = False

    def __call__(self, view: View, own: Own) -> Mapping[str, pl.DataFrame]:
        found = super().__call__(view, own)
        first = self.customer in view.customers["customer_id"]
        if first and (self.always or marked(self.marks, "killed")):
            os.kill(os.getpid(), signal.SIGKILL)
        return found


@dataclass(frozen=True)
class Slow(Spend):
    """Takes a while, with a file in `marks` meanwhile; notes how many there were."""

    seconds: float = 0.3

    def __call__(self, view: View, own: Own) -> Mapping[str, pl.DataFrame]:
        here = self.marks / f"running-{os.getpid()}"
        here.touch()
        time.sleep(self.seconds)
        (self.marks / f"beside-{time.time_ns()}").write_text(str(len([*self.marks.glob("running-*")])))
        here.unlink()
        return super().__call__(view, own)


@dataclass(frozen=True)
class Fails:
    """Raises what cannot be computed."""

    error: type[Exception]
    text: str

    def __call__(self, view: View, own: Own) -> Mapping[str, pl.DataFrame]:
        raise self.error(self.text)


@dataclass(frozen=True)
class Threads:
    """Threads of a worker."""

    def __call__(self, view: View, own: Own) -> Mapping[str, pl.DataFrame]:
        import torch

        threads = [torch.get_num_threads(), pl.thread_pool_size()]
        return {"rows": pl.DataFrame({"threads": [threads]})}
