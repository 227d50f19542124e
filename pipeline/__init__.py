"""Jobs, their schedules, their storage and the command `ple`. No feature definition and no model part belongs here."""

import os

__version__ = "0.1.0"

os.environ.setdefault("GOMP_SPINCOUNT", "1000")
"""How often a thread of torch looks whether the others are done before it sleeps. OpenMP's own number burns the core
that the others wait for where something else runs on the machine: a training went down to a tenth of its speed and
less (`benchmarks/busy.py`). OpenMP reads it once, when torch is imported."""
