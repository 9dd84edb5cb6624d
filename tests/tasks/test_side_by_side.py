"""Several runs on one page: comparisons and studies."""

import json
import shutil

import html_page
import pytest
from tiny import call


def read(folder):
  return html_page.Page((folder / 'report.html').read_text('utf-8'))


def test_compare_writes_a_page_where_it_is_asked_to(run, tmp_path, capsys):
  other = tmp_path / 'other'
  shutil.copytree(run, other, ignore=shutil.ignore_patterns('checkpoints'))
  config = json.loads((other / 'config.json').read_text())
  config['train']['momentum'] = 0.5
  (other / 'config.json').write_text(json.dumps(config))
  (other / 'metrics.jsonl').write_text('{"step": 5, "loss": 2.5}\n{"st\n')
  assert call('compare', f'--config.compare.workdirs={run},{other}') == 0
  table = capsys.readouterr().out
  assert not (tmp_path / 'report.html').exists()
  assert call('compare', f'--config.compare.workdirs={run},{other}',
              f'--workdir={tmp_path}') == 0
  assert table in capsys.readouterr().out
  page = read(tmp_path)
  assert page.runs_nothing()
  [name] = [name for name, line in page.lines.items() if line == [[5, 2.5]]]
  assert name.endswith('other') and len(name) < len(str(other))  # without what all share
  assert page.says('train.momentum') and page.says('left out 1 of 2 lines as damaged')
  results = json.loads((other / 'results.json').read_text())
  assert page.says(f'{results["byol"]["linear_top1"]:.2f}%')


def study(name):
  measured = {'mean': 51.25, 'std': 1.5, 'n': 2}
  change = {'mean': 0.0, 'std': 0.0, 'n': 2}
  return {
      'title': name, 'published': name, 'figure': 'linear', 'settings': {'seed': name},
      'cells': [{
          'name': name, 'line': '', 'place': name, 'reference': name, 'changes': {},
          'linear': measured, 'linear_change': change, 'knn': None, 'knn_change': None,
          'paper': 72.5, 'paper_change': 0.0, 'runs': [{
              'seed': 0, 'workdir': 'cells/a-0', 'state': 'open'}]}]}


def test_study(tmp_path):
  (tmp_path / 'study.json').write_text(json.dumps(study(html_page.MARKUP)))
  (tmp_path / 'cells' / 'a-0').mkdir(parents=True)
  (tmp_path / 'cells' / 'a-0' / 'metrics.jsonl').write_text('{"step": 5, "loss": 2}\n')
  assert call('report', f'--config.weights={tmp_path}') == 0
  page = read(tmp_path)
  assert page.runs_nothing() and page.says('51.25 +-1.50') and page.says('72.5')
  assert page.lines[html_page.MARKUP] == [[5, 2]]
  assert {'figures', 'curves', 'settings'} <= set(page.chapters())


@pytest.mark.parametrize('damaged', [b'', b'[]', b'{"cells": [{"name": 1}]}'])
def test_damaged_study(tmp_path, capsys, damaged):
  (tmp_path / 'study.json').write_bytes(damaged)
  assert call('report', f'--config.weights={tmp_path}') == 2
  assert 'writes it again' in capsys.readouterr().err
