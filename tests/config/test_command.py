"""The command line and config files, as a user may write them."""

import os
import subprocess
import sys

import pytest

from byol_jax.config import command
from byol_jax.config import keys
from byol_jax.config import kinds
from byol_jax.config.keys import Key
from byol_jax.errors import UserError

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FASHION = f'--config={ROOT}/configs/fashion.py'
_BASE = ('from byol_jax.config import base\nimport ml_collections\n'
         'def get_config(argument=""):\n  c = base()\n')


def parse(*arguments, **options):
  return command.parse(['byol_jax.main', *arguments], **options)


@pytest.fixture(name='written')
def _written(tmp_path, monkeypatch):
  """Writes a config file: its lines stand between base() and its return."""
  monkeypatch.setattr(sys, 'dont_write_bytecode', True)
  def write(*lines, text=None):
    (tmp_path / 'mine.py').write_text(
        text or _BASE + ''.join(f'  {line}\n' for line in lines) + '  return c\n')
    return f'--config={tmp_path}/mine.py'
  return write


@pytest.mark.parametrize('arguments,key,value', [
    (('--config.seed=3',), 'seed', 3), (('-config.seed=3',), 'seed', 3),
    (('--config.seed', '3'), 'seed', 3), (('-config.seed', '0x10'), 'seed', 16),
    (('--config.seed=3', '--config.seed=4'), 'seed', 4),
    (('--config.log.tensorboard',), 'log.tensorboard', True),
    (('--noconfig.log.tensorboard',), 'log.tensorboard', False),
    (('--config.log.tensorboard=false',), 'log.tensorboard', False),
    (('--config.data.mean=(0.1,0.2,0.3)', '--config.data.mean=(1,0,0)'),
     'data.mean', (1, 0, 0)),
    (('--config.data.path=a=b c',), 'data.path', 'a=b c'),
    (('--config.data.test_split=',), 'data.test_split', ''),
    (('--config.train.epochs=30',), 'train.epochs', 30.0),
    (('--config.train.warmup_epochs=None',), 'train.warmup_epochs', None),
    (('--config.augment.view2.blur_sigma=(0.1, 1)',), 'augment.view2.blur_sigma',
     (0.1, 1)),
])
def test_keys_are_set_before_or_behind_the_file(arguments, key, value):
  for argv in ((FASHION, *arguments), (*arguments, FASHION),
               (*arguments, '--config', FASHION[9:])):
    config = parse(*argv).config
    for part in key.split('.'):
      config = config[part]
    assert config == value and type(config) is type(value)


def test_flags_have_defaults_and_the_last_one_counts():
  assert parse(FASHION).flags == {'config': '', 'workdir': '', 'distributed': 'auto'}
  flags = parse('--workdir=a', '-distributed', 'off', FASHION, '--workdir', '--b',
                '--').flags
  assert flags['workdir'] == '--b' and flags['distributed'] == 'off'
  more = command.FLAGS | {'steps': Key(10, kinds.whole(above=0), 'steps to time')}
  assert parse(FASHION, flags=more).flags['steps'] == 10
  assert parse(FASHION, '--steps=3', flags=more).flags['steps'] == 3
  with pytest.raises(UserError, match='--steps is 0, it must be a whole number above'):
    parse(FASHION, '--steps', '0', flags=more)


@pytest.mark.parametrize('arguments,words', [
    ((), '--config is missing\nusage:'), (('--', FASHION), "argument '--config="),
    (('--config=none.py',), 'none.py: there is no such file'),
    (('--config=',), '--config=: there is no such file'),
    (('--config=.',), '--config=.: there is no such file'),
    ((FASHION, 'extra', '--nonsense'), "unexpected argument 'extra'\nusage:"),
    ((FASHION, ''), "unexpected argument ''"), ((FASHION, '-'), 'unknown flag --'),
    ((FASHION, '---'), 'unknown flag ---'), ((FASHION, '--=1'), 'unknown flag --'),
    ((FASHION, '--nonsense=1'), 'unknown flag --nonsense'),
    ((FASHION, '--noworkdir'), 'unknown flag --noworkdir'),
    ((FASHION, '--noconfig.seed'), 'unknown flag --noconfig.seed'),
    ((FASHION, '--noconfig.log.tensorboard=1'), 'unknown flag'),
    ((FASHION, '--train.epochs=1'), 'did you mean --config.train.epochs?'),
    ((FASHION, '--flagfile=x'), 'write the flags on the command line'),
    ((FASHION, '--workdir'), 'Missing value for flag --workdir'),
    ((FASHION, '--config.seed'), 'Missing value for flag --config.seed'),
    ((FASHION, '--distributed=maybe'), '--distributed is .maybe., it must be one of'),
    ((FASHION, '--distributed='), 'auto, on, off'),
    ((FASHION, '--config.train.bach_size=8'), 'did you mean train.batch_size?'),
    ((FASHION, '--config.train=3'), 'a section: set one of its keys'),
    ((FASHION, '--config.seed.x=1'), 'unknown config key seed.x'),
    ((FASHION, '--config.data.mean[0]=1'), 'unknown config key data.mean'),
    ((FASHION, '--config.=1'), 'unknown config key '),
    ((FASHION, '--config.train.epochs=many'), 'config key train.epochs is .many., it'),
    ((FASHION, '--config.task=knn'), 'config key weights is empty'),
    ((FASHION, f'--{"a" * 5000}'), 'unknown flag --aaa'),
    ((FASHION, '--a\nb=1'), 'unknown flag --a b'),
], ids=lambda value: None if isinstance(value, str) else ' '.join(
    ascii(v.rsplit('/', 1)[-1])[1:-1].replace('\\', '')[:40] for v in value) or 'nothing')
def test_a_wrong_command_line_is_refused_in_words(arguments, words):
  with pytest.raises(UserError, match=words.replace('?', r'\?')) as caught:
    parse(*arguments)
  assert len(str(caught.value)) < 1000 and len(str(caught.value).splitlines()) <= 3


def test_a_wrong_flag_is_found_before_the_file_runs(written):
  path = written(text='raise SystemExit("it ran")')
  with pytest.raises(UserError, match='unknown config key sed .did you mean seed'):
    parse(path, '--config.sed=1')
  with pytest.raises(UserError, match='line 1: SystemExit: it ran'):
    parse(path)


@pytest.mark.parametrize('line,words', [
    ('c.train.bach_size = 8', r'line 5: unknown config key train.bach_size \(did you '
     r'mean train.batch_size\?\)'),
    ('c.trian.epochs = 8', r'line 5: unknown config key trian.epochs \(did you mean '
     r'train.epochs\?\)'),
    ('c.sed = 8', r'unknown config key sed \(did you mean seed\?\)'),
    ('x = c.data.pth', r'unknown config key data.pth \(did you mean data.path\?\)'),
    ('c.train.update(bach_size=8)', r'key bach_size \(did you mean train.batch_size\?'),
    ('c.train["bach_size"] = 8', r'key bach_size \(did you mean train.batch_size\?'),
    ('c.update_from_flattened_dict({"trian.epochs": 8})',
     r'unknown config key trian.epochs \(did you mean train.epochs'),
    ('c.augment.view1.blurr = 0.0', r'mean augment.view1.blur\?'),
    ('c.train.epochs = "many"', 'line 5: TypeError: .*epochs'),
    ('c.train = 3', 'line 5: TypeError: .*train'),
    ('c.update(train=3)', "line 5: AttributeError: 'int' object has no"),
    ('del c.seed', 'line 5: AttributeError: .This ConfigDict is locked'),
    ('c.seed.x = 3', "line 5: AttributeError: 'int' object has no attribute 'x'"),
    ('raise AttributeError("boom")', 'line 5: AttributeError: boom'),
    ('return None', r'get_config\(\) must return a ConfigDict'),
    ('return ml_collections.FrozenConfigDict(c)', 'FrozenConfigDict'),
    ('return ml_collections.ConfigDict()', r'start the config from byol_jax.config.base'),
    ('with c.unlocked(): del c.train', 'config key train.batch_size is missing'),
    ('with c.unlocked(): c.new = 1', 'unknown config key new'),
    ('with c.ignore_type(): c.seed = "x"', 'config key seed is .x., it must be a whole'),
    ('c.get_ref("seed").set(-1)', 'config key seed is -1'),
    ('exit(0)', 'SystemExit: 0'), ('1 / 0', 'line 5: ZeroDivisionError'),
    ('raise ValueError("a\\n" * 900)', r'ValueError: a a .* \.\.\.$'),
])
def test_a_wrong_config_file_is_refused_by_line(written, line, words):
  with pytest.raises(UserError, match=words) as caught:
    parse(written(line))
  assert len(str(caught.value)) < 600 and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize('text,words', [
    ('def get_config(: pass', 'SyntaxError'), ('x = 1', 'get_config'),
    ('get_config = 3', 'callable'), ('import nowhere_at_all', 'nowhere_at_all'),
    ('def get_config(a, b): return 1', 'get_config'),
    ('def get_config(): return get_config()', 'recursion')])
def test_a_file_that_is_no_config(written, text, words):
  with pytest.raises(UserError, match=words):
    parse(written(text=text))


def test_a_config_file_may_do_what_ml_collections_lets_it(written):
  config = parse(written(
      'with c.unlocked():',
      '  c.train.epochs = ml_collections.config_dict.placeholder(float)',
      '  c.train.warmup_epochs = 2',
      '  c.evaluation.knn_k = c.data.get_ref("threads")',
      'c.update(seed=4, train=dict(batch_size=8))',
      'c.data.threads = 5'), '--config.data.threads=6').config
  assert config.train.epochs is None and config.train.warmup_epochs == 2.0
  assert config.seed == 4 and config.train.batch_size == 8
  assert config.evaluation.knn_k == 6  # it follows data.threads, also from here
  assert config.is_locked
  # what the file has of another type is mended from the command line
  wrong = written('with c.ignore_type(): c.seed = "x"')
  assert parse(wrong, '--config.seed=3').config.seed == 3


def test_the_argument_of_a_file_and_the_name(written):
  path = written('c.data.path = argument')
  assert parse(path).name == 'mine' and parse(path).config.data.path == ''
  assert parse(f'{path}:a:b').config.data.path == 'a:b'
  assert parse(f'{path}:0.1').name == 'mine_0.1' and parse(f'{path}:').name == 'mine_'
  assert parse(f'{path}:a,b').name == 'mine_a_b'  # commas separate workdirs
  written('c.data.path = argument * 3')  # the file is read anew
  assert parse(f'{path}:ab').config.data.path == 'ababab'


def test_help_names_every_key_without_jax():
  code = ('import sys\nfrom byol_jax import main\n'
          'assert main.main(["", "--config=none.py", "--help"]) == 0\n'
          'assert main.main(["", "--config.sed=1"]) == 2\n'
          'heavy = {"jax", "haiku", "optax", "numba", "PIL", "tensorflow", "orbax"}\n'
          'assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n')
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                        check=False, env=os.environ | {'PYTHONPATH': ROOT})
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('usage:') and 'did you mean seed?' in done.stderr
  lines = done.stdout.splitlines()
  shown = {name: lines.index(f'  --config.{name}={key.default}')
           for name, key in keys.KEYS.items()}
  for name, at in shown.items():
    described = ' '.join(line.strip() for line in lines[at + 1:at + 4])
    assert keys.KEYS[name].help in described
  for flag in command.FLAGS:
    assert any(line.startswith(f'  --{flag}=') for line in lines)


@pytest.mark.parametrize('name', ['folder', 'folder.py', 'configs/folder.py'])
def test_a_config_that_comes_with_byol_jax_is_found_by_its_name(
    name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert command.find(name) == f'{ROOT}/configs/folder.py'
  asked = parse(f'--config={name}', '--config.data.path=x')
  assert (asked.name, asked.config.data.path) == ('folder', 'x')
  # a file of the user's comes first, and nothing outside of configs/ is found
  os.makedirs(os.path.dirname(tmp_path / name), exist_ok=True)
  (tmp_path / name).write_text('')
  assert command.find(name) == name
  assert not command.find('../configs/folder.py') and not command.find('x/folder.py')
  with pytest.raises(UserError, match='no such file .did you mean fashion'):
    parse('--config=configs/fashon.py')


def test_values_of_python():
  made = command.made('fashion:moco', {'train.epochs': 3, 'data.mean': [0, 0, 1]}, {})
  assert (made.name, made.config.train.epochs) == ('fashion_moco', 3)
  for values, words in (({'sed': 1}, 'unknown config key sed .did you mean seed'),
                        ({'seed': 1.5}, 'seed is 1.5, it must be a whole number')):
    with pytest.raises(UserError, match=words):
      command.made('fashion', values, {})


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  (tmp_path / 'my.py').write_text('from byol_jax.config import keys\n'
                                  'def get_config():\n'
                                  '  c = keys.base().unlock()\n'
                                  '  c.init_from = "~/run"\n'
                                  '  return c\n')
  asked = parse('--config=~/my.py', '--workdir=~/out',
                '--config.data.path=~/a,~/b/{~/c,d~},/e/~f,~', '--config.data.list_root=a~')
  home = str(tmp_path)
  assert asked.workdir == f'{home}/out'
  assert asked.config.init_from == f'{home}/run'
  assert asked.config.data.path == f'{home}/a,{home}/b/{{{home}/c,d~}},/e/~f,{home}'
  assert asked.config.data.list_root == 'a~'
  assert {name.rpartition('.')[2] for name, key in keys.KEYS.items()
          if key.kind.is_path} >= {
      'weights', 'init_from', 'path', 'test_path', 'list_root', 'output', 'workdirs'}
