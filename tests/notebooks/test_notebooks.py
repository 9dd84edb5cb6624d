"""The notebooks run, with small settings."""

import os
import pathlib

import pytest

nbclient = pytest.importorskip('nbclient', reason='notebooks: pip install nbclient')
nbformat = pytest.importorskip('nbformat')
pytest.importorskip('ipykernel', reason='notebooks: pip install ipykernel')

ROOT = pathlib.Path(__file__).resolve().parents[2]
# One block, which compiles in seconds.
SMALLEST = '''
from byol_jax.networks import architectures
architectures.ARCHITECTURES['resnet18'] = architectures.Architecture((1,), False, (8,), 8)
SMALL = {
    'network.name': 'resnet18', 'network.stem': 'small', 'data.image_size': 8,
    'network.projector_hidden_size': 8, 'network.predictor_hidden_size': 8,
    'network.projection_size': 4, 'train.batch_size': 64, 'log.every_steps': 2,
    'evaluation.examples': 64, 'evaluation.final': False, 'train.epochs': 1}
'''
FAKE = ("CONFIG = 'fake_data'; PHOTOS = ''; SETTINGS = SMALL | {'data.source': 'fake', "
        "'data.fake_images': 128, 'checkpoint.every_steps': 1}")


def executed(name, folder, cell, devices, *without):
  """The output of a notebook, `cell` behind its parameters, without cells of some tags."""
  notebook = nbformat.read(ROOT / 'notebooks' / name, 4)
  cells = []
  for each in notebook.cells:
    tags = each.metadata.get('tags', ())
    if not set(tags) & set(without):
      cells.append(each)
    if 'parameters' in tags:
      cells.append(nbformat.v4.new_code_cell(SMALLEST + cell))
  assert len(cells) > len(notebook.cells) - 5
  notebook.cells = cells
  client = nbclient.NotebookClient(
      notebook, timeout=300, kernel_name='python3',
      resources={'metadata': {'path': str(folder)}})
  client.execute(env=os.environ | {
      'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(ROOT),
      'XLA_FLAGS': ' '.join((  # the last one counts
          os.environ['XLA_FLAGS'],
          f'--xla_force_host_platform_device_count={devices}'))})
  for each in notebook.cells:  # as they are in the repository
    assert each.cell_type == 'markdown' or each.execution_count
  return ''.join(output.get('text', '') for each in notebook.cells
                 for output in each.get('outputs', ())
                 if output.output_type == 'stream' and output.name == 'stdout')


@pytest.mark.parametrize('name', ['own_photos.ipynb', 'tpu.ipynb'])
def test_notebooks_are_kept_without_output(name):
  notebook = nbformat.read(ROOT / 'notebooks' / name, 4)
  nbformat.validate(notebook)
  assert not any(cell.get('outputs') or cell.get('execution_count')
                 for cell in notebook.cells)


def test_own_photos(tmp_path):
  said = executed('own_photos.ipynb', tmp_path, 'SETTINGS = SMALL', 1, 'install')
  assert '600 files' in said and 'preview: runs/photos' in said and '(600, 8)' in said and 'encoder.safetensors' in said
  assert '\r[####################] step 9/9  100.0%' in said  # it renews itself
  assert (tmp_path / 'runs/photos/checkpoints/9').is_dir()


@pytest.mark.skipif('BYOL_TEST_LONG' not in os.environ, reason='BYOL_TEST_LONG=1')
def test_a_tpu_of_eight_cores_goes_on_after_a_cut(tmp_path):
  for _ in range(2):
    said = executed('tpu.ipynb', tmp_path, FAKE, 8, 'install')
    assert said.startswith('8 x cpu\n') and 'encoder.safetensors' in said
  assert 'this run is finished' in said
