"""What is learned: a method of self-supervised learning is one file here.

method.py is the contract with the train step, losses.py has the formulas, names.py the
catalogue for configs.
"""
