"""The parts of `compare.py`: the checkouts, what is computed inside of one, and how two results are compared."""
