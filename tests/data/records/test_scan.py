"""Reads here and there: the bytes that are there, or the byte where they end."""

import numpy as np
import pytest

from byol_jax.data.records import scan
from byol_jax.storage import paths as paths_lib


@pytest.mark.parametrize('block', [1, 7, 64, 5000])
def test_all_reads_are_right_and_forward_ones_few(tmp_path, block, monkeypatch):
  data = np.random.default_rng(0).bytes(3000)
  (tmp_path / 'x').write_bytes(data)
  pread, calls = paths_lib.os.pread, []
  monkeypatch.setattr(paths_lib.os, 'pread',
                      lambda *args: calls.append(args) or pread(*args))
  with scan.reading(str(tmp_path / 'x'), block) as (read_at, size):
    assert size == 3000
    for start in range(0, 3000, 10):
      assert read_at(start, 10) == data[start:start + 10]
    assert len(calls) <= 3000 // max(block // 10 * 10, 10) + 1
    for start, length in ((2990, 10), (0, 3000), (17, 0), (5, 2), (0, 1)):
      assert read_at(start, length) == data[start:start + length]
    with pytest.raises(ValueError, match='cut short at byte 2995'):
      read_at(2995, 6)
