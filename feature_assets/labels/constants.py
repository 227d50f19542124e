"""Look-back lengths and the classes that no data decide, shared by label functions. Source: DATA §3."""

from __future__ import annotations

LONG_WINDOWS = 3  # retention and ltv look at three consecutive windows
ACTIVE_DAYS = 56  # "active": a purchase in this many days before t
FAVOURITE_DAYS = 180  # look-back for the favourite merchant
EFFECT_DAYS = 28  # the effect of a campaign is measured from its start on for so many days
CENSORED_DAYS = 28  # a customer first seen in the first days of the data may have joined earlier

LEAST_CUSTOMERS = 20  # with a training label; of a binary task with either outcome: fewer, and the task is off
LEAST_OF_CLASS = 10  # customers with a training label of a class: fewer teach nothing about it

NBA_CLASSES = 11
NONE = "none"
CATEGORY_CLASSES = 12
BRAND_CLASSES = 500

STAGES = ["new", "growing", "steady", "declining", "dormant", "returning"]
WEEKDAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
TIMES = [f"{day} {hour:02d}–{hour + 6:02d}" for day in WEEKDAYS for hour in range(0, 24, 6)]
CYCLE_EDGES = [1, 2, 4, 7, 14, 28]  # first day of the second, third, … class
CYCLES = ["0 days", "1 day", "2–3 days", "4–6 days", "7–13 days", "14–27 days", "28+ days"]
