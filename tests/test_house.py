"""The rooms of byol_jax: who may import whom (CONTRIBUTING.md says what each is for).

And who is tested where: tests/ mirrors byol_jax/, file for file.
"""

import ast
import pathlib
import re

TESTS = pathlib.Path(__file__).resolve().parent
ROOT = TESTS.parent / 'byol_jax'

# An arrow goes down only; what stands on one floor does not know its neighbours.
FLOORS = {
    'errors': 1, 'ending': 1, 'networks': 1, 'wording': 1,
    'storage': 2, 'devices': 2, 'methods': 2,
    'data': 3,
    'views': 4, 'config': 4,
    'training': 5, 'run': 5,
    'weights': 6,
    'evaluation': 7, 'pages': 7,
    'encoder': 8,
    'retrieval': 9,  # an index encodes what it is asked
    'tasks': 10,
    'api': 11, 'main': 11, '__main__': 12}
# Names and constants, which import nothing that is slow: config may know them.
NAMES = ('networks.architectures', 'data.sources.names', 'views.recipes', 'methods.names',
         'data.bad', 'data.images.crops')
# module: the rooms and files that alone may import it
WALLS = {
    'ml_collections': ('config', 'tasks', 'training/build.py', 'weights'),
    'orbax': ('run/checkpoint.py', 'run/orbax_repairs.py', 'devices/barrier.py'),
    'tensorflow': ('data/records',),
    'tensorflow_datasets': ('data/sources/tfds.py',),
    'array_record': ('data/records/shards.py',),
    'haiku': ('networks', 'methods', 'training'),
    'optax': ('training',),
    'numba': ('data/images',), 'PIL': ('data/images',),
}
# a room: what must not be imported there, inside of functions neither
WITHOUT = {
    'data': ('jax', 'optax', 'haiku'), 'storage': ('jax', 'optax', 'haiku'),
    'config': ('jax', 'haiku', 'optax', 'PIL', 'numba', 'tensorflow', 'pyarrow'),
    'methods': ('optax',)}
# A module without a test file of its name, and the file that tests it instead.
TESTED_ELSEWHERE = {
    # tables: each of their keys is looked at
    **{f'config/{name}.py': 'config/test_keys.py' for name in (
        'key', 'names', 'sections/evaluation', 'sections/images', 'sections/learning',
        'sections/products', 'sections/running', 'sections/tools')},
    # a contract: methods of all kinds are run through the step that it is made with
    'methods/method.py': 'training/test_methods.py',
    # a table: each of its methods is made
    'methods/names.py': 'methods/test_byol.py',
    # values that stand for what a pickle names: pickles of all kinds are read
    'weights/pickled.py': 'weights/test_unpickle.py',
    # its checkpoints are damaged, going or diverged there
    'weights/of_run.py': 'weights/test_load.py',
    # shapes: they are compared with the batches that the feeds make
    'training/batch.py': 'data/feed/test_feed.py',
    # pages that one task writes: it writes them there
    'pages/preview.py': 'tasks/test_preview.py',
    'pages/several.py': 'tasks/test_side_by_side.py',
}


def _imports():
  """Yields (file below byol_jax, module, name) of every import."""
  for path in sorted(ROOT.rglob('*.py')):
    if 'samples' in path.parts:
      continue
    file = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
      if isinstance(node, ast.Import):
        for alias in node.names:
          yield file, alias.name, ''
      elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
          yield file, node.module, alias.name


def _room(file):
  return file.split('/')[0].removesuffix('.py')


def _is_within(file, places):
  return any(file == place or file.startswith(f'{place}/') for place in places)


def test_arrows_go_down_only():
  wrong = []
  for file, module, name in _imports():
    if module.split('.')[0] != 'byol_jax' or file == '__init__.py':
      continue
    target = '.'.join([*module.split('.')[1:], name]).strip('.')
    here, there = _room(file), target.split('.')[0]
    if there not in FLOORS or here == there:  # byol_jax.__version__; within a room
      continue
    if here == 'config':
      if there not in ('errors', 'storage') and not target.startswith(NAMES):
        wrong.append(f'{file} imports {target}, which is no catalogue of names')
    elif FLOORS[there] >= FLOORS[here]:
      wrong.append(f'{file} (floor {FLOORS[here]}) imports {target} '
                   f'(floor {FLOORS[there]})')
  assert not wrong, '\n'.join(wrong)


def test_every_module_has_a_floor():
  rooms = {_room(path.relative_to(ROOT).as_posix()) for path in ROOT.rglob('*.py')}
  assert rooms - {'__init__'} <= FLOORS.keys()


def test_walls():
  wrong = []
  for file, module, _ in _imports():
    top = module.split('.')[0]
    if top in WALLS and not _is_within(file, WALLS[top]):
      wrong.append(f'{file} imports {top}: only {", ".join(WALLS[top])} may')
    if top in WITHOUT.get(_room(file), ()):
      wrong.append(f'{file} imports {top}: not in this room')
  assert not wrong, '\n'.join(wrong)


def test_one_file_knows_pmap():
  users = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob('*.py')
           if any(isinstance(node, ast.Attribute) and node.attr == 'pmap'
                  for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))))]
  assert users == ['devices/mapped.py']


def test_every_module_has_a_test_file_of_its_name():
  modules = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob('*.py')
             if path.name != '__init__.py'}
  without = {file for file in modules
             if not (TESTS / file).with_name(f'test_{pathlib.Path(file).name}').exists()}
  assert without == TESTED_ELSEWHERE.keys(), (
      'tests/ mirrors byol_jax/: the test of run/lock.py is tests/run/test_lock.py')
  assert all((TESTS / test).is_file() for test in TESTED_ELSEWHERE.values())


def test_every_room_says_what_is_in_it():
  for room in sorted(path.parent for path in ROOT.rglob('__init__.py')):
    if room == ROOT or 'samples' in room.parts:
      continue
    said = ast.get_docstring(ast.parse((room / '__init__.py').read_text('utf-8')))
    assert said, f'{room} has no docstring: name its files in the order of reading'
    gone = [file for file in re.findall(r'[a-z_]+\.py', said)
            if not (room / file).exists()]
    assert not gone, f'{room}/__init__.py names {gone}, which are gone'
