"""Topology, clusters, income and financial behaviour. Source: FEATURES §3.3, §3.4, §3.8."""
