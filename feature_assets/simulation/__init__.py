"""The bank simulation: a generator of every contract table with a known process. It writes a delivery like any other.

The process is described in docs/bank_simulation.md. A benchmark and test source, never evidence about people. Here
belongs the process; the best possible predictions belong to `oracle/`, reading what was written to
`sources/contract_files.py`. Source: DATA §4.
"""

from feature_assets.simulation.simulate import simulate

__all__ = ["simulate"]
