"""The terminal while a job runs: one line a step, warnings and errors, nothing else."""

import logging
import sys
import time

import dagster as dg


class StepLines(logging.Handler):
    """Turns Dagster's events into one readable line a step."""

    def __init__(self) -> None:
        super().__init__(level=logging.DEBUG)
        self._started: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record, if it is meant for a person."""
        meta = getattr(record, "dagster_meta", None) or {}
        event = meta.get("dagster_event")
        line = self._message(record, meta) if event is None else self._event(event)
        if line:
            print(line, file=sys.stderr, flush=True)

    def _message(self, record: logging.LogRecord, meta: dict[str, object]) -> str | None:
        text = str(meta.get("orig_message") or record.getMessage())
        if record.levelno >= logging.WARNING:
            return f"  ! {text}"
        return f"    {text}" if record.levelno >= logging.INFO else None

    def _event(self, event: dg.DagsterEvent) -> str | None:
        step = (event.step_key or "").replace("__", "/")
        if event.event_type_value == "STEP_START":
            self._started[step] = time.monotonic()
            return f"▸ {step}"
        if event.event_type_value == "STEP_SUCCESS":
            return f"✓ {step}  {time.monotonic() - self._started.get(step, time.monotonic()):.1f} s"
        if event.event_type_value == "STEP_FAILURE":
            return f"✗ {step}"
        if event.event_type_value == "ASSET_CHECK_EVALUATION":
            check = event.asset_check_evaluation_data
            if not check.passed:
                return f"  ! check {check.asset_key.to_user_string()}: {check.check_name} did not pass"
        return None


@dg.logger(config_schema={}, description="One line a step, for the terminal")
def step_lines(_: dg.InitLoggerContext) -> logging.Logger:
    """Logger definition under the name `ple`; the nightly job asks for it."""
    logger = logging.Logger("ple.console", level=logging.DEBUG)
    logger.addHandler(StepLines())
    return logger
