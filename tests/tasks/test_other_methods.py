"""A run of another method than BYOL, through all that is done with a run."""

import json
import pathlib

import html_page
import pytest
import tiny
from tiny import call

from byol_jax import encoder
from byol_jax.methods import names
from byol_jax.networks import architectures

_FEW = ['--config.evaluation.batch_size=16']
_OF_METHOD = {
    'simclr': [],
    'simsiam': [],
    'moco': ['--config.method.queue=128'],
}


@pytest.mark.parametrize('method', _OF_METHOD)
def test_what_is_done_with_a_run(tmp_path, monkeypatch, capsys, method):
  monkeypatch.setitem(architectures.ARCHITECTURES, 'resnet8', tiny.RESNET8)
  data = tiny.images(tmp_path)
  run, title = str(tmp_path / 'run'), names.METHODS[method].title
  assert call(f'fashion:{method}', f'--workdir={run}', *tiny.TINY, *data,
              '--config.train.epochs=1', *_OF_METHOD[method]) == 0
  said = capsys.readouterr().out
  assert f'method: {title}, loss ' in said and f'\n{title} ' in said
  found = tiny.results(run)
  assert found['method'] == method and 0 <= found[method]['knn_top1'] <= 100

  weights = f'--config.weights={run}'
  assert call('knn', weights, *_FEW, '--config.evaluation.baselines=True') == 0
  few = tiny.results(next(pathlib.Path(run, 'evaluations').glob('knn-*')))
  assert set(few) >= {method, 'untrained', 'raw_pixels'} and 'byol' not in few
  has_target = method == 'moco'
  code = call('knn', weights, *_FEW, '--config.evaluation.network=target')
  assert code == (0 if has_target else 2)
  if not has_target:
    assert 'evaluation.network' in capsys.readouterr().err

  out = tmp_path / 'out'
  assert call('export', weights, f'--workdir={out}') == 0
  assert encoder.load(str(out / 'encoder.safetensors')).feature_size == (
      encoder.load(run).feature_size)
  capsys.readouterr()
  assert call('compare', f'--config.compare.workdirs={run}') == 0
  assert f'  {title}  ' in capsys.readouterr().out
  assert call('report', weights, *_FEW) == 0
  page = html_page.Page((pathlib.Path(run) / 'report.html').read_text('utf-8'))
  assert page.says(title) and not page.says('BYOL')

  # another run starts from it
  assert call('fashion', f'--workdir={tmp_path / "next"}', *tiny.TINY, *data,
              '--config.train.epochs=1', f'--config.init_from={run}') == 0
  assert json.loads((tmp_path / 'next' / 'config.json').read_text())[
      'method']['name'] == 'byol'
