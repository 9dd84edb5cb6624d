"""The methods by name, for configs: importing them costs nothing.

A new method is a file in this room with `make() -> method.Method`, and a line here.
"""

from __future__ import annotations

# config key method.name: module
METHODS = {'byol': 'byol_jax.methods.byol'}
