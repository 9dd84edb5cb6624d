"""Runs the fault matrix: `bash tests/run.sh --faults [C1 C10 G7:20 ...]`.

A number behind a row says how many cases to try in place of all. Prints a line for each
row and writes all of them to docs/reliability.json, and to the table in
docs/reliability.md; rows that were not run keep what is said of them.
"""

from __future__ import annotations

import json
import os
import pathlib
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback

import harness
from rows import ROWS

_RESULTS = harness.ROOT / 'docs' / 'reliability.json'
_GUIDE = harness.ROOT / 'docs' / 'reliability.md'


def main(names: list[str]) -> int:
  wanted = dict(name.partition(':')[::2] for name in names)
  unknown = wanted.keys() - ROWS.keys()
  if unknown:
    print(f'unknown rows {", ".join(sorted(unknown))}; there are '
          f'{", ".join(ROWS)}')
    return 2
  failed = 0
  # what a hundred damaged files make the libraries say; warnings are expected
  os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
  whole = tempfile.TemporaryDirectory(prefix='faults-')
  for name, row in ROWS.items():
    if names and name not in wanted:
      continue
    started = time.monotonic()
    scratch = pathlib.Path(whole.name) / name
    scratch.mkdir()
    try:
      done = row.run(int(wanted.get(name) or row.cases), scratch)
    except Exception:
      done = harness.Outcome(0, [traceback.format_exc()])
    shutil.rmtree(scratch, ignore_errors=True)
    seconds = round(time.monotonic() - started)
    failed += len(done.failures)
    print(f'{name} cases={done.cases} failures={len(done.failures)} '
          f'bound={row.bound}  # {row.title} {seconds} s'
          f'{"; " + done.note if done.note else ""}', flush=True)
    for failure in done.failures[:10]:
      print(f'  {failure}', flush=True)
    import jax
    # read again each time: other rows may be run meanwhile
    results = json.loads(_RESULTS.read_text())['rows'] if _RESULTS.exists() else {}
    results[name] = {
        'title': row.title, 'cases': done.cases,
        'failures': len(done.failures), 'bound': row.bound, 'seconds': seconds,
        'note': done.note, 'date': time.strftime('%Y-%m-%d'),
        'commit': _commit(), 'python': platform.python_version(),
        'jax': jax.__version__}
    _write({n: results[n] for n in sorted(ROWS, key=_place) if n in results})
  return 1 if failed else 0


def _place(name: str) -> tuple[int, int, str]:
  """C9 before C10; checkpoints, data, numbers, processes, and the rest."""
  return 'CDNPG'.index(name[0]), int(re.sub(r'\D', '', name)), name


def _commit() -> str:
  """What was tried; '' outside a clone."""
  return subprocess.run(
      ['git', 'rev-parse', '--short', 'HEAD'], cwd=harness.ROOT, text=True,
      stdout=subprocess.PIPE, check=False).stdout.strip()


def _write(results: dict[str, dict]) -> None:
  _RESULTS.write_text(json.dumps({
      'command': 'bash tests/run.sh --faults', 'cores': os.cpu_count(),
      'seed': harness.SEED, 'rows': results}, indent=1) + '\n')
  lines = ['| row | | cases | failures | bound |', '| --- | --- | --- | --- | --- |']
  for name, r in results.items():
    title = r['title'].rstrip('.') + (f' ({r["note"]})' if r['note'] else '')
    lines.append(f'| {name} | {title} | {r["cases"]} | {r["failures"]} | '
                 f'{r["bound"]} |')
  before, rest = _GUIDE.read_text().split('<!-- rows -->\n')
  after = rest.split('<!-- end of rows -->')[1]
  _GUIDE.write_text('\n'.join([before + '<!-- rows -->', *lines,
                                '<!-- end of rows -->']) + after)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
