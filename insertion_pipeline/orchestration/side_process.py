"""A second process for the checks that Python libraries make, beside a run's own work in DuckDB.

Belongs here: the process, questions asked ahead, answers when they are needed. Does not belong here: any check.

pandera and great-expectations take eight seconds to import and hold Python's lock while they validate. Asked as soon as
the rows are there, in a process of their own, they have answered before a run needs to know.
"""

from __future__ import annotations

import atexit
import functools
import importlib
import importlib.util
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from typing import Any, TypeVar

from insertion_pipeline.lake import Lake
from insertion_pipeline.orchestration.discretion import without_values
from insertion_pipeline.registry import Registry

T = TypeVar("T")

#: What is imported while nobody has asked yet. great-expectations waits until it is asked: pandera decides first.
_LIBRARIES = ("pandas", "pandera.pandas")
#: What both import where they find it, and none of these checks has a use for: its import would take seconds.
_LEFT_OUT = ("pyspark",)
#: What great-expectations imports for expectations that no suite here states: a third of its import, when first used.
_LATER = ("scipy.stats",)
#: Most of its answers are asked for at the end of a run, when the run itself has one thing left to do.
_POLITENESS = 4


class SideProcess:
    """One process, started when first asked, that answers one question after the other.

    A question is a function of a lake, its declarations, and `about`: hashable things that can be sent.
    """

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._told: set[Hashable] = set()
        self._ahead: dict[tuple[str, Callable[..., Any], tuple[Hashable, ...]], Future[Any]] = {}

    def start(self) -> ProcessPoolExecutor:
        """The process, importing its libraries."""
        if self._pool is None:
            spawning = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, mp_context=spawning, initializer=_stand_back)
            # a process that a code server starts for a run would wait for this one before the pool tells it to end
            Finalize(None, self._pool.shutdown, exitpriority=100)
            self._pool.submit(_lighten)
            for library in _LIBRARIES:
                self._pool.submit(importlib.import_module, library)
        return self._pool

    def ask_ahead(
        self, run_id: str, question: Callable[..., T], lake: Lake, registry: Registry, *about: Hashable
    ) -> None:
        """Ask what this run will want to know."""
        self._ahead[run_id, question, about] = self._ask(question, lake, registry, about)

    def answer(self, run_id: str, question: Callable[..., T], lake: Lake, registry: Registry, *about: Hashable) -> T:
        """`question(lake, registry, *about)`, asked ahead or now. Raises what it raised, without values."""
        asked = self._ahead.pop((run_id, question, about), None) or self._ask(question, lake, registry, about)
        try:
            answer: T = asked.result()
        except BrokenProcessPool:
            self.stop()
            raise
        return answer

    def forget(self, run_id: str) -> None:
        """Drop what was asked ahead in a run that has ended, and has perhaps failed before it needed to know."""
        for question in [question for question in self._ahead if question[0] == run_id]:
            self._ahead.pop(question).cancel()

    def stop(self) -> None:
        """End the process once it has answered, and forget what was asked ahead."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        self._told.clear()
        self._ahead.clear()

    def _ask(
        self, question: Callable[..., T], lake: Lake, registry: Registry, about: tuple[Hashable, ...]
    ) -> Future[T]:
        pool, place = self.start(), (str(lake.home), registry.digest, lake.newest_receipt)
        if place not in self._told:
            pool.submit(_be_told, place, lake, registry)
            self._told.add(place)
        return pool.submit(_answer, question, place, about)


@functools.cache
def side_process() -> SideProcess:
    """The side process of this one."""
    return SideProcess()


# -- in the side process -----------------------------------------------------------------------------------------------

_places: dict[Hashable, tuple[Lake, Registry]] = {}


def _stand_back() -> None:
    """Take what the run leaves of the cores; end at once when it asks for it.

    A parent that is killed says nothing: its end is watched for.
    """
    os.nice(_POLITENESS)
    atexit.register(os._exit, 0)  # there is nothing to put away; taking the libraries apart takes a second
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_watch, args=(parent.sentinel,), daemon=True).start()


def _lighten() -> None:
    """Keep from this process what its libraries would import for nothing."""
    for name in _LEFT_OUT:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    for name in _LATER:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None or name in sys.modules:
            continue
        spec.loader = importlib.util.LazyLoader(spec.loader)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        package, _, child = name.rpartition(".")
        setattr(sys.modules[package], child, module)


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _be_told(place: Hashable, lake: Lake, registry: Registry) -> None:
    _places[place] = lake, registry


def _answer(question: Callable[..., T], place: Hashable, about: tuple[Hashable, ...]) -> T:
    lake, registry = _places[place]
    with without_values():
        return question(lake, registry, *about)
