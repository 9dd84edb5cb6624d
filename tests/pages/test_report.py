"""The page of a run, from files of any kind."""

import html_page

from byol_jax.pages import pictures
from byol_jax.pages import report
from byol_jax.run.journal import Journal
from byol_jax.run.journal import Problem


def page(**fields):
  journal = Journal('runs/a', {}, {}, [], [], [])._replace(**fields)
  return html_page.Page(report.page(journal, report.Facts(), [], pictures.Pictures(),
                                    'now'))


def test_nothing_is_known():
  found = page(problems=[Problem('config.json', 'there is no config.json')])
  assert found.says('pretrain: nothing is logged yet.')
  assert found.says('there is no config.json') and found.runs_nothing()


def test_thousands_of_classes():
  classes = [[f'class {i}', 10, i % 11] for i in range(5000)]
  pairs = [['a', 'b', 3]] * 20
  found = page(results={'by_class': {
      'figure': 'knn_top1', 'of': 50_000, 'classes': classes, 'confused': pairs}})
  assert len(found.named('tr')) == 101 + 21
  assert found.says('4,900 better ones are left out') and len(found.text) < 3e5
  assert found.says('class 0') and not found.says('class 10\n')  # the worst come first


def test_many_bad_images():
  found = page(results={'left_out': {'train': {f'{i}.jpg': 'torn' for i in range(999)}}})
  assert found.says('999 images cannot be used') and found.says('and 799 more')
  assert page(results={'protocol': {'left_out': {'test': {'a.jpg': 'x'}}}}).says('a.jpg')


def test_a_long_run_has_a_small_page():
  metrics = [{'step': i, 'loss': 1 / (i + 1), 'knn_top1': 50.0, 'own_metric': None}
             for i in range(20_000)]
  found = page(metrics=metrics)
  assert len(found.text) < 3e5
  assert all(len(line) == 300 for line in found.lines.values())
  assert set(found.lines) == {'loss', 'knn_top1', 'own_metric'}
