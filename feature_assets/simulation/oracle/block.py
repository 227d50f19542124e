"""The oracle: the distribution of each label at t given the latent state at t and the bank's own campaign plan.

For each customer R latent paths are drawn from the state at t on, by the functions that simulated the data. Given a
path, purchases are Poisson by day and part of the day, openings compete with known hazards, clicks are independent:
churn, retention, timing, consumption_cycle, nba, ctr and cvr are computed exactly given the path and averaged over the
paths; card utilisation is Gaussian on the logit scale and integrated by quadrature; labels of amounts or counts (spend,
stages, categories, channels, affinity, engagement) are drawn, given a purchase where the label requires one. No model
that sees less than this state can have a better expected proper score, up to the noise of R draws.
"""

from __future__ import annotations

import numpy as np

from feature_assets.simulation.block import Block
from feature_assets.simulation.oracle.chunk import Chunk, past_of
from feature_assets.simulation.oracle.constants import OracleConstants
from feature_assets.simulation.oracle.drawn import drawn_tasks
from feature_assets.simulation.oracle.exact import exact_tasks
from feature_assets.simulation.oracle.merchants import favourites
from feature_assets.simulation.world import World

SIZE = 24  # customers whose paths are drawn at once


def oracle_block(
    rng: np.random.Generator, world: World, block: Block, constants: OracleConstants, day: int, quota: int, draws: int
) -> dict[str, np.ndarray]:
    """The oracle of the first `quota` customers of a block that had joined before `day`, from `draws` paths of each.

    Returns:
        `row` int64 [n] (index into the block's customers) and one array a task: [n], or [n, K] of class probabilities;
        `brand_prediction__top` int64 [n, 30], indices into the catalogue's brands, likeliest first. NaN where the label
        cannot exist (no exposure in the window, no favourite merchant). Without such a customer, `row` alone.
    """
    rows = np.flatnonzero(block.customers.joined[:quota] < day)
    past, liked = past_of(block, day), favourites(world, block, day)
    parts = []
    for k in range(0, len(rows), SIZE):
        chunk = Chunk(rng, world, block, constants, day, rows[k : k + SIZE], draws)
        parts.append({"row": chunk.rows} | exact_tasks(chunk) | drawn_tasks(chunk, past, liked))
    if not parts:
        return {"row": rows}
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
