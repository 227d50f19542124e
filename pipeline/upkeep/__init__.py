"""What keeps a home in order: its state, what is wrong with it, backup, upgrade, and what is kept."""
