"""Events of customers strictly before an as-of date, as arrays: the barrier of time, and the views that groups share.

`view.py` is the only way of a feature group to its data, `window.py` the only way of a label to the future, and
`barrier.py` the only module that compares a time with t. Measures of a single group belong to `groups/`.
"""
