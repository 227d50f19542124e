"""Studies: several origins × seeds × variants, judged together.

    ple study NAME [--folder DIR] [--threads 2] [--report]

study      what a study is: origins, seeds, variants (changes of settings), comparisons
catalogue  the studies of this repository, as data
nights     studies whose origins are training dates of a data set
tables     studies whose origins are tables: Census-Income, the regression of the MMoE paper
changes    settings changed by path
store      the files of origins and cells; a finished one is not computed again
run        all cells of a study, one process each, with what it costs and the time that is left
judge      predictions averaged over seeds, compared over origins
report     the result as Markdown
plots      what sharing gives one task and takes from another, and what changes along the origins
libraries  packages that only studies need
training   what is known of a training of our network, for a cell

Nothing here belongs to a night: the packages know nothing of the studies.
"""
