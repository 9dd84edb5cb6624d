"""How it is learned.

step.py is the train step, the paper's algorithm 1; optim.py has optimizers and
schedules. build.py builds the step from a config. batch.py says what travels to the
devices, diagnostics.py measures collapse. supervised.py is the step of fine-tuning.
"""
