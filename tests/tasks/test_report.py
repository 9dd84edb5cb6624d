"""The page of a run: its figures, its escaping, and all that can be missing."""

import json
import pathlib
import shutil

import html_page
import numpy as np
import pytest
from tiny import call
from tiny import FEW

from byol_jax.evaluation import scores
from byol_jax.tasks import report


@pytest.fixture(name='copy')
def _copy(run, tmp_path):
  """A copy of the run, to be spoiled."""
  shutil.copytree(run, tmp_path / 'run')
  return tmp_path / 'run'


def read(folder):
  return html_page.Page((pathlib.Path(folder) / 'report.html').read_text('utf-8'))


def write(path, value):
  path.write_text(json.dumps(value))


def without_weights(copy):
  """Makes reports of the copy fast: no encoder, no images."""
  shutil.rmtree(copy / 'checkpoints')
  config = json.loads((copy / 'config.json').read_text())
  config['data']['path'] = str(copy / 'gone.npz')
  write(copy / 'config.json', config)


def check_figures(page, folder):
  """Checks that each figure of a page is that of the run's files."""
  results = json.loads((pathlib.Path(folder) / 'results.json').read_text())
  metrics = [json.loads(line) for line in
             (pathlib.Path(folder) / 'metrics.jsonl').read_text().splitlines()]
  checked = 0
  for key, value in page.figures:
    file, _, name = (key or '').partition(' ')
    if file.endswith('results.json'):  # of the run, or of one of its evaluations
      kind, _, figure = name.partition('.')
      of = pathlib.Path(folder) / ('evaluations' if '/' in file else '') / file
      assert json.loads(of.read_text())[kind][figure] == value
    elif file == 'metrics.jsonl':
      assert value in [line.get(name) for line in metrics]
    checked += bool(file)
  assert checked >= 10
  for name in {name for line in metrics for name in line} - {
      'step', 'epoch', 'seconds_left', 'skipped_steps'}:
    assert page.lines[name] == [
        [line['step'], line[name]] for line in metrics if name in line]
  return results


def test_a_run_writes_its_page(run):
  page = read(run)
  results = check_figures(page, run)
  assert {'figures', 'curves', 'views', 'nearest-images', 'map', 'classes', 'settings',
          'sessions'} == set(page.chapters())
  assert page.runs_nothing() and len(page.text) < 3e6
  assert page.says('BYOL, resnet8: finished, 20 steps.')
  low, high = scores.interval(results['byol']['knn_top1'], 90)
  assert page.says(f'{low:.2f} to {high:.2f}')
  by_class = results['by_class']
  assert 100 * sum(right for *_, right in by_class['classes']) / by_class['of'] == (
      results['byol']['knn_top1'])
  # 4 queries of 4 classes and 4 more, each with 6 others; 12 images with 2 views
  shown = [of for of in page.named('img') if of['src'].startswith('data:image/jpeg')]
  assert len(shown) == 8 * 7 + 12 * 3
  assert len([of for of in page.named('b') if '--at' in of.get('style', '')]) == 64
  session = json.loads(pathlib.Path(run, 'sessions.jsonl').read_text())
  assert session['from_step'] == 0 and page.says(session['command'])


def test_the_task_writes_the_same_figures(run, tmp_path, capsys):
  out = tmp_path / 'out'
  assert call('report', f'--config.weights={run}', f'--workdir={out}',
              '--config.evaluation.batch_size=16') == 0
  assert f'report: {out}/report.html' in capsys.readouterr().out
  page = read(out)
  check_figures(page, run)
  assert page.says('The encoder as it is now, 160 training images.')
  assert page.lines == read(run).lines


def test_an_older_run_has_its_classes_counted(copy, caplog):
  results = json.loads((copy / 'results.json').read_text())
  del results['by_class']
  write(copy / 'results.json', results)
  (copy / 'sessions.jsonl').unlink()
  assert call('report', f'--config.weights={copy}',
              '--config.evaluation.batch_size=16') == 0
  page = read(copy)
  assert page.says('k-NN, each of 160 training images against the others')
  assert page.says('did not note its command')


def test_an_evaluation_has_a_page(copy):
  assert call('knn', f'--config.weights={copy}', *FEW) == 0
  [folder] = (copy / 'evaluations').glob('knn-*')
  assert call('report', f'--config.weights={folder}', *FEW[:1]) == 0
  page = read(folder)
  assert page.says('an evaluation') and page.says('knn_top1, 90 images')
  results = json.loads((folder / 'results.json').read_text())
  assert ('results.json byol.knn_top1', results['byol']['knn_top1']) in [
      (key.rpartition('/')[2], value) for key, value in page.figures if key]


def test_markup_is_shown_and_not_understood(copy):
  said = html_page.MARKUP
  without_weights(copy)
  config = json.loads((copy / 'config.json').read_text())
  config['data']['tfds_name'] = config['init_from'] = said
  write(copy / 'config.json', config)
  results = json.loads((copy / 'results.json').read_text())
  results['left_out'] = {said: {said: said}}
  results['by_class'] = {'figure': said, 'of': 3, 'classes': [[said, 3, 1]],
                         'confused': [[said, said, 2]]}
  results['run'][said] = results['protocol'][said] = said
  write(copy / 'results.json', results)
  with open(copy / 'metrics.jsonl', 'a', encoding='utf-8') as file:
    file.write(json.dumps({'step': 21, said: 1.5}) + '\n')
  (copy / 'sessions.jsonl').write_text(json.dumps({'command': said}) + '\n')
  assert call('report', f'--config.weights={copy}') == 0
  page = read(copy)
  assert page.runs_nothing()
  assert ''.join(page.texts).count(said) >= 12 and said in page.lines


def test_what_is_damaged_is_counted_and_named(copy):
  without_weights(copy)
  with open(copy / 'metrics.jsonl', 'ab') as file:
    file.write(b'{"step": 21, "lo\n\xff\n{"step": 22, "loss": null}\n')
  config = json.loads((copy / 'config.json').read_text())
  write(copy / 'config.json', config | {'key_of_later': {'a': 1}})
  (copy / 'results.json').write_text('{"run": {"steps"')
  for name, text in (('knn-20', '{"'), ('knn-20-2', '{"task": "knn"}')):
    (copy / 'evaluations' / name).mkdir(parents=True)
    (copy / 'evaluations' / name / 'results.json').write_text(text)
  assert call('report', f'--config.weights={copy}') == 0
  page = read(copy)
  assert page.says('left out 2 of ') and page.says('lines as damaged')
  assert page.says('results.json is damaged') and page.says('there are no checkpoints')
  for name in ('knn-20', 'knn-20-2'):  # no JSON, and JSON of another form
    assert page.says(f'{copy}/evaluations/{name}/results.json is damaged: left out')
  assert page.says('a gap stands for 1 value') and page.says('gone.npz')
  assert page.says('key_of_later.a')
  assert page.says('not finished: step 22 of 20') and page.lines['loss'][-1] == [22, None]


def test_a_run_without_metrics(copy):
  without_weights(copy)
  (copy / 'metrics.jsonl').unlink()
  (copy / 'results.json').unlink()
  assert call('report', f'--config.weights={copy}') == 0
  page = read(copy)
  assert page.says('nothing is logged yet') and page.says('there is no metrics.jsonl')
  assert 'curves' not in page.chapters() and 'settings' in page.chapters()


def test_results_of_other_shapes_are_left_out(copy):
  without_weights(copy)
  write(copy / 'results.json', {
      'run': 3, 'protocol': [], 'left_out': {'train': 5}, 'by_class': {'classes': 7},
      'byol': {'knn_top1': 'high'}})
  assert call('report', f'--config.weights={copy}') == 0
  assert {'classes', 'images-left-out'}.isdisjoint(read(copy).chapters())
  assert read(copy).says(f'{copy}/results.json is damaged: left out')


def test_a_collapsed_run_says_so(copy):
  without_weights(copy)
  lines = [json.loads(line) for line in (copy / 'metrics.jsonl').read_text().splitlines()]
  lines[-1]['projection_std'] = 0.01
  (copy / 'metrics.jsonl').write_text(''.join(json.dumps(x) + '\n' for x in lines))
  assert call('report', f'--config.weights={copy}') == 0
  page = read(copy)
  [warning] = [of for of in page.named('p') if of.get('class') == 'warning']
  assert warning['role'] == 'alert' and page.says('the run has collapsed')
  assert page.says('below: collapsed')


@pytest.mark.parametrize('weights, told', [
    ('{copy}/nothing', 'there is no such folder'),
    ('{copy}/evaluated', 'it is no workdir'),
    ('{copy}/encoder.safetensors', 'a page is of a run'),
    ('{copy}/config.json', 'there is no such folder')])
def test_no_run_is_one_line(copy, capsys, weights, told):
  (copy / 'evaluated').mkdir()
  assert call('report', f'--config.weights={weights.format(copy=copy)}') == 2
  said = capsys.readouterr().err
  assert told in said and len(said.splitlines()) == 1


def test_no_write_access(copy, capsys):
  without_weights(copy)
  assert call('report', f'--config.weights={copy}',
              f'--workdir={copy}/config.json/x') == 2
  assert 'set --workdir' in capsys.readouterr().err


@pytest.mark.parametrize('error', [
    OSError(28, 'No space left on device'), OverflowError('a defect')])
def test_a_page_that_cannot_be_written_is_a_warning(copy, monkeypatch, caplog, error):
  def refuse(*_):
    raise error
  class Opened:
    workdir, program = 'w', None
    class config:
      seed = 0
      data = evaluation = type('', (), {
          'train_split': 'train', 'threads': 1, 'examples': 4})
    train = tiny_images()
  page = report.Page(Opened, str(copy), lambda networks, data, rows: None)
  monkeypatch.setattr(report, '_pictures', refuse)
  page.write(None)
  page.write(None)
  assert caplog.text.count('cannot write report.html in w') == 1


def tiny_images():
  from byol_jax.data.sources.table import Images
  return Images(np.zeros((4, 8, 8, 3), np.uint8), None, None, 'four')


def test_images_without_labels(run, copy, tmp_path):
  np.savez(tmp_path / 'x.npz', x_train=np.load(f'{run}/../tiny.npz')['x_train'])
  write(copy / 'results.json', {'run': {'steps': 20}})
  assert call('report', f'--config.weights={copy}', '--config.evaluation.batch_size=16',
              f'--config.data.path={tmp_path / "x.npz"}') == 0
  page = read(copy)
  assert {'map', 'nearest-images', 'views'} <= set(page.chapters())
  assert 'classes' not in page.chapters()
  assert not [of for of in page.named('figure') if of.get('class') in ('right', 'wrong')]
