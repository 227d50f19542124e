"""Runs of a job, whoever starts them: alone in a home, with a sign of life, and what waits behind them.

When one is due belongs to `nights/`.
"""
