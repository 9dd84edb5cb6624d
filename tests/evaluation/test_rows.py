"""Every results.json as rows: that of a pretraining, and those of evaluations."""

import json

from etils import epath
import pytest

from byol_jax.evaluation import rows

RUN = {
    'run': {'steps': 20},
    'raw_pixels': {'knn_top1': 40.0, 'linear_top1': 41.0},
    'byol': {'knn_top1': 50.0, 'linear_top1': 60.0},
    'protocol': {'images': '160 training images, 90 test images', 'byol_classifiers': {
        'knn': {'k': 20, 'test_images': 90}, 'linear': {'l2': 0.1, 'test_images': 90}}}}
TUNED = {
    'task': 'finetune', 'untrained': {}, 'byol': {
        'finetune_top1': 80.0, 'finetune_top1_std': 1.5,
        'finetune_mean_per_class': 79.0, 'finetune_seeds': [{}, {}]},
    'protocol': {'step': 20, 'network': 'target', 'classifiers': {'byol': [
        {'labels': 0.1, 'test_images': 90}, {'labels': 0.1, 'test_images': 90}]}}}


def write(folder, results):
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'results.json').write_text(json.dumps(results))


def test_both_shapes(tmp_path):
  write(tmp_path, RUN)
  (tmp_path / 'config.json').write_text(json.dumps({'seed': 3, 'train': {'epochs': 4}}))
  write(tmp_path / 'evaluations' / 'few-20-2', TUNED)
  (tmp_path / 'evaluations' / 'features').mkdir()
  found = rows.of_run(epath.Path(tmp_path))
  assert [(row.encoder, row.task, row.name, row.number, row.metric, row.value, row.std,
           row.n, row.network) for row in found] == [
               ('raw_pixels', 'knn', '', '', 'top1', 40.0, None, None, 'online'),
               ('raw_pixels', 'linear', '', '', 'top1', 41.0, None, None, 'online'),
               ('byol', 'knn', '', '', 'top1', 50.0, None, 90, 'online'),
               ('byol', 'linear', '', '', 'top1', 60.0, None, 90, 'online'),
               ('byol', 'finetune', 'few', '2', 'top1', 80.0, 1.5, 90, 'target'),
               ('byol', 'finetune', 'few', '2', 'mean_per_class', 79.0, None, 90,
                'target')]
  assert {(row.workdir, row.step, row.seed) for row in found} == {
      (str(tmp_path), '20', '3')}
  assert len({row.group for row in found}) == 1
  assert found[2].how['k'] == 20 and found[-1].how['labels'] == 0.1


@pytest.mark.parametrize('folder, step, name, number', [
    ('knn-20', 20, 'knn', ''), ('knn-20-20', 20, 'knn-20', ''),
    ('knn-1-12', 1, 'knn', '12'),
    ('linear_eval_crops-20-3', 20, 'linear_eval_crops', '3'),
    ('mine', 20, 'finetune_0.1', ''), ('knn-30', 20, 'finetune_0.1', '')])
def test_the_name_of_an_evaluation(tmp_path, folder, step, name, number):
  write(tmp_path / 'evaluations' / folder, TUNED | {
      'protocol': TUNED['protocol'] | {'step': step}})
  row = rows.of_run(epath.Path(tmp_path))[0]
  assert (row.name, row.number) == (name, number)


def test_an_evaluation_with_a_workdir_of_its_own(tmp_path):
  write(tmp_path / 'mine', TUNED)
  row = rows.of_run(epath.Path(tmp_path / 'mine'))[0]
  assert (row.name, row.workdir) == ('finetune_0.1', str(tmp_path / 'mine'))


def test_a_retrieval_has_no_accuracy(tmp_path, caplog):
  write(tmp_path, {'task': 'retrieve', 'byol': {'retrieve_map_at_r': 40.0},
                   'protocol': {'step': 20}})
  assert rows.of_run(epath.Path(tmp_path)) == [] and not caplog.text


def test_nothing_there(tmp_path):
  assert rows.of_run(epath.Path(tmp_path)) == []
