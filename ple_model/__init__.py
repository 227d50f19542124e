"""The multi-task model as a library: torch in, torch out. It knows no table, no Dagster, no MLflow.

config          settings of the network              losses          multi-task loss, weighting, adaTT, conflicts
inputs          tensors of a batch                   training        the trainer, its data, checkpoints, reports
tasks           settings, a class a kind of task     evaluation      metrics, intervals, calibration: numpy only
layers          building blocks                      interpretation  the inputs a network relies on
experts         the pool of shared experts           serving         bundles and scores
model           PLE-Cluster-adaTT                    baselines       published architectures in the same trainer
multitask       the base of every network here       closed          the base of all settings
"""
