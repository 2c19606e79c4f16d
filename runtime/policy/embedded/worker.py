"""The thread that owns the model: nothing else touches it.

Requests come in through a queue. Each round takes in what has arrived, reads the prompts of one group of newcomers, and
takes one decoding step with all that run; so a newcomer waits for a step, not for an answer. There is one decoder
per adapter in use. Loading, unloading and scoring run between rounds.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from typing import Any

import torch

from runtime.errors import PolicyError, PolicyUnavailable
from runtime.policy.base import PolicyLoad
from runtime.policy.embedded.decoder import Decoder
from runtime.policy.embedded.residency import ResidentAdapters, unknown_adapter
from runtime.policy.embedded.rows import Row

MAX_ROWS = 48
"""Requests that decode at the same time; others wait."""
MAX_PREFILL_TOKENS = 8192
"""Prompt tokens, padding included, that one round reads, so that running requests are not held up for long."""


@dataclass(eq=False, slots=True)
class Task:
    """Something to do with the model between two rounds."""

    run: Callable[[], Any]
    future: "Future[Any]" = field(default_factory=Future)


class Worker:
    """Runs rows and tasks, one thread, until it is stopped."""

    def __init__(
        self,
        adapters: ResidentAdapters,
        *,
        threads: int | None,
        max_rows: int = MAX_ROWS,
        max_prefill_tokens: int = MAX_PREFILL_TOKENS,
    ) -> None:
        self._adapters = adapters
        self._threads = threads
        self._max_rows = max_rows
        self._max_prefill_tokens = max_prefill_tokens
        self._inbox: queue.SimpleQueue[Row | Task | None] = queue.SimpleQueue()
        self._waiting: deque[Row] = deque()
        self._decoders: dict[str | None, Decoder] = {}
        self._running = 0
        self._leaving: dict[str, list[Future[Any]]] = {}
        self._closed = False
        self._gate = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="hone-policy", daemon=True)
        self._thread.start()

    def submit(self, item: Row | Task) -> "Future[Any]":
        """Raises: PolicyUnavailable: the worker was stopped."""
        with self._gate:
            if self._closed:
                raise _closed()
            self._inbox.put(item)
        return item.future

    def unload(self, name: str) -> "Future[Any]":
        """Takes an adapter away from new requests at once, and out of memory when the running ones are done."""
        done: Future[Any] = Future()
        self.submit(Task(lambda: self._leaving.setdefault(name, []).append(done)))
        return done

    @property
    def names(self) -> frozenset[str]:
        """Adapters that new requests may name. Read between rounds."""
        return self._adapters.names - self._leaving.keys()

    def workload(self) -> PolicyLoad:
        """As it was after the last round; may be asked from any thread."""
        return PolicyLoad(waiting=self._inbox.qsize() + len(self._waiting), running=self._running)

    def stop(self) -> None:
        """Fails what is unfinished, and waits for the thread. Stopping again changes nothing."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        if self._threads is not None:
            torch.set_num_threads(self._threads)  # of this thread: OpenMP keeps the number per thread
        try:
            with torch.inference_mode():
                while self._take_in():
                    self._admit()
                    self._running = self._count_running()
                    for adapter in self._in_use():
                        self._step(adapter)
                    self._running = self._count_running()
                    self._let_go()
        finally:
            self._fail_all()

    def _take_in(self) -> bool:
        """Takes what has arrived, waiting when there is nothing else to do; False: stop."""
        idle = not self._waiting and not self._count_running()
        while True:
            try:
                item = self._inbox.get(block=idle)
            except queue.Empty:
                return True
            idle = False
            if item is None:
                return False
            if isinstance(item, Task):
                _settle(item.future, item.run)
                self._let_go()
                if self._waiting or self._count_running():
                    return True  # tasks without pause must not hold up the running requests
            elif item.adapter is not None and item.adapter not in self.names:
                _fail(item.future, unknown_adapter(item.adapter, self.names))
            else:
                self._waiting.append(item)

    def _admit(self) -> None:
        """Starts a group of waiting rows, all of the adapter of the one that waited longest."""
        room = self._max_rows - self._count_running()
        group: list[Row] = []
        rest: deque[Row] = deque()
        longest = 0
        for row in self._waiting:
            if row.future.cancelled():
                continue
            padded = max(longest, len(row.prompt_ids)) * (len(group) + 1)
            fits = len(group) < room and (not group or padded <= self._max_prefill_tokens)
            if fits and (not group or row.adapter == group[0].adapter):
                group.append(row)
                longest = max(longest, len(row.prompt_ids))
            else:
                rest.append(row)
        self._waiting = rest
        if group:
            self._read(group)

    def _in_use(self) -> set[str | None]:
        return {adapter for adapter, decoder in self._decoders.items() if decoder.rows}

    def _count_running(self) -> int:
        return sum(len(decoder.rows) for decoder in self._decoders.values())

    def _read(self, rows: Sequence[Row]) -> None:
        """The prompts of some newcomers of one adapter."""
        adapter = rows[0].adapter
        try:
            if adapter not in self._decoders:
                self._decoders[adapter] = self._adapters.decoder(adapter)
            ended = self._decoders[adapter].admit(rows)
        # Torch reports lack of memory, bad kernels and the like as errors of many kinds; they end these requests, not the worker.
        except Exception as e:
            _fail_rows(rows, e)
        else:
            _answer(ended)

    def _step(self, adapter: str | None) -> None:
        """One token more for each running row of an adapter."""
        decoder = self._decoders[adapter]
        rows = list(decoder.rows)
        try:
            ended = decoder.step()
        except Exception as e:  # as in `_read`
            del self._decoders[adapter]
            _fail_rows(rows, e)
        else:
            _answer(ended)

    def _let_go(self) -> None:
        """Unloads the adapters that are leaving and that no request uses any more."""
        used = self._in_use() | {row.adapter for row in self._waiting}
        for name in [name for name in self._leaving if name not in used]:
            self._decoders.pop(name, None)
            self._adapters.unload(name)
            for future in self._leaving.pop(name):
                _give(future, None)

    def _fail_all(self) -> None:
        rows = [row for decoder in self._decoders.values() for row in decoder.rows]
        with self._gate:
            self._closed = True
        for row in [*rows, *self._waiting]:
            _fail(row.future, _closed())
        while not self._inbox.empty():
            item = self._inbox.get()
            if item is not None:
                _fail(item.future, _closed())
        for future in [future for futures in self._leaving.values() for future in futures]:
            _fail(future, _closed())


def _settle(future: "Future[Any]", run: Callable[[], Any]) -> None:
    try:
        result = run()
    except PolicyError as e:
        _fail(future, e)
    # A task calls into torch and PEFT, whose errors are of many kinds; whoever waits must hear of each.
    except Exception as e:
        _fail(future, _broken(e))
    else:
        _give(future, result)


def _give(future: "Future[Any]", result: Any) -> None:
    try:
        future.set_result(result)
    except InvalidStateError:
        return  # cancelled: nobody waits for it


def _answer(rows: Sequence[Row]) -> None:
    for row in rows:
        _give(row.future, row.sampled())


def _fail_rows(rows: Sequence[Row], error: Exception) -> None:
    for row in rows:
        if not row.future.done():
            _fail(row.future, error if isinstance(error, PolicyError) else _broken(error))


def _fail(future: "Future[Any]", error: Exception) -> None:
    try:
        future.set_exception(error)
    except InvalidStateError:
        return  # cancelled: nobody waits for it


def _broken(error: Exception) -> PolicyUnavailable:
    fault = PolicyUnavailable(f"the model failed ({type(error).__name__}: {error}): try again, or with less at a time")
    fault.__cause__ = error
    return fault


def _closed() -> PolicyUnavailable:
    return PolicyUnavailable("the policy was closed: start the server again")
