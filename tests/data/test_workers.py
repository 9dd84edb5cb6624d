"""Work for several threads: in order, bounded, and errors where they belong."""

import itertools
import threading
import time

import pytest

from byol_jax.data import workers


@pytest.mark.parametrize('threads', [1, 2, 7])
def test_results_come_in_order(threads):
  def slow_at_first(i):
    time.sleep(0.01 * (i == 0))
    return i * i
  assert list(workers.each(slow_at_first, range(30), threads)) == [
      i * i for i in range(30)]


def test_what_waits_for_its_turn_is_bounded():
  begun = []
  results = workers.each(
      lambda i: begun.append(i) or i, itertools.count(), threads=2)
  assert list(itertools.islice(results, 5)) == list(range(5))
  results.close()
  assert len(begun) <= 5 + 2 * workers._AHEAD


def test_an_error_ends_the_work_at_its_turn():
  begun = []
  def fail(i):
    begun.append(i)
    if i == 5:
      raise ValueError('five')
    return i
  results = workers.each(fail, range(1000), threads=2)
  assert list(itertools.islice(results, 5)) == list(range(5))
  with pytest.raises(ValueError, match='five'):
    next(results)
  assert len(begun) < 6 + 2 * 8 and list(results) == []


def test_each_part_of_a_job_is_made_once_before_it_is_finished():
  made = [[0] * n for n in (10, 0, 1, 33)]
  def job(parts):
    def make(k):
      parts[k] += 1
    return len(parts), make, lambda: list(parts)
  finished = list(workers.in_order(map(job, made), threads=3, ahead=2))
  assert finished == [[1] * n for n in (10, 0, 1, 33)]


def test_stop_ends_the_work():
  stop, begun = threading.Event(), []
  def make(k):
    begun.append(k)
    stop.set()
  jobs = ((1000, make, lambda: 'finished') for _ in itertools.count())
  assert list(workers.in_order(jobs, threads=2, ahead=3, stop=stop)) == []
  assert len(begun) <= 2  # one a thread


def test_how_far_it_is_is_told_now_and_then(monkeypatch, caplog):
  caplog.set_level('INFO', 'byol_jax')
  seconds = itertools.count(step=20)
  monkeypatch.setattr(workers.time, 'monotonic', lambda: next(seconds))
  assert list(workers.told('abcde', 5, 'reading: %d of %d')) == list('abcde')
  assert [r.getMessage() for r in caplog.records] == [
      'reading: 2 of 5', 'reading: 4 of 5']


@pytest.mark.parametrize('groups, files, quota', [
    ('0::/\n', {'cpu.max': '150000 100000'}, 1.5), ('0::/\n', {'cpu.max': 'max 100000'}, None),
    ('0::/a/b\n', {'a/cpu.max': '50000 100000', 'a/b/cpu.max': 'max 100000'}, 0.5),
    ('4:cpu,cpuacct:/\n', {'cpu/cpu.cfs_quota_us': '200000',
                            'cpu/cpu.cfs_period_us': '100000'}, 2),
    ('4:cpu,cpuacct:/\n', {'cpu/cpu.cfs_quota_us': '-1',
                            'cpu/cpu.cfs_period_us': '100000'}, None),
    ('4:memory:/\n', {}, None), ('', {}, None)])
def test_a_quota_of_the_processor(tmp_path, groups, files, quota):
  (tmp_path / 'cgroup').write_text(groups)
  for name, text in files.items():
    (tmp_path / 'fs' / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / 'fs' / name).write_text(text)
  found = workers._quota(str(tmp_path / 'cgroup'), str(tmp_path / 'fs'))
  assert found == (quota or float('inf'))


def test_cores_are_bounded_by_the_quota(monkeypatch):
  monkeypatch.setattr(workers, '_quota', lambda *_: 0.3)
  assert workers.cores() == 1
