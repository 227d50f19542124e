"""Jobs, their schedules, their storage and the command `ple`. No feature definition and no model part belongs here."""

__version__ = "0.1.0"
