"""From a trained network to scores: the bundle that is registered, inference in blocks, the table of scores.

MLflow loads a registered version with `ple_model.serving.scorer` as loader module.
"""
