"""Jobs, their schedules, their storage and the command `ple`. No feature definition and no model part belongs here."""
