"""A browser for the scores: a small application that reads a home and changes nothing.

app        the addresses and what answers them; headers, errors
asked      what an address may ask for: closed, typed
listing    the customers of a list: filtered, ordered, with the columns of one task
csv_file   a list as a file for a spreadsheet
history    what is known of a customer before an as-of date
*.j2       the pages, on the server; style and tables are those of `pipeline.reports.pages`

Nothing here computes a prediction, and no page needs a script.
"""
