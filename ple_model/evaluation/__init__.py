"""Metrics, calibration, uncertainty and comparison with baselines.

numpy in, numpy and JSON out. Nothing here imports torch, directly or through another module; networks, losses and files
belong elsewhere. Whatever differs by kind of task is asked of an `EvaluatedKind`; `ple_model.tasks` implements it.

kind         the questions that evaluation asks of a kind of task
metrics      point metrics on the eligible rows
classes      AUC, average precision, top-k accuracy, macro F1
values       R², rank correlation
ranking      recall, reciprocal rank and discounted gain of ranked brands
uplift       AUUC, Qini and the uplift curve from transformed outcomes
reliability  calibration error, its bias taken off, and a test against calibrated forecasts
intervals    coverage, width and CRPS of predicted intervals
bootstrap    intervals and paired differences by resampling customers
verdict      ahead, level, behind or open: what a difference says
pooled       paired differences over several training dates, predictions averaged over seeds
breakdown    the headline metric by groups of rows
calibration  maps from raw model outputs to predictions, fitted on validation rows
conformal    intervals and sets that hold a label with a stated probability
uncertainty  u in [0, 1] where it ranks errors among equal predictions, and the fallback
selective    risk and coverage of an uncertainty, coverage of regions
constant     predictions that use no features
blending     the convex weight of two models' predictions
compare      the model beside its baselines
"""
