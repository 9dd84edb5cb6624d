"""The catalogue of sources against the files beside it."""

import importlib
import inspect
import pathlib
import subprocess
import sys

from byol_jax.config import keys as keys_lib
from byol_jax.data.sources import names as source_names
from byol_jax.data.sources import table


def test_each_source_is_a_file_with_one_function():
  for name in source_names.SOURCES:
    module = importlib.import_module(f'byol_jax.data.sources.{name}')
    parameters = inspect.signature(module.open_split).parameters
    assert list(parameters)[:2] == ['request', 'split'], name


def test_each_file_with_that_function_is_in_the_catalogue():
  folder = pathlib.Path(source_names.__file__).parent
  assert {path.stem for path in folder.glob('*.py')
          if '\ndef open_split(' in path.read_text()} == set(source_names.SOURCES)


def test_needs_are_config_keys_and_fields_of_the_request():
  data = keys_lib.base().data
  for source in source_names.CATALOGUE.values():
    assert all(key in data and key in table.Request._fields for key in source.needs)


def test_importing_it_costs_nothing():
  code = ('import sys; from byol_jax.data.sources import names; '
          'sys.exit(any(name in sys.modules for name in ("numpy", "PIL", "numba")))')
  subprocess.run([sys.executable, '-c', code], check=True)
