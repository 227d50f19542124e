"""LightGBM for each task on the model's own matrix: the baseline that a network has to beat, and half of a blend.

numpy in, numpy and text out; nothing here imports torch. Evaluation knows nothing of this package; a kind of task says
how it is boosted by implementing `BoostedKind`.

budget   settings: of one task, of a night
kind     the questions that boosting asks of a kind of task
matrix   rows, binned once for all tasks
fit      trees of one task or of all, with early stopping or with given rounds
boosted  a fitted task: predictions, and LightGBM's own text
files    fitted tasks as a folder of texts with digests
choice   which columns the trees of any task gain most from
search   settings drawn at random, and the best of them by validation loss
tuned    searched settings as a file, and a night's budget made from them
candidates   one model over pairs of a row and a candidate, for a task whose rows have a history
"""
