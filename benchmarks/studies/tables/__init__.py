"""Studies of tables that are no night's: rows to train, to validate and to judge, a few tasks, no dates.

study        what such a study says of settings and content
table        the rows, as the network and the trees read them
census       Census-Income (KDD), with the protocol of the papers
synthetic    the regression of the MMoE paper, whose tasks are as alike as one likes
cell         one variant with one seed on one table: train, predict the judged rows
boosted      LightGBM, XGBoost and CatBoost with native categories
searching    their settings, searched with a stated budget and kept in `tuned/`
third_party  the published PLE of torch-rechub and of DeepCTR-Torch
"""
