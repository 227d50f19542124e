"""From a trained network to scores: the bundle that is registered, inference in blocks, the table of scores.

MLflow loads a registered version with `ple_model.serving.scorer` as loader module. Calibration is applied here and
fitted in `ple_model.training.finish`; who scores whom, and when, belongs to the pipeline.
"""
