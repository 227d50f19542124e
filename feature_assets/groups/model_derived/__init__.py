"""Hidden Markov models, bandits and the dynamics of the daily series. Source: FEATURES §3.5, §3.7."""
