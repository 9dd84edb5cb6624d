"""The config of a run: keys, kinds of values, rules, and the command line.

A config file starts from `config.base()` and states what differs. Read key.py for what
a key is, and sections/ for all of them. command.py makes a config of the command line;
rules.py checks what must fit together. schedule.py puts values in the place of 'auto'
once the number of images is known. The rest serves these: kinds.py reads and checks a
value, augmentations.py and cells.py write several keys at once, verbs.py has the short
commands.
"""

from byol_jax.config.keys import base
from byol_jax.config.schedule import epochs

__all__ = ['base', 'epochs']
