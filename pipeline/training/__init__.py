"""The steps of a training, one module each, over the files of a `Workspace`.

decision → material → fitting → training_set → model → evaluation → refit → registration → promotion; `log` tells
MLflow.
Each step is a function of plain arguments that reads and writes the workspace. Dagster does not belong here: the assets
in `pipeline/assets/training.py` call these functions and show their results.
"""
