"""One job in a process of its own: reads its folder, works within limits, leaves artefact and outcome."""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any

from airflow_provider_cleartrace.api.models import DistillBody, FitBody, NarrativeBody, SegmentBody
from airflow_provider_cleartrace.local import training
from airflow_provider_cleartrace.local.artefacts import Artefact
from airflow_provider_cleartrace.local.datasets import SizeLimits, TrainingData, rows_for_model
from airflow_provider_cleartrace.local.destinations import Destinations
from airflow_provider_cleartrace.local.engine.distillation import distill
from airflow_provider_cleartrace.local.engine.errors import InputError, ModelFileError
from airflow_provider_cleartrace.local.engine.facts import facts
from airflow_provider_cleartrace.local.engine.model import Model
from airflow_provider_cleartrace.local.engine.narrative import tell
from airflow_provider_cleartrace.local.engine.segmentation import segment
from airflow_provider_cleartrace.local.engine.training import fit
from airflow_provider_cleartrace.local.logs import place_of, write_to_stderr
from airflow_provider_cleartrace.local.progress import ProgressFile
from airflow_provider_cleartrace.local.refusals import Refusal
from airflow_provider_cleartrace.local.settings import LanguageModel

REQUEST = "request.json"
"""In a job's folder: the body of its submit."""

_OUTCOME = "outcome.json"
_ARTEFACT = "artefact"
_NICENESS = 5
"""Jobs give way to the server's answers, not to other users of the machine."""
_TEACHER_SHARE = 0.4
"""Of a distillation's progress; a guess, since only the teacher's speed decides."""
_WRITING_SHARE = 0.5
"""Of the job's time; when a language model is too slow, enough is left to tell the facts without it."""

_log = logging.getLogger(__name__)


def attempt_folder(job_folder: Path, attempt: int) -> Path:
    """Name the folder that one attempt writes to: an orphan of an earlier one has another."""
    return job_folder / f"attempt-{attempt}"


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """What a worker is started with: ``model`` is the artefact to analyse, ``segments`` one it may use."""

    kind: str
    job_folder: Path
    attempt: int
    limits: SizeLimits
    memory_bytes: int
    seconds: int
    model: Path | None = None
    segments: Path | None = None
    destinations: Destinations = field(default_factory=Destinations)
    language_model: LanguageModel | None = None

    @property
    def attempt_folder(self) -> Path:
        """Everything this attempt writes is in here."""
        return attempt_folder(self.job_folder, self.attempt)

    @property
    def artefact(self) -> Path:
        """The folder to publish."""
        return self.attempt_folder / _ARTEFACT

    @property
    def progress_file(self) -> ProgressFile:
        """Where the job says how far it is."""
        return ProgressFile(self.attempt_folder)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended by itself; ``error`` None: the artefact is complete."""

    error: str | None

    def write(self, folder: Path) -> None:
        """Leave the outcome in an attempt's folder, by rename."""
        draft = folder / f"{_OUTCOME}.draft"
        draft.write_text(json.dumps({"error": self.error}), encoding="utf-8")
        draft.replace(folder / _OUTCOME)

    @classmethod
    def read(cls, folder: Path) -> Outcome | None:
        """Read an attempt's outcome; None: the process died before it."""
        try:
            return cls(json.loads((folder / _OUTCOME).read_text(encoding="utf-8"))["error"])
        except FileNotFoundError:
            return None


def run(order: WorkOrder) -> None:
    """Do a job. The entry of the child process; it ends by itself when the server does."""
    _die_with_the_server()
    write_to_stderr()
    warnings.simplefilter("ignore")  # from libraries; their texts may hold data
    # Ctrl-C reaches the whole process group; it is the server that ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.nice(_NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold the data
    resource.setrlimit(resource.RLIMIT_DATA, (order.memory_bytes, order.memory_bytes))
    order.attempt_folder.mkdir()
    order.artefact.mkdir()
    Outcome(_attempt(order)).write(order.attempt_folder)


def _attempt(order: WorkOrder) -> str | None:
    try:
        body = json.loads((order.job_folder / REQUEST).read_text(encoding="utf-8"))
        WORK[order.kind](order, body)
    except (InputError, Refusal) as error:
        return str(error)
    except ModelFileError:
        return "the model cannot be read: it was trained anew meanwhile, or is damaged; submit the job again"
    except MemoryError:
        return f"the job needed more than {order.memory_bytes} bytes of memory (--job-memory-bytes)"
    except Exception as error:
        # The message of an unforeseen error may hold data, so that only its place is told.
        _log.error("job failed unexpectedly", extra={"job": order.kind, "where": place_of(error)})
        return f"internal error ({place_of(error)}); this is a defect of ClearTrace Local, please report it"
    return None


def _fit(order: WorkOrder, document: Mapping[str, Any]) -> None:
    body = FitBody.model_validate(document)
    data = training.read(body, order.job_folder, order.limits)
    model = fit(
        data.features,
        data.target,
        target_name=data.target_name,
        config=training.options(body),
        feature_schema=body.feature_schema,
        progress=order.progress_file.write,
    )
    Artefact(order.artefact).save_model(model, data)


def _distill(order: WorkOrder, document: Mapping[str, Any]) -> None:
    from airflow_provider_cleartrace.local.teacher import Teacher  # noqa: PLC0415  (httpx loads for a teacher alone)

    body = DistillBody.model_validate(document)
    data = training.read(body, order.job_folder, order.limits)
    report = order.progress_file.write
    teacher = Teacher(body.predict_url, body.predict_headers or {}, order.destinations)
    predictions = teacher.predict(
        data.features, lambda share: report(share * _TEACHER_SHARE, "asking the teacher")
    )
    model = distill(
        data.features,
        predictions,
        labels=data.target,
        config=training.options(body),
        feature_schema=body.feature_schema,
        progress=lambda share, message: report(_TEACHER_SHARE + share * (1 - _TEACHER_SHARE), message),
    )
    taught = TrainingData(data.features, model.schema.target, data.target)
    Artefact(order.artefact).save_model(model, taught)


def _segment(order: WorkOrder, document: Mapping[str, Any]) -> None:
    body = SegmentBody.model_validate(document)
    artefact, model = _analysed(order)
    if body.data is not None:
        rows = _analysis_rows(body.data, body.feature_names, model, order.limits)
        target: Any = body.target_values
    else:
        rows, target = artefact.training_rows()
        target = body.target_values if body.target_values is not None else target
    segmentation = segment(
        model,
        rows,
        target,
        min_clusters=body.min_clusters,
        max_clusters=body.max_clusters,
        n_search_steps=body.n_search_steps,
        kpi_field=body.kpi_field,
        problem_context=body.problem_context,
        progress=order.progress_file.write,
    )
    Artefact(order.artefact).save_segmentation(segmentation)


def _narrative(order: WorkOrder, document: Mapping[str, Any]) -> None:
    until = time.monotonic() + order.seconds * _WRITING_SHARE
    body = NarrativeBody.model_validate(document)
    _, model = _analysed(order)
    known = facts(
        model,
        _analysis_rows(body.data, body.feature_names, model, order.limits),
        kpi_name=body.kpi_name,
        context=body.context,
        segmentation=Artefact(order.segments).segmentation() if order.segments else None,
    )
    if order.language_model is None:
        text = tell(known)
    else:
        from airflow_provider_cleartrace.local import storyteller  # noqa: PLC0415  (loads httpx as well)

        order.progress_file.write(_WRITING_SHARE, "asking the language model")
        text = storyteller.narrate(
            known, order.language_model, max_tool_calls=body.max_tool_calls, deadline=until
        )
    Artefact(order.artefact).save_narrative(text)


WORK: Mapping[str, Callable[[WorkOrder, Mapping[str, Any]], None]] = {
    "fit": _fit,
    "fit_distill": _distill,
    "segment": _segment,
    "narrative": _narrative,
}


def _analysed(order: WorkOrder) -> tuple[Artefact, Model]:
    if order.model is None:
        raise InputError(f"a {order.kind} job needs a trained model")
    artefact = Artefact(order.model)
    return artefact, artefact.model()


def _analysis_rows(rows: Any, names: list[str] | None, model: Model, limits: SizeLimits) -> Any:
    return rows_for_model(rows, names, model.schema.feature_names, limits, extra_allowed=True)


def _die_with_the_server() -> None:
    server = parent_process()
    if server is None:
        return

    def watch() -> None:
        connection.wait([server.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="server-watch", daemon=True).start()
