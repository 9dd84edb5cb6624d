"""Freed batches go back to the system, whatever was freed before."""

import os
import subprocess
import sys

import pytest

_FREE_BATCHES = """
import os, sys
import numpy as np
from byol_jax.data.images import memory
def mib():
  with open('/proc/self/statm') as f:
    return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 2**20
np.ones(30 << 20, np.uint8)  # glibc: such sizes come again, off the heap then
if sys.argv[1] == 'fixed':
  memory.give_back()
before = mib()
batches = [np.ones(20 << 20, np.uint8) for _ in range(6)]
kept = np.ones(1 << 20, np.uint8)  # lies behind them, and holds the heap
batches.clear()
print(mib() - before)
"""


@pytest.mark.skipif(not os.path.exists('/proc/self/statm'),
                    reason='reads the memory from /proc')
def test_freed_batches_are_not_kept():
  def grown(kind):
    done = subprocess.run([sys.executable, '-c', _FREE_BATCHES, kind],
                          capture_output=True, text=True, check=True)
    return float(done.stdout)
  assert grown('fixed') < 40 < 100 < grown('as it is')
