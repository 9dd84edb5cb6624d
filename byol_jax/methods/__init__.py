"""The methods of self-supervised learning, one file each: what is learned.

method.py is the contract with the train step, losses.py has the formulas, names.py the
catalogue for configs.
"""
