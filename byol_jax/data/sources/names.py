"""The names of the sources, for configs: importing them costs nothing."""

from __future__ import annotations

SOURCES = ('fashion_sample', 'fashion_mnist', 'npz', 'folder', 'list', 'prepared',
           'tfds', 'fake')
