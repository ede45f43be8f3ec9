"""A task that tells how far the reasons behind predictions have moved, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.assets.files import file_uri
from airflow_provider_cleartrace.assets.model import model_uri
from airflow_provider_cleartrace.comparison.comparing import Model, compare
from airflow_provider_cleartrace.comparison.errors import ComparisonError
from airflow_provider_cleartrace.comparison.models import Comparison
from airflow_provider_cleartrace.comparison.outputs import BINS
from airflow_provider_cleartrace.comparison.thresholds import check_thresholds
from airflow_provider_cleartrace.hooks.aws import s3_client_factory
from airflow_provider_cleartrace.operators.arguments import one_of
from airflow_provider_cleartrace.operators.base import ClearTraceOperator
from airflow_provider_cleartrace.operators.manifest import LISTED
from airflow_provider_cleartrace.operators.provenance import check_apart
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.publishing import publish_bytes
from airflow_provider_cleartrace.storage.sources import split_range
from airflow_provider_cleartrace.storage.tables import Table

try:  # The compat SDK takes a deprecated path on Airflow 3.1.
    from airflow.providers.standard.operators.branch import BranchMixIn
except ImportError:  # Airflow 2
    from airflow.operators.branch import BranchMixIn  # type: ignore[no-redef, import-not-found]

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

OnDrift = Literal["fail", "warn", "branch"]

BIN_RANGE = (2, 100)
"""Fewer bins show nothing; more hold too few rows each, and half a megabyte of counters."""


class ClearTraceCompareOperator(ClearTraceOperator, BranchMixIn):
    """Compares two explained outputs, two models, or two tables of calibrated rules.

    Returns a manifest with the ``verdict`` (``stable``, ``drift``, or ``not judged`` without thresholds),
    which thresholds were ``crossed``, and every figure; ``output_uri`` takes the details.

    Args:
        reference: Path or URI of what a Predict or Explain task wrote, to compare with.
        current: The same of what is judged.
        reference_model_id: A trained model to compare with, by its global drivers.
        current_model_id: The model that is judged.
        reference_calibrated: ``rules.parquet`` of a CalibratedExplain task, to compare with.
        current_calibrated: The same of what is judged.
        thresholds: The figures that decide, such as ``{"psi": 0.2, "driver_rank_correlation": 0.8}``.
        on_drift: ``warn`` in the log, ``fail`` the task without a retry, or ``branch``.
        drift_task_ids: With ``branch``: the tasks or task groups to follow on drift; None for none.
        stable_task_ids: With ``branch``: those to follow otherwise.
        bins: Bins of the predictions: quantiles of the reference.
        output_uri: A ``.json`` file for everything that was found.
    """

    inherits_from_skipmixin = True
    """By this Airflow 3 knows that a task behind stays skipped when it is cleared."""

    template_fields: Sequence[str] = (
        "reference",
        "current",
        "reference_model_id",
        "current_model_id",
        "reference_calibrated",
        "current_calibrated",
        "output_uri",
    )

    def __init__(
        self,
        *,
        reference: str | None = None,
        current: str | None = None,
        reference_model_id: str | None = None,
        current_model_id: str | None = None,
        reference_calibrated: str | None = None,
        current_calibrated: str | None = None,
        thresholds: Mapping[str, float] | None = None,
        on_drift: OnDrift = "warn",
        drift_task_ids: str | Sequence[str] | None = None,
        stable_task_ids: str | Sequence[str] | None = None,
        bins: int = BINS,
        output_uri: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        one_of("on_drift", on_drift, ("fail", "warn", "branch"))
        check_thresholds(thresholds or {})
        if not isinstance(bins, int) or not BIN_RANGE[0] <= bins <= BIN_RANGE[1]:
            raise ValueError(f"bins must be {BIN_RANGE[0]} to {BIN_RANGE[1]}, not {bins!r}")
        if on_drift != "warn" and not thresholds:
            raise ValueError(f"on_drift={on_drift!r} needs thresholds, which say what drift is")
        if (on_drift == "branch") != bool(drift_task_ids or stable_task_ids):
            raise ValueError("on_drift='branch' and drift_task_ids or stable_task_ids need each other")
        self.reference = reference
        self.current = current
        self.reference_model_id = reference_model_id
        self.current_model_id = current_model_id
        self.reference_calibrated = reference_calibrated
        self.current_calibrated = current_calibrated
        self.thresholds = dict(thresholds or {})
        self.on_drift: OnDrift = on_drift
        self.drift_task_ids = _listed(drift_task_ids)
        self.stable_task_ids = _listed(stable_task_ids)
        self.bins = bins
        self.output_uri = output_uri

    def execute(self, context: Context) -> dict[str, Any]:
        """Compare, write what was found, and follow the verdict."""
        target = self.locate(self.output_uri) if self.output_uri else None
        if target is not None and target.suffix != ".json":
            raise StorageError(f"{target.uri}: a comparison is a .json file")
        if target is not None:
            files = (self.reference, self.current, self.reference_calibrated, self.current_calibrated)
            check_apart(target, *(self.locate(split_range(uri)[0]) for uri in files if uri))
        if self.on_drift == "branch":
            self._check_branches()
        outputs, calibrated = (
            None if pair is None else (self._table(pair[0]), self._table(pair[1]))
            for pair in (
                self._both("reference", "current"),
                self._both("reference_calibrated", "current_calibrated"),
            )
        )
        if outputs is not None:
            _check_asked_alike(*outputs)
        models = self._both("reference_model_id", "current_model_id")
        comparison = compare(
            outputs=outputs,
            models=None if models is None else self._models(context, *models),
            calibrated=calibrated,
            thresholds=self.thresholds,
            bins=self.bins,
        )
        if target is not None:
            publish_bytes(target, comparison.model_dump_json(indent=1).encode() + b"\n")
        return self._follow(context, comparison)

    def _both(self, reference: str, current: str) -> tuple[str, str] | None:
        one, other = getattr(self, reference), getattr(self, current)
        if bool(one) != bool(other):
            missing, given = (current, reference) if one else (reference, current)
            raise ValidationError(f"{given} needs {missing}: a comparison has two sides")
        return (one, other) if one else None

    def _table(self, uri: str) -> Table:
        return Table(uri, s3_client_factory(self.aws_conn_id))

    def _models(self, context: Context, reference: str, current: str) -> tuple[Model, Model]:
        def asked(model_id: str) -> Model:
            told = client.load(model_id).interpret()
            shares = [float(share) for share in told.global_drivers]
            return Model(model_id, dict(zip(told.feature_names, shares, strict=True)))

        with self.hook.get_conn() as client:
            self._works_on(context, client, current)
            return asked(reference), asked(current)

    def _check_branches(self) -> None:
        """Find out about a misspelt task before any work is done."""
        for task_id in (*self.drift_task_ids, *self.stable_task_ids):
            if task_id not in self.dag.task_dict and task_id not in self.dag.task_group_dict:
                raise ValidationError(f"the DAG has no task or task group {task_id!r} to follow")

    def _follow(self, context: Context, comparison: Comparison) -> dict[str, Any]:
        told = self._manifest(context, **self._figures_of(comparison))
        crossed = "; ".join(map(str, comparison.crossed))
        figures = ", ".join(f"{name} {value:.4g}" for name, value in comparison.figures.items())
        if comparison.verdict != "drift":
            self.log.info("%s: %s", comparison.verdict, figures)
        else:
            self.log.warning("drift: %s", crossed)
        if self.on_drift == "branch":
            self._hand_on(context, told)
            self.do_branch(
                context, self.drift_task_ids if comparison.verdict == "drift" else self.stable_task_ids
            )
        elif self.on_drift == "fail" and comparison.verdict == "drift":
            self._hand_on(context, told)
            where = f"; details: {self.output_uri}" if self.output_uri else ""
            raise AirflowFailException(f"drift: {crossed}{where}")
        return told

    def _hand_on(self, context: Context, told: Mapping[str, Any]) -> None:
        """Store the manifest now: Airflow drops what a task returns that fails, and on 3.x one that skips."""
        if not self.do_xcom_push:
            return
        entries = dict(told) if self.multiple_outputs else {}
        for key, value in (entries | {"return_value": dict(told)}).items():
            context["ti"].xcom_push(key=key, value=value)

    def _figures_of(self, comparison: Comparison) -> dict[str, Any]:
        drivers = comparison.drivers or comparison.global_drivers
        shifted = [] if drivers is None else drivers.features[:LISTED]
        labels = [each for each in comparison.predictions if each.label is not None][:LISTED]
        intervals = comparison.intervals
        return {
            "verdict": comparison.verdict,
            "crossed": [crossing.figure for crossing in comparison.crossed],
            **comparison.figures,
            "psi_by_chance": max((each.psi_by_chance for each in comparison.predictions), default=None),
            "psi_classes": [each.label for each in labels] or None,
            "psi_of_classes": [each.psi for each in labels] or None,
            "shifted_features": [each.feature for each in shifted] or None,
            "share_differences": [each.share_difference for each in shifted] or None,
            "reference_interval_width": intervals.reference.mean_prediction_width if intervals else None,
            "current_interval_width": intervals.current.mean_prediction_width if intervals else None,
            **{f"threshold_{name}": value for name, value in comparison.thresholds.items()},
            "reference": self.reference,
            "current": self.current,
            "reference_rows": comparison.reference.rows,
            "current_rows": comparison.current.rows,
            "reference_model_id": self.reference_model_id,
            "current_model_id": self.current_model_id,
            "output_uri": self.output_uri,
        }

    def read_uris(self) -> list[str]:
        """Both outputs, both models, both tables of rules, as far as they are given."""
        files = (self.reference, self.current, self.reference_calibrated, self.current_calibrated)
        models = (self.reference_model_id, self.current_model_id)
        return [
            *(model_uri(model_id, self._server_url()) for model_id in models if model_id),
            *(file_uri(uri) for uri in files if uri),
        ]


def _check_asked_alike(reference: Table, current: Table) -> None:
    """Refuse to compare gradients with contributions, where both manifests tell."""
    one, other = ((table.made_by.get("asked") or {}).get("raw_gradient") for table in (reference, current))
    if None not in (one, other) and one != other:
        raise ComparisonError(
            f"{current.uri}: its drivers were made with raw_gradient={other}, the reference's with {one}:"
            " explain both alike"
        )


def _listed(task_ids: str | Sequence[str] | None) -> list[str]:
    return [task_ids] if isinstance(task_ids, str) else list(task_ids or ())
