"""The tasks by config key task, one file each.

Each task has a `run(config, workdir)`; one whose results lie beside the weights takes
the config file's name as well. pretrain.py is the beginning; begin.py prepares its run.
evaluate.py is for knn, linear_eval, logistic and finetune. embed.py, export.py,
index.py, search.py, retrieve.py and finetune_pairs.py use an encoder. study.py makes
many runs, compare.py and report.py show some. preview.py, preflight.py and prepare.py
come before a run.

No tasks but shared by some: data.py (opens images), named.py (loads the encoder),
study_plan.py, catalogue.py, pairs.py, shards.py, describe.py, showing.py,
side_by_side.py and output.py (pages).
"""
