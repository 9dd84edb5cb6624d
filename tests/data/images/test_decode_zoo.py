"""Every kind of image file, whole, damaged and mutated: a picture or a reason."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from zoo import BAD
from zoo import GOOD

from byol_jax.data.images import decode


def test_the_zoo_is_large_enough():
  assert len(GOOD) + len(BAD) >= 60


@pytest.mark.parametrize('name', GOOD)
def test_ends_as_the_right_picture(name):
  data, expected, is_lossy = GOOD[name]
  pixels = decode.decode(data)
  assert pixels.dtype == np.uint8 and pixels.flags.c_contiguous
  assert pixels.shape == expected.shape
  difference = np.abs(pixels.astype(int) - expected)
  if is_lossy:
    assert difference.mean() < 5  # a wrong channel or turn is 30 and more
  else:
    assert difference.max() == 0


@pytest.mark.parametrize('name', BAD)
def test_is_refused_with_a_reason(name):
  data, why = BAD[name]
  with pytest.raises(decode.BadImage, match=f'^({why})'):
    decode.decode(data)


# ------------------------------------------------------------------ mutations
_FUZZ = """
import json, re, sys, time
import numpy as np
sys.path.insert(0, {tests!r})
import zoo
from byol_jax.data.images import crops, decode
rng = np.random.default_rng({seed})
seeds = [zoo.GOOD[name][0] for name in (
    'jpeg 4:2:0', 'jpeg progressive', 'jpeg gray', 'jpeg cmyk', 'jpeg ycck',
    'jpeg exif orientation 6', 'jpeg several pictures (mpo)', 'png',
    'png alpha', 'png palette', 'png interlaced', 'png 16-bit rgb')]
out = np.empty((2, 16, 16, 3), np.uint8)
slowest, good, bad = 0.0, 0, 0
for k in range({count}):
  data = bytearray(seeds[k % len(seeds)])
  for _ in range(rng.integers(1, 9)):
    kind, at = rng.integers(5), int(rng.integers(len(data)))
    if kind == 0: data[at] = rng.integers(256)
    elif kind == 1: data[at] ^= 1 << int(rng.integers(8))
    elif kind == 2: data = data[:max(at, 4)]
    elif kind == 3: data[at:at + 4] = rng.bytes(4)
    else: data[at:at] = rng.bytes(int(rng.integers(1, 40)))
  start = time.process_time()  # not the time that others took
  try:
    u = rng.random((2, 4))
    out.fill(0)
    decode.decode_views(bytes(data), u, out, crops.CropSpec(16))
    good += 1
    if good % 10 == 0:  # every pixel is written, and the same again
      again = np.full_like(out, 255)
      decode.decode_views(bytes(data), u, again, crops.CropSpec(16))
      assert (again == out).all(), data
  except decode.BadImage as error:
    bad += 1
    assert str(error)
  slowest = max(slowest, time.process_time() - start)
# Not ru_maxrss, which a process inherits from the one that started it.
status = open('/proc/self/status').read()
print(json.dumps(dict(
    good=good, bad=bad, slowest=slowest,
    mib=int(re.search(r'VmHWM:\\s+(\\d+)', status).group(1)) / 1024)))
"""


@pytest.mark.skipif(not os.path.exists('/proc/self/status'),
                    reason='reads the memory from /proc')
def test_mutated_files_neither_crash_nor_hang():
  """10,000 of them: a picture or a `BadImage`, and nothing else."""
  count = 10_000
  done = subprocess.run(
      [sys.executable, '-c', _FUZZ.format(
          tests=os.path.dirname(__file__), seed=0, count=count)],
      capture_output=True, text=True, timeout=900)
  assert done.returncode == 0, done.stderr[-2000:]
  figures = json.loads(done.stdout.splitlines()[-1])
  print(figures)
  assert figures['good'] + figures['bad'] == count
  assert figures['good'] > count / 20 and figures['bad'] > count / 20
  assert figures['slowest'] < 2  # seconds
  assert figures['mib'] < 1024
