"""Topology of a customer's purchases and sessions: persistence diagrams, their statistics and their change.

`points.py` builds the point cloud, `diagrams.py` the diagrams (once a View), `statistics.py` the statistics.
`summary.py` holds the groups tda_short and tda_long with the raw diagrams beside the columns, `phase.py` the group
phase_transition. The kernels are `kernels/persistence.py`, `kernels/farthest.py` and `kernels/matching.py`. Source:
FEATURES §3.3.
"""

from __future__ import annotations

from feature_assets.groups.domain.tda.diagrams import LONG, PHASES, SHORT, diagram_of
from feature_assets.groups.domain.tda.phase import PhaseTransition
from feature_assets.groups.domain.tda.summary import TdaLong, TdaShort

__all__ = ["GROUPS", "LONG", "PHASES", "SHORT", "diagram_of"]

GROUPS = (TdaShort(), TdaLong(), PhaseTransition())
