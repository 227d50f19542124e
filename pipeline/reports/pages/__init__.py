"""Pages for people: one a task, one a customer, as plain data, Markdown or HTML.

page      a page of sections, and its three forms
meanings  columns and inputs in words, from the registry of features
task      the page of a task, from a version's files
customer  the page of a customer, from a night's scores and reasons

Nothing here computes a prediction or an attribution.
"""
