"""What a night takes: seconds, memory, disk and cost, from unit costs that were measured, and what is exhausted first.

Here belong the measured figures (`measured.yaml`) and what follows from them for any number of customers and events.
Which delivery and which settings are asked about belongs to `intake/cost.py`, printing to `commands/plan.py`.
"""
