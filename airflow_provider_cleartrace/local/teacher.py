"""Asks a black-box model behind a URL for its predictions, batch by batch."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from airflow_provider_cleartrace.local.destinations import Destinations
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.table import Table, json_values
from airflow_provider_cleartrace.local.outbound import CheckedTransport

BATCH_ROWS = 500
"""Rows in one request: few enough for a small model server, enough that the round trip does not matter."""

MAX_ANSWER_BYTES = 16 * 1024 * 1024
"""An answer to 500 rows is far below; a teacher must not fill this server's memory."""

_TIMEOUT = httpx.Timeout(60.0, connect=10.0)
_ATTEMPTS = 4
_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Answers that may be different a moment later; asking again changes nothing on the other side."""


@dataclass(frozen=True, slots=True)
class Teacher:
    """Where to ask. Neither the URL's query nor the headers ever reach a message."""

    url: str
    headers: Mapping[str, str]
    destinations: Destinations

    def predict(self, table: Table, progress: Callable[[float], None]) -> NDArray[np.float64]:
        """Fetch one prediction a row: (n,) values, or (n, k) class probabilities.

        Each batch is a POST of ``{"samples": [[...]], "feature_names": [...]}``, answered by
        ``{"predictions": [...]}`` or by the bare list. Redirects are not followed: the headers are meant for
        this URL, and only its host was checked. Proxies and certificates come from the environment.

        Raises:
            InputError: the URL may not or cannot be reached, or answers something else.
        """
        answers: list[NDArray[np.float64]] = []
        transport = CheckedTransport(self.destinations)
        with httpx.Client(timeout=_TIMEOUT, headers=dict(self.headers), transport=transport) as client:
            for start, batch in _batches(table):
                answers.append(_read_predictions(self._ask(client, batch), len(batch["samples"]), start))
                progress(min(1.0, (start + BATCH_ROWS) / len(table)))
        if len({answer.shape[1:] for answer in answers}) > 1:
            raise InputError("predict_url answered batches with different numbers of classes")
        return np.concatenate(answers)

    def _ask(self, client: httpx.Client, batch: Mapping[str, Any]) -> bytes:
        for attempt in range(1, _ATTEMPTS + 1):
            pause = min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2**attempt)
            try:
                with client.stream("POST", self.url, json=batch) as answer:
                    if answer.is_success:
                        return _bounded(answer)
                    failure = f"answered HTTP {answer.status_code}"
                    if answer.status_code not in _PASSING:
                        break
                    pause = _retry_after(answer.headers.get("Retry-After"), pause)
            except (httpx.TransportError, httpx.InvalidURL) as error:
                failure = f"could not be reached ({type(error).__name__})"
            if attempt < _ATTEMPTS:
                time.sleep(pause)
        raise InputError(f"predict_url {failure}; no model was trained") from None


def _batches(table: Table) -> Iterator[tuple[int, dict[str, Any]]]:
    names = list(table.names)
    for start in range(0, len(table), BATCH_ROWS):
        part = table.take(np.arange(start, min(start + BATCH_ROWS, len(table))))
        columns = (json_values(part[name]) for name in names)
        yield start, {"samples": [list(row) for row in zip(*columns, strict=True)], "feature_names": names}


def _bounded(answer: httpx.Response) -> bytes:
    content = bytearray()
    for chunk in answer.iter_bytes():
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise InputError(f"predict_url answered a batch with more than {MAX_ANSWER_BYTES} bytes")
    return bytes(content)


def _retry_after(header: str | None, otherwise: float) -> float:
    try:
        seconds = float(header or "")
    except ValueError:
        return otherwise
    return min(_LONGEST_PAUSE_SECONDS, max(0.0, seconds)) if math.isfinite(seconds) else otherwise


def _read_predictions(content: bytes, rows: int, start: int) -> NDArray[np.float64]:
    where = f"predict_url, rows {start} to {start + rows - 1}"
    try:
        answer = json.loads(content)
    except ValueError:
        raise InputError(f"{where}: the answer is no JSON") from None
    if isinstance(answer, dict):
        answer = answer.get("predictions")
    if not isinstance(answer, list):
        raise InputError(f'{where}: the answer must be {{"predictions": [...]}} or a list')
    if len(answer) != rows:
        raise InputError(f"{where}: {len(answer)} predictions were answered for {rows} rows")
    try:
        predictions = np.array(answer, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{where}: predictions must be numbers, or lists of one length") from None
    if predictions.ndim == 2 and predictions.shape[1] == 1:
        predictions = predictions[:, 0]
    if predictions.ndim not in (1, 2):
        raise InputError(f"{where}: predictions must be numbers or lists of numbers, not deeper")
    if not np.isfinite(predictions).all():
        raise InputError(f"{where}: a prediction is missing or infinite")
    return predictions
