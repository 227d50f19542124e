"""A bank that does not exist: a generator of every contract table, with a known process, and its reader.

The process is written down in docs/bank_simulation.md. A benchmark and test source, never evidence about people.
Here belong the process, the oracle and the reading of what was written. Labels and features belong elsewhere.
Source: DATA §4.
"""

from feature_assets.sources.bank_simulation.reader import ingest, read
from feature_assets.sources.bank_simulation.simulate import simulate

__all__ = ["ingest", "read", "simulate"]
