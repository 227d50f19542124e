"""Boosted trees: numpy in, numpy and text out; nothing here imports torch.

candidates   one model over pairs of a row and a candidate, for tasks that choose among many
"""
