"""The sources of images by config key data.source, one file each.

table.py says what a source is asked for and what it returns. names.py is the catalogue,
open.py opens a source by its name, auto.py finds the name for a path. labels.py numbers
the classes of all sources, parts.py divides files into parts such as train and test.
"""
