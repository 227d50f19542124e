"""Thirty nights of a small simulated bank, a week apart: a bad delivery, a drift, a sabotaged training, a better one, a
rollback. What happens when is in `calendar.py`, the nights are run by `story.py`, what they must show is in
`claims.py`, and `report.py` writes it down."""
