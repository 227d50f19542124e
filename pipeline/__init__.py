"""What runs, when, in what order, and where it is stored. No feature definition and no model part belongs here."""
