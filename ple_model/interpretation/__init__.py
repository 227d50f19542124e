"""Interpretation of a trained network: importance of inputs, concepts, parts that learn, parameters.

Reports about a network that is left as it is. How good its predictions are belongs to `ple_model.evaluation`.
"""
