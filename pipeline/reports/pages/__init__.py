"""Pages for people: one a task, a customer, a version, a night, as plain data, Markdown or HTML.

page      a page of sections, and its three forms by page.html.j2; parts.html.j2 and style.css are what the browser of
          scores shares with it
chart     a small chart of shares inside a page
night     the page of a night, from its scores and what monitoring found
meanings  columns and inputs in words, from the registry of features
task      the page of a task, from a version's files
customer  the page of a customer, from a night's scores and reasons

Nothing here computes a prediction or an attribution.
"""
