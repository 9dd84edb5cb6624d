"""Threads for work that is finished in the order in which it was begun."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
import contextlib
import logging
import math
import os
import threading
import time
from typing import Any, TypeVar

from byol_jax.data.images import memory

_console = logging.getLogger('byol_jax')

T = TypeVar('T')
FOR_STORAGE = 16  # threads that wait for a disk or a network more than they work
_AHEAD = 4  # items a thread: enough if one takes four times as long
_CHUNK = 4  # parts of a job in a task: fewer is overhead, more leaves threads idle
_REPORT_SECONDS = 30.0


def in_order(
    jobs: Iterable[tuple[int, Callable[[int], None], Callable[[], Any]]],
    threads: int, ahead: int, stop: threading.Event | None = None,
) -> Iterator[Any]:
  """Works on `ahead` jobs at a time and yields their results in order.

  Args:
    jobs: (n, make, finish): make(0) .. make(n - 1) in any thread and order,
      then finish(). Taken one by one, which bounds the memory.
    threads: the number of threads; 0 for one a core.
    ahead: the number of jobs to have begun beside the one that is yielded.
    stop: once it is set, no part is made and no result yielded any more.

  Yields:
    The result of each finish().
  """
  stop = stop or threading.Event()
  memory.give_back()

  def run(make: Callable[[int], None], first: int, last: int) -> None:
    for k in range(first, last):
      if stop.is_set():
        return
      make(k)

  def generate() -> Iterator[Any]:
    pool = futures.ThreadPoolExecutor(threads or cores(), 'decode')
    begun: deque[tuple[list[futures.Future], Callable[[], Any]]] = deque()
    todo = iter(jobs)

    def begin() -> None:
      for n, make, finish in todo:
        begun.append(([pool.submit(run, make, k, min(k + _CHUNK, n))
                       for k in range(0, n, _CHUNK)], finish))
        return

    try:
      for _ in range(max(ahead, 1)):
        begin()
      while begun:
        parts, finish = begun.popleft()
        for part in parts:
          part.result()
        if stop.is_set():
          return
        begin()
        yield finish()
    finally:
      pool.shutdown(wait=True, cancel_futures=True)

  return generate()


def each(function: Callable[[Any], T], items: Iterable[Any],
         threads: int = FOR_STORAGE) -> Iterator[T]:
  """Yields function(item) in the items' order; items are taken one by one."""
  def job(item: Any) -> tuple[int, Callable[[int], None], Callable[[], T]]:
    result = []
    return 1, lambda _: result.append(function(item)), result.pop
  return in_order(map(job, items), threads, _AHEAD * threads)


def told(results: Iterable[T], total: int, text: str) -> Iterator[T]:
  """Yields the results, and logs the progress now and then: text % (done, total)."""
  reported = time.monotonic()
  for done, result in enumerate(results, 1):
    yield result
    if time.monotonic() > reported + _REPORT_SECONDS:
      reported = time.monotonic()
      _console.info(text, done, total)


def cores() -> int:
  """Returns the number of processor cores that this process may use, at least 1.

  A container may have all cores of its machine but only a share of their time, its
  quota. More threads than that would only wait for one another.
  """
  cores = os.cpu_count() or 1
  if hasattr(os, 'sched_getaffinity'):  # Linux
    cores = len(os.sched_getaffinity(0))
  quota = _quota('/proc/self/cgroup', '/sys/fs/cgroup')
  return max(math.ceil(min(cores, quota)), 1)


def _quota(membership: str, root: str) -> float:
  """Returns how many cores' time the control groups of this process allow.

  Args:
    membership: the file that names the groups: 'ID:CONTROLLERS:/PATH' a line.
    root: where they are mounted; within a container its own group is the top.

  Returns:
    The smallest quota of the group and those above it; infinity without any.
  """
  quota = math.inf
  for line in _read(membership).splitlines():
    _, controllers, path = (line.split(':', 2) + ['', ''])[:3]
    if controllers and 'cpu' not in controllers.split(','):
      continue
    parts = path.strip('/').split('/')
    for depth in range(len(parts) + 1):
      if controllers:  # version 1
        folder = os.path.join(root, 'cpu', *parts[:depth])
        limits = [_read(os.path.join(folder, f'cpu.cfs_{name}_us'))
                for name in ('quota', 'period')]
      else:  # version 2: 'max 100000', or '150000 100000'
        limits = _read(os.path.join(root, *parts[:depth], 'cpu.max')).split()
      with contextlib.suppress(ValueError, ZeroDivisionError):
        time_us, period_us = map(int, limits)
        quota = min(quota, time_us / period_us if time_us > 0 else math.inf)
  return quota


def _read(path: str) -> str:
  """Returns a file's text; '' where it cannot be read."""
  try:
    with open(path, encoding='utf-8') as file:
      return file.read()
  except OSError:
    return ''
