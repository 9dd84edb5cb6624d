"""Stand-ins of gcloud, kubectl, sbatch and the program, on a PATH of their own.

The stand-ins write down how they were called and play answers.
"""

import json
import pathlib
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = ROOT / 'launch'
CONFIG = '--config=configs/fake_data.py'
ODD = '''--config.data.path=a 'b' "c" $HOME $(id) `id` \\ & ; * ä\nd'''  # as typed

_TOOL = '''#!%s -SE
import json, os, re, signal, shutil, subprocess, sys
here = os.path.dirname(os.path.abspath(sys.argv[0]))
argv = [os.path.basename(sys.argv[0]), *sys.argv[1:]]
stdin = '' if sys.stdin is None or argv[:2] != ['kubectl', 'apply'] else sys.stdin.read()
with open(here + '/calls', 'a') as f:
  f.write(json.dumps([argv, stdin]) + chr(10))
line = ' '.join(argv)
answers = json.load(open(here + '/answers'))
for i, (pattern, replies) in enumerate(answers):
  if re.search(pattern, line):
    count = here + '/count%%d' %% i
    n = os.path.getsize(count) if os.path.exists(count) else 0
    open(count, 'a').write('x')
    reply = replies[min(n, len(replies) - 1)]
    print(reply.get('out', ''), end='')
    print(reply.get('err', ''), end='', file=sys.stderr)
    sys.exit(reply.get('code', 0))
''' % sys.executable


def executable(path, text):
  path.write_text(text)
  path.chmod(0o755)


class Bench:
  """A PATH with stand-ins, and an environment without anybody's variables."""

  def __init__(self, folder):
    self.bin = folder / 'bin'
    self.home = folder / 'home'
    self.bin.mkdir()
    self.home.mkdir()
    # what the scripts use, and nothing else that happens to be installed
    for tool in ('awk bash basename cat chmod cksum date dirname env flock grep head '
                 'hostname id kill ls mkdir mktemp mv nohup printf rm seq setsid sed '
                 'sh sleep sort tail tar touch tr true').split():
      if shutil.which(tool):
        (self.bin / tool).symlink_to(shutil.which(tool))
    executable(self.bin / 'gzip', f'#!/bin/sh\nexec {shutil.which("gzip")} "$@"\n')
    self.env = dict(PATH=str(self.bin), HOME=str(self.home), LC_ALL='C.UTF-8',
                    TMPDIR=str(folder), BYOL_POLL='0.05')
    self.answer()

  def tools(self, *names, text=_TOOL):
    for name in names:
      executable(self.bin / name, text)

  def answer(self, *pairs):
    (self.bin / 'answers').write_text(json.dumps(pairs))

  def calls(self, but=()):
    """The commands, without those that a word of `but` is in."""
    if not (self.bin / 'calls').exists():
      return []
    lines = (self.bin / 'calls').read_text().splitlines()
    commands = [json.loads(line)[0] for line in lines]
    return [c for c in commands if not any(word in c for word in but)]

  def run(self, script, *arguments, root=ROOT, timeout=60, **env):
    return subprocess.run(
        ['bash', str(root / 'launch' / script), *arguments], cwd='/',
        env=self.env | env, capture_output=True, text=True, check=False,
        timeout=timeout, stdin=subprocess.DEVNULL)


WHERE = ['--project=proj', '--zone=europe-west4-a']
QUEUE = ['gcloud', 'compute', 'tpus', 'queued-resources']
VM = ['gcloud', 'compute', 'tpus', 'tpu-vm']
ACTIVE = ['queued-resources describe', [{'out': 'ACTIVE\n'}]]
READY = ['tpu-vm describe', [{'out': 'READY\n'}]]


def hosts(state, code='', count=4):
  return ''.join(f'host=w-{i} state={state} code={code} last=step 1\n'
                 for i in range(count))


def eventually(what, seconds=20):
  until = time.monotonic() + seconds
  while not what() and time.monotonic() < until:
    time.sleep(0.05)
  return what()
