"""Growing one model with LightGBM, as far as LightGBM gets.

On some columns and labels it finds a split without rows on one side and gives up the whole model with "Check failed:
(best_split_info.left_count) > (0)" (microsoft/LightGBM#3679, #4739, #4946). The rounds before that are sound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import lightgbm

FAILURE = "Check failed: (best_split_info."


def grown(
    params: Mapping[str, object],
    train: lightgbm.Dataset,
    most: int,
    validation: lightgbm.Dataset | None = None,
    patience: int = 1,
) -> tuple[lightgbm.Booster, int, str]:
    """A model, its rounds, and why there are no more where LightGBM failed, in words.

    Args:
        params: LightGBM's.
        train: the rows.
        most: rounds.
        validation: rows by which the number of rounds is found; None: all rounds are grown.
        patience: rounds without an improvement on them after which no more are grown.

    Raises:
        lightgbm.basic.LightGBMError: it failed in the first round, or in another way.
    """
    from lightgbm import early_stopping
    from lightgbm import train as fit
    from lightgbm.basic import LightGBMError

    whole = 0

    def count(environment: Any) -> None:
        nonlocal whole
        whole = environment.iteration + 1

    def attempt(rounds: int) -> tuple[lightgbm.Booster, int]:
        if validation is None:
            booster = fit(dict(params), train, rounds, callbacks=[count])
            return booster, booster.current_iteration()
        stop = early_stopping(patience, verbose=False)
        booster = fit(dict(params), train, rounds, valid_sets=[validation], callbacks=[count, stop])
        return booster, booster.best_iteration

    try:
        return *attempt(most), ""
    except LightGBMError as error:
        if not str(error).startswith(FAILURE) or not whole:
            raise
        failed = whole + 1
    return *attempt(failed - 1), f"no more than {failed - 1} rounds: LightGBM fails in round {failed}"
