"""The evaluations: they say what an encoder is worth.

encode.py makes features of images; subject.py is an encoder that is measured, or a
baseline. protocols.py fits one of four classifiers to it: knn.py, logistic.py,
linear.py, finetune.py (with trainer.py). scores.py measures a classifier on test
images, and chooses one of several on images that splits.py held out. place.py finds the
folder of the results, stages.py lets long work go on, figures.py and rows.py make
tables.

A run measures itself by monitor.py as it goes, and by final.py at its end. A study is
counted up by tally.py, beside the published rows of studies.py.
"""
