"""Runs the fault matrix: `bash tests/run.sh --faults [C1 C10 ...]`.

Prints a line for each row and writes all of them to docs/reliability.json; rows
that were not run keep what that file says of them.
"""

from __future__ import annotations

import json
import os
import pathlib
import platform
import sys
import tempfile
import time
import traceback

# pylint: disable=unused-import
import checkpoint_rows
import run_rows
# pylint: enable=unused-import
import harness

_RESULTS = harness.ROOT / 'docs' / 'reliability.json'


def main(names: list[str]) -> int:
  unknown = set(names) - harness.ROWS.keys()
  if unknown:
    print(f'unknown rows {", ".join(sorted(unknown))}; there are '
          f'{", ".join(harness.ROWS)}')
    return 2
  results = {}
  if _RESULTS.exists():
    results = json.loads(_RESULTS.read_text())['rows']
  failed = 0
  # what a hundred damaged files make the libraries say; warnings are expected
  os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
  for name, row in harness.ROWS.items():
    if names and name not in names:
      continue
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix=f'faults-{name}-') as scratch:
      try:
        done = row.run(row.cases, pathlib.Path(scratch))
      except Exception:  # pylint: disable=broad-exception-caught
        done = harness.Outcome(0, [traceback.format_exc()])
    seconds = round(time.monotonic() - started)
    failed += len(done.failures)
    print(f'{name} cases={done.cases} failures={len(done.failures)} '
          f'bound={row.bound}  # {row.title} {seconds} s'
          f'{"; " + done.note if done.note else ""}', flush=True)
    for failure in done.failures[:10]:
      print(f'  {failure}', flush=True)
    import jax  # pylint: disable=g-import-not-at-top
    results[name] = {
        'title': row.title, 'cases': done.cases,
        'failures': len(done.failures), 'bound': row.bound, 'seconds': seconds,
        'note': done.note, 'date': time.strftime('%Y-%m-%d'),
        'python': platform.python_version(), 'jax': jax.__version__}
    order = [n for n in harness.ROWS if n in results]
    _RESULTS.write_text(json.dumps({
        'command': 'bash tests/run.sh --faults', 'cores': os.cpu_count(),
        'seed': harness.SEED, 'rows': {n: results[n] for n in order}}, indent=1)
        + '\n')
  return 1 if failed else 0


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
