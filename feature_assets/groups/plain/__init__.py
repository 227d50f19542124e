"""Plain counts, amounts and days: what a customer did, by windows that fit the horizon, by period, weekday and part of
the day, category, merchant, channel and campaign.

Nothing is a share of something else unless its meaning says so, and nothing is scaled: the columns of the section keep
natural units, are 0 or larger, and lie behind those of FEATURES §1.
"""
