"""Tasks: what is predicted, the relations between tasks, and one class for each kind of task.

A kind answers every question whose answer depends on what is predicted: width, targets, losses, units, calibration,
metrics, baselines, columns of scores. No other module asks which kind a task has. Nothing here imports torch until a
tensor is handed in; networks, weights of losses and files belong elsewhere.
"""

from ple_model.tasks.config import Relation, TaskConfig
from ple_model.tasks.kind import Kind
from ple_model.tasks.kinds import KINDS, kind_of

__all__ = ["KINDS", "Kind", "Relation", "TaskConfig", "kind_of"]
