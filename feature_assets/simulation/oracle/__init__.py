"""The best possible prediction of each task of the simulation. Only benchmarks read it."""
