"""Studies over a data set: several origins (training dates) × seeds × variants, judged together.

    python -m benchmarks.studies NAME [--folder DIR] [--threads 2] [--report]

study      what a study is: origins, seeds, variants (changes of settings), comparisons
catalogue  the studies of this repository, as data
origin     an origin's material, prepared once for all cells: feature state, training set, labels of the judged rows
cell       one variant with one seed at one origin: train, predict the judged rows
store      the files of origins and cells; a finished one is not computed again
run        all cells of a study, one process each, with the time that is left
judge      predictions averaged over seeds, compared over origins
report     the result as Markdown
oracle     the bank simulation's best possible predictions for the judged rows

Nothing here belongs to a night: the packages know nothing of the studies.
"""
