"""The total loss of a step: how tasks' losses are weighted and how tasks share gradients (weighting, adaTT, conflicts).

The loss of one task belongs to its kind (`ple_model.tasks`), optimiser and epochs to `ple_model.training`.
"""
