"""task=export as a user calls it, and what comes back from the file."""

from tiny import call
from tiny import FEW
from tiny import results

from byol_jax.weights import load as weights_lib


def test_exported_file_and_steps_are_the_same_encoder(run, tmp_path):
  assert call('knn', f'--config.weights={run}', *FEW) == 0
  measured = results(f'{run}/evaluations/knn-20')
  assert call('export', f'--config.weights={run}', f'--workdir={tmp_path}') == 0
  file = f'{tmp_path}/encoder.safetensors'
  for weights in (file, f'{run}/checkpoints/20', f'{run}/checkpoints'):
    out = tmp_path / weights.strip('/').replace('/', '_')
    assert call('knn', f'--config.weights={weights}', f'--workdir={out}', *FEW) == 0
    assert results(out)['byol'] == measured['byol']
  target = tmp_path / 'target'
  assert call('knn', f'--config.weights={run}', f'--workdir={target}', *FEW,
              '--config.evaluation.network=target') == 0
  assert results(target)['protocol']['network'] == 'target'
  assert results(target)['protocol']['digest'] != (
      measured['protocol']['digest'])


def test_a_file_with_a_flipped_bit(run, tmp_path, capsys):
  weights = weights_lib.load(run, 'online')
  path = tmp_path / 'encoder.safetensors'
  weights_lib.save(weights, str(path))
  assert weights_lib.load(str(path), 'online').digest == weights.digest
  data = bytearray(path.read_bytes())
  data[-100] ^= 1
  path.write_bytes(data)
  assert call('knn', f'--config.weights={path}', f'--workdir={tmp_path / "o"}') == 2
  assert 'damaged' in capsys.readouterr().err
