"""What a server is started with: every limit is a named setting with a default and its reason."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KIB, MIB, GIB = 1024, 1024**2, 1024**3


def _setting(default: Any, text: str) -> Any:
    """A field that is also a command-line flag; ``text`` is what ``--help`` says."""
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """Who writes narratives: an OpenAI-compatible API that the operator named, and therefore trusts."""

    url: str
    name: str
    key: str | None = field(repr=False)
    timeout_seconds: int


@dataclass(frozen=True, slots=True)
class Settings:
    """How one server process runs. Sizes are in bytes, times in seconds."""

    data_dir: Path
    """Holds the database, uploads and models; one server at a time."""
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    """Accepted bearer keys; none: no key is asked for, and the server stays on loopback."""
    llm_key: str | None = field(default=None, repr=False)
    """What the language model's service asks for; no flag, which every user of the machine could see."""

    upload_bucket: str | None = _setting(
        None, "s3://bucket/prefix that uploads are presigned for, instead of here"
    )
    tls_cert: str | None = _setting(None, "PEM file of the certificate chain to serve HTTPS with")
    tls_key: str | None = _setting(
        None, "PEM file of its private key, unless the certificate's file holds it"
    )
    allow_predict_host: tuple[str, ...] = _setting(
        (), "HOST or HOST:PORT that a distillation may ask although its address is not public; repeatable"
    )
    llm_url: str | None = _setting(
        None, "base URL of an OpenAI-compatible API; its language model writes the narratives"
    )
    llm_model: str | None = _setting(None, "name of that language model")
    llm_timeout_seconds: int = _setting(60, "time the language model has for one answer")
    allow_pickle: bool = _setting(
        False, "train on uploaded pickle files; loading one runs its code, so only from people you trust"
    )
    access_log: bool = _setting(False, "log a line for every request")
    request_head_seconds: int = _setting(30, "time a client has to send the head of a request")
    request_body_seconds: int = _setting(
        300, "time a client has to send the body of a request; an upload has upload_url_seconds"
    )
    max_body_bytes: int = _setting(64 * MIB, "largest JSON body; more data goes through an upload")
    max_rows: int = _setting(1_000_000, "rows of one data set")
    max_scoring_rows: int = _setting(100_000, "rows of one predict, explain or scenario request")
    max_columns: int = _setting(2_000, "columns of one data set")
    max_upload_bytes: int = _setting(2 * GIB, "size of one uploaded file")
    upload_url_seconds: int = _setting(3_600, "how long a presigned upload URL is valid")
    queue_length: int = _setting(1_000, "jobs that may wait; beyond, a submit answers 429")
    queue_share_percent: int = _setting(50, "part of the queue that one of several keys may fill")
    workers: int = _setting(os.cpu_count() or 1, "jobs that run at the same time")
    job_seconds: int = _setting(3_600, "time one job may run")
    job_memory_bytes: int = _setting(4 * GIB, "memory one job may take")
    drain_seconds: int = field(
        default=10,
        metadata={"help": "time that running jobs have to finish once the server is told to end", "least": 0},
    )
    cached_models: int = _setting(16, "models kept in memory for requests")
    request_threads: int = _setting(max(2, os.cpu_count() or 1), "requests that compute at the same time")

    @property
    def language_model(self) -> LanguageModel | None:
        """Who writes narratives; None: the engine's templates."""
        if self.llm_url is None or self.llm_model is None:
            return None
        return LanguageModel(self.llm_url, self.llm_model, self.llm_key, self.llm_timeout_seconds)

    @property
    def queue_share(self) -> int:
        """How many jobs of one key may wait; a key that is alone may fill the queue."""
        if len(self.api_keys) < 2:
            return self.queue_length
        return max(1, self.queue_length * self.queue_share_percent // 100)
