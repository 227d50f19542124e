"""Daily sequences that the model reads beside the columns. Source: FEATURES §3.9."""
