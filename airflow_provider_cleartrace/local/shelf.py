"""Trained models in memory, the most recently used ones, for the requests that are answered at once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from airflow_provider_cleartrace.local.artefacts import Artefact
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.segmentation import Segmentation, segment


class ModelShelf:
    """Loads a model once, however many requests ask for it at a time, and keeps a bounded number."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._models: OrderedDict[Path, Future[Model]] = OrderedDict()
        self._lock = threading.Lock()
        self._personas_lock = threading.Lock()

    def model(self, folder: Path) -> Model:
        """Give the model of a published artefact."""
        with self._lock:
            shelved = self._models.get(folder)
            mine: Future[Model] | None = None
            if shelved is None:
                shelved = mine = self._models[folder] = Future()
                while len(self._models) > self._capacity:
                    self._models.popitem(last=False)
            else:
                self._models.move_to_end(folder)
        if mine is not None:
            try:
                mine.set_result(Artefact(folder).model())
            except BaseException as error:
                with self._lock:
                    self._models.pop(folder, None)
                mine.set_exception(error)
        return shelved.result()

    def default_personas(self, folder: Path) -> Segmentation:
        """Give the segmentation of a model's own reference rows, for models that were never segmented.

        It takes seconds, once: it is stored beside the model.
        """
        artefact = Artefact(folder)
        with self._personas_lock:
            stored = artefact.segmentation()
            if stored is None:
                stored = segment(self.model(folder))
                with suppress(FileNotFoundError):  # a new model has replaced this one meanwhile
                    artefact.save_segmentation(stored)
        return stored
