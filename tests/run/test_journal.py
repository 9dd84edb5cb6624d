"""The files of a workdir, whole, damaged, and missing."""

import json
import sys

import pytest

from byol_jax.run import journal


def test_a_whole_workdir(tmp_path):
  (tmp_path / 'config.json').write_text('{"train": {"epochs": 3}, "seed": 1}')
  (tmp_path / 'results.json').write_text('{"run": {"steps": 4}}')
  (tmp_path / 'metrics.jsonl').write_text(
      '{"step": 2, "loss": null}\n{"step": 1, "loss": 0.5}\n')
  journal.begin_session(str(tmp_path), 0)
  journal.begin_session(str(tmp_path), 2)
  found = journal.read(tmp_path, 'gs://place')
  assert found.workdir == 'gs://place' and not found.problems
  assert found.config == {'train.epochs': 3, 'seed': 1}
  assert [line['step'] for line in found.metrics] == [1, 2]
  assert found.last('loss') == (1, 0.5) and found.last('tau') is None
  assert [line['from_step'] for line in found.sessions] == [0, 2]


def test_damaged_and_missing_files_are_named(tmp_path):
  (tmp_path / 'config.json').write_text('[1, 2')
  (tmp_path / 'metrics.jsonl').write_bytes(
      b'{"step": 1, "loss": 1}\n\xff\xfe\n[3]\n{"loss": 2}\n{"step": 1, "loss": 3}\n'
      b'{"step": 2, "lo')
  found = journal.read(tmp_path)
  assert found.config == {} and [line['step'] for line in found.metrics] == [1]
  told = '; '.join(problem.text for problem in found.problems)
  assert 'config.json is damaged' in told and 'there is no results.json yet' in told
  assert 'metrics.jsonl: left out 3 of 6 lines as damaged' in told
  assert 'left out 2 lines without a step' in told


def test_values_that_are_not_finite_are_none(tmp_path):
  (tmp_path / 'metrics.jsonl').write_text('{"step": 1, "loss": NaN, "tau": 1e999, "x": 1'
                                          + '0' * 400 + '}\n')
  assert journal.read(tmp_path).metrics == [{'step': 1, 'loss': None, 'tau': None, 'x': None}]


@pytest.mark.parametrize('argv, command', [
    (['/x/byol_jax/main.py', '--config=a b'],
     "python -m byol_jax.main '--config=a b'"),
    (['ipykernel_launcher.py', '-f', 'x'], 'from Python')])
def test_the_command_is_noted(tmp_path, monkeypatch, argv, command):
  monkeypatch.setattr(sys, 'argv', argv)
  journal.begin_session(str(tmp_path), 5)
  assert json.loads((tmp_path / 'sessions.jsonl').read_text())['command'] == command


def test_a_full_disk_costs_the_line_alone(tmp_path, caplog):
  journal.begin_session(str(tmp_path / 'gone'), 5)
  assert 'cannot write sessions.jsonl' in caplog.text
