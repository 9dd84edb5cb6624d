"""Moves batches to the devices while a step runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
import queue
import threading
from typing import Any

from byol_jax.devices import mapped

_SLICE = 0.005  # seconds of waiting for input


def prefetch(batches: Iterable[Any], size: int = 2,
             meanwhile: Callable[[], bool | None] = lambda: None,
             stop: threading.Event | None = None) -> Iterator[Any]:
  """Shards batches in a thread, `size` ahead of the consumer.

  An exception of `batches` is raised where the consumer takes the batch. The
  thread ends when the consumer closes the iterator.

  Args:
    batches: trees of host arrays [local devices, ...].
    size: how many batches may wait on the devices.
    meanwhile: called every few milliseconds while the consumer waits; if it returns
      True the wait ends.
    stop: set when the consumer closes, for `batches` that look at it. Without it the
      thread ends only once it has the batch that it waits for.

  Yields:
    The batches, on the devices; None if `meanwhile` has ended a wait.
  """
  waiting: queue.Queue[Any] = queue.Queue(maxsize=size)
  stop = stop or threading.Event()
  done = object()

  def put(item) -> bool:
    while not stop.is_set():
      try:
        waiting.put(item, timeout=0.1)
        return True
      except queue.Full:
        pass
    return False

  def fill():
    try:
      for batch in batches:
        if not put((mapped.shard(batch), None)):
          return
      put((done, None))
    except Exception as error:  # handed to the consumer
      put((done, error))

  thread = threading.Thread(target=fill, name='prefetch', daemon=True)
  thread.start()
  try:
    while True:
      try:
        item, error = waiting.get(timeout=_SLICE)
      except queue.Empty:
        if meanwhile():
          yield None
        continue
      if error is not None:
        raise error
      if item is done:
        return
      yield item
  finally:
    stop.set()
    thread.join(timeout=10)  # must not be at work when the process ends
