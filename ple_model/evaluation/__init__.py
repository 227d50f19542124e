"""How good predictions are, how sure they are, and what they are compared with.

numpy in, numpy and JSON out: nothing here knows of Dagster, MLflow, polars or torch.

metrics      point metrics of a task kind
bootstrap    intervals and paired differences by resampling customers
calibration  maps from raw model outputs to predictions, fitted on validation rows
uncertainty  u in [0, 1] of each row, and the fallback of the rows above the threshold
constant     predictions that use no features
boosting     gradient-boosted trees of a fixed budget
compare      the model beside its baselines
"""
