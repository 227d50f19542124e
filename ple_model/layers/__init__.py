"""Building blocks of the network: gates, routing, group encoders, transfer, towers, heads.

A layer turns tensors into tensors. Experts, which read inputs, and losses, which read targets of all tasks, belong
elsewhere.
"""
