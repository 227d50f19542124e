"""From a configuration and two tables of rows to a bundle: initial weights, the trainer, checkpoints, reports, the end.

Losses belong to `ple_model.losses`; evaluation on test rows, registration and promotion are not part of a training run.

initial      a fresh network with the scales of its training rows
data         rows as tensors, batches, targets from labels
trainer      `fit`: two phases, early stopping, resumable
step, state  one optimizer step; the state that a checkpoint keeps
skill        the validation score that picks epochs
validate     losses and gates over validation rows
averaging    the moving average of the weights
affinity     gradients of tasks, measured while training
checkpoint   the state of a run on disk
finish       calibration and the bundle
config, schedule, optimizer, device, distributed, report
"""
