"""A few cases of each row of the fault matrix; `tests/run.sh --faults` runs all."""

import pathlib
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import harness
import rows

pytestmark = pytest.mark.skipif(
    shutil.which('cc') is None, reason='the faulty storage takes a C compiler')


@pytest.mark.parametrize('name', [n for n, r in rows.ROWS.items() if r.sample])
def test_row(name, tmp_path):
  row = harness.ROWS[name]
  done = row.run(row.sample, tmp_path)
  assert not done.failures
