"""What holds for every step of a run, whoever starts it; `build_definitions` puts it around all of them.

A step is tried again, a few times and a little later each time, where what stopped it can pass (`pipeline.faults`). A
bad delivery, bad settings, a full disk, a fault of the program: another attempt would fail in the same way. A step of
a run that was ended elsewhere does not begin.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus
from dagster._core.definitions.decorators.op_decorator import DecoratedOpFunction
from dagster._core.errors import DagsterExecutionInterruptedError

from pipeline import faults

TRIES_AGAIN = 2
"""Attempts after the first one."""
WAITS = (5.0, 30.0)
"""Seconds before each of them."""
ENDED_ELSEWHERE = (DagsterRunStatus.CANCELING, DagsterRunStatus.CANCELED)


@contextmanager
def tried_again(attempts_before: int) -> Iterator[None]:
    """Turn an error that can pass into a request for another attempt; any other goes through."""
    try:
        yield
    except (dg.RetryRequested, dg.Failure):
        raise
    except Exception as error:
        if not faults.passes(error):
            raise
        wait = WAITS[min(attempts_before, len(WAITS) - 1)]
        raise dg.RetryRequested(max_retries=TRIES_AGAIN, seconds_to_wait=wait) from error


def guard(step: object) -> None:
    """Put both rules around the function of a step, once; what is no step stays as it is."""
    if not isinstance(step, dg.OpDefinition):
        return
    given = step.compute_fn
    if isinstance(given, DecoratedOpFunction) and not hasattr(given.decorated_fn, "guards"):
        step._compute_fn = DecoratedOpFunction(_guarded(given.decorated_fn))  # it has no setter


def _guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def once(*args: Any, **kwargs: Any) -> Any:
        with tried_again(_begin()):
            return function(*args, **kwargs)

    @wraps(function)
    def step_by_step(*args: Any, **kwargs: Any) -> Any:
        with tried_again(_begin()):
            yield from function(*args, **kwargs)

    made = step_by_step if inspect.isgeneratorfunction(function) else once
    made.guards = function  # type: ignore[attr-defined]
    return made


def _begin() -> int:
    """Refuse to begin where the run was ended elsewhere; attempts before this one."""
    context = dg.OpExecutionContext.get()
    run = context.instance.get_run_by_id(context.run_id)
    if run is not None and run.status in ENDED_ELSEWHERE:
        raise DagsterExecutionInterruptedError
    return context.retry_number
