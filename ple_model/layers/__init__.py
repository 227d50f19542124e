"""Building blocks of the network: gates, routing, group encoders, transfer, towers, heads."""
