"""The networks: resnet.py, heads.py and norm.py, which model.py puts together.

architectures.py has their sizes by name.
"""
