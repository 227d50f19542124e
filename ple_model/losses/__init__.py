"""Losses of tasks, how they are weighted and how tasks share gradients: weighting, adaTT, conflict methods."""
