"""Augmentations on the device.

make.py makes the views of a batch: crop.py, then augment.py and randaugment.py, or
jigsaw.py. draws.py has all their random numbers, recipes.py the published settings by
name.
"""
