"""Named models of other sciences, fitted to the series of each customer. Source: FEATURES §3.8."""
