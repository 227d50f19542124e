"""Who computes the shards of a night: this process, a pool of processes, or a Ray cluster, behind one interface.

A step names a task (`tasks.py`), its shards are computed by a runner (`runner.py`), and their results wait in files
(`step.py`). What a shard is belongs to `pipeline/resources/blocks.py`; what is published, to the assets.
"""
