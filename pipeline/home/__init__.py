"""The folder of a deployment: its layout and format, its locks, and the databases below Dagster and MLflow.

What keeps a home in order over time belongs to `upkeep/`.
"""
