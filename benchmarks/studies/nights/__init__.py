"""Studies of nights: an origin is a training date of a data set, and a cell what a night of that date would register.

study    what such a study says of settings and content
origin   an origin's material, prepared once for all cells: feature state, training set, labels of the judged rows
cell     one variant with one seed at one origin: train, predict the judged rows
peers    other models on the same rows
files    where the material lies
content  what decides the content of origins and cells
oracle   the bank simulation's best possible predictions for the judged rows
"""
