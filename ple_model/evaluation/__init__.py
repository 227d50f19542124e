"""Metrics, calibration, uncertainty and comparison with baselines.

numpy in, numpy and JSON out. Nothing here imports torch, directly or through another module; networks, losses and files
belong elsewhere. Whatever differs by kind of task is asked of an `EvaluatedKind`; `ple_model.tasks` implements it.

kind         the questions that evaluation asks of a kind of task
metrics      point metrics on the eligible rows
uplift       AUUC, Qini and the uplift curve from transformed outcomes
bootstrap    intervals and paired differences by resampling customers
calibration  maps from raw model outputs to predictions, fitted on validation rows
conformal    intervals and sets that hold a label with a stated probability
uncertainty  u in [0, 1] where it ranks errors among equal predictions, and the fallback
selective    risk and coverage of an uncertainty, coverage of regions
constant     predictions that use no features
blending     the convex weight of two models' predictions
compare      the model beside its baselines
"""
