"""The oracle of the bank simulation: the best possible prediction of each label, beside the tables of a simulation.

It knows the latent state and is for benchmarks and tests only: no module outside of this folder imports it, and no
reader of deliveries opens its files. Source: DATA §4.
"""

from feature_assets.simulation.oracle.constants import OracleConfig
from feature_assets.simulation.oracle.uplift import write_uplift
from feature_assets.simulation.oracle.write import write

__all__ = ["OracleConfig", "write", "write_uplift"]
