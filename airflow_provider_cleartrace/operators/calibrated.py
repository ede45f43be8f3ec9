"""A task that explains rows by calibrated rules: how much each value counts, and how sure that is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_cleartrace import __version__
from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.hooks.aws import s3_client_factory
from airflow_provider_cleartrace.hooks.calibrated import MAX_IN_FLIGHT
from airflow_provider_cleartrace.operators.arguments import check_count, one_of
from airflow_provider_cleartrace.operators.base import ClearTraceOperator
from airflow_provider_cleartrace.operators.identity import digest_of
from airflow_provider_cleartrace.operators.manifest import LISTED, manifest
from airflow_provider_cleartrace.operators.provenance import check_apart, claimant_of, model_state
from airflow_provider_cleartrace.operators.rules.calibration import Calibration
from airflow_provider_cleartrace.operators.rules.draft import NAMES, RulesDraft, figures_at, plots_of
from airflow_provider_cleartrace.operators.rules.pipeline import RulesJob
from airflow_provider_cleartrace.operators.rules.plan import plan_explained_rows
from airflow_provider_cleartrace.operators.rules.question import question_of
from airflow_provider_cleartrace.operators.rules.writer import PAYLOADS, PREDICTIONS, RULES
from airflow_provider_cleartrace.storage.errors import StorageError
from airflow_provider_cleartrace.storage.parts import Part
from airflow_provider_cleartrace.storage.publication import IF_EXISTS, IfExists, Publication
from airflow_provider_cleartrace.storage.sources import Source, find_source

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_cleartrace.explanations.question import Question

BATCH_ROWS = 200
"""Rows explained together: some 10,000 to 50,000 predictions, which is what is held in memory."""

HELD_OUT = 0.2
"""Share of the calibration data that the intervals are tested on rather than made from."""

OUTPUT_SCHEMA_VERSION = 1
"""Moves on when the files of an output mean something else."""


class ClearTraceCalibratedExplainOperator(ClearTraceOperator):
    """Explains the rows of a file by calibrated rules, each with an uncertainty interval.

    Works on the worker, through the model's predict endpoint alone. Publishes a folder that holds
    ``payloads.jsonl`` (one line a row), ``predictions.parquet`` (one row a row), ``rules.parquet`` (one row a
    rule) and ``manifest.json``, and returns the manifest.

    Args:
        model_id: A trained model.
        calibration_data: Path or URI of rows with their true target, which the model was not trained on.
        target: The column of the target in ``calibration_data``.
        data: Path or URI of the rows to explain.
        output_uri: A folder of its own, with a slash at its end.
        kind: ``factual`` (what counts for the prediction), ``alternative`` (what other values would change)
            or ``fast`` (one weight a feature).
        confidence: Share of targets that the intervals of a regression are to hold.
        percentiles: Low and high percentile of these intervals instead; None leaves a side open.
        threshold: Explain the probability that a regression's target is at most this, or above the first and
            at most the second of two.
        filters: Of alternatives, which to keep: ``super``, ``semi``, ``counter``, ``ensured``, ``pareto``.
        conjunctions: Join rules, by ``{"n_top_features": 5, "max_rule_size": 2}``; None does not.
        features_to_ignore: Features that no rule is wanted of.
        focus_columns: The only features that rules are wanted of.
        id_columns: Columns of ``data`` that identify a row; by default rows are numbered as ``row``.
        classes: The classes in the model's order, where the server's schema does not tell them.
        held_out: Share of the calibration data that tests the intervals; 0 makes all of it calibrate.
        training_data: Path or URI of the data that the model was trained on, to warn if it is the same.
        plots: Numbers of rows of ``data``, from 0, to be plotted as SVG; needs the extra ``report``.
        if_exists: ``replace`` an earlier output, ``fail``, or ``skip`` the work if it would be the same.
        batch_rows: Rows explained together.
        max_in_flight: Most requests at the same time.
        seed: Of everything random.
    """

    template_fields: Sequence[str] = (
        "model_id",
        "calibration_data",
        "target",
        "data",
        "output_uri",
        "id_columns",
        "training_data",
    )

    def __init__(
        self,
        *,
        model_id: str,
        calibration_data: str,
        target: str,
        data: str,
        output_uri: str,
        kind: Literal["factual", "alternative", "fast"] = "factual",
        confidence: float | None = None,
        percentiles: tuple[float | None, float | None] | None = None,
        threshold: float | tuple[float, float] | None = None,
        filters: Sequence[str] = (),
        conjunctions: Mapping[str, int] | None = None,
        features_to_ignore: Sequence[str] = (),
        focus_columns: Sequence[str] | None = None,
        id_columns: Sequence[str] | None = None,
        classes: Sequence[Any] | None = None,
        held_out: float = HELD_OUT,
        training_data: str | None = None,
        plots: Sequence[int] = (),
        if_exists: IfExists = "replace",
        batch_rows: int = BATCH_ROWS,
        max_in_flight: int = MAX_IN_FLIGHT,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_count("batch_rows", batch_rows, least=1)
        check_count("max_in_flight", max_in_flight, least=1)
        for row in plots:
            check_count("plots", row, least=0)
        if seed is not None:
            check_count("seed", seed, least=0)
        one_of("if_exists", if_exists, IF_EXISTS)
        if not 0 <= held_out <= 1 / 2:
            raise ValidationError(f"held_out must be 0 to 0.5, not {held_out}")
        if confidence is not None and percentiles is not None:
            raise ValidationError("give confidence or percentiles, not both")
        self.model_id = model_id
        self.calibration_data = calibration_data
        self.target = target
        self.data = data
        self.output_uri = output_uri
        self.kind = kind
        self.confidence = confidence
        self.percentiles = percentiles
        self.threshold = threshold
        self.filters = filters
        self.conjunctions = conjunctions
        self.features_to_ignore = features_to_ignore
        self.focus_columns = focus_columns
        self.id_columns = id_columns
        self.classes = classes
        self.held_out = held_out
        self.training_data = training_data
        self.plots = plots
        self.if_exists = if_exists
        self.batch_rows = batch_rows
        self.max_in_flight = max_in_flight
        self.seed = seed

    def execute(self, context: Context) -> dict[str, Any]:
        """Calibrate, test the calibration, and explain all rows; the output appears when the last is done."""
        question = question_of(
            kind=self.kind,
            confidence=self.confidence,
            percentiles=self.percentiles,
            threshold=self.threshold,
            filters=self.filters,
            conjunctions=self.conjunctions,
            features_to_ignore=self.features_to_ignore,
            focus_columns=self.focus_columns,
            with_plots=bool(self.plots),
        )
        with self.hook.get_conn() as client:
            self._works_on(context, client, self.model_id)
            schema = client.load(self.model_id).get_schema()
            source = find_source(self.data, s3_client_factory(self.aws_conn_id))
            plan = plan_explained_rows(source, schema, self.id_columns, self.batch_rows)
            model = model_state(client, self.model_id, schema)
            publication = self._publication(context, model, source, question)
            if publication.finished() is not None:
                self.log.info("%s is there already, made of the same: kept", publication.target.uri)
                return self._manifest(context, **figures_at(publication.target))
            if self.training_data is not None:
                self._calibration.warn_of_training_data(self.locate(self.training_data))
            explainer, data = self._calibration.explainer(client, schema, question)
            with publication.claimed() as draft:
                if draft.finished() is None:
                    rules = RulesDraft(draft, self.plots)
                    calibrated = self._calibration.apply(explainer, data, question)
                    parts = RulesJob(source, plan, rules, explainer, question, self.log).run()
                    self._warn_of_plots(sum(part.counts["rows"] for part in parts))
                    rules.publish(parts, self._figures(source, publication, calibrated, parts))
                told = figures_at(publication.target)
        return self._manifest(context, **told)

    def _warn_of_plots(self, rows: int) -> None:
        if beyond := [row for row in self.plots if row >= rows]:
            self.log.warning(
                "plots: there is no row %s; the %d rows are numbered from 0",
                ", ".join(map(str, sorted(beyond))),
                rows,
            )

    @functools.cached_property
    def _calibration(self) -> Calibration:
        return Calibration(
            place=self.locate(self.calibration_data),
            target=self.target,
            classes=self.classes,
            held_out=self.held_out,
            max_in_flight=self.max_in_flight,
            seed=self.seed,
            log=self.log,
        )

    def _figures(
        self,
        source: Source,
        publication: Publication,
        calibrated: Mapping[str, Any],
        parts: Sequence[Part],
    ) -> dict[str, Any]:
        """What is told of the output: of the calibration, and of all parts whichever try explained them."""
        target = publication.target

        def total(name: str) -> int:
            return sum(part.counts[name] for part in parts)

        figures = dict(calibrated)
        for name in ("calls", "rows_sent"):
            figures[name] += total(name)
        return manifest(
            model_id=self.model_id,
            data=source.uri,
            output_uri=target.uri,
            payloads_uri=target.child(PAYLOADS).uri,
            predictions_uri=target.child(PREDICTIONS).uri,
            rules_uri=target.child(RULES).uri,
            plots=[name for part in parts for name in plots_of(part)][:LISTED] or None,
            kind=self.kind,
            rows=total("rows"),
            rules=total("rules"),
            fingerprint=publication.fingerprint,
            calibration_data=self.calibration_data,
            **figures,
        )

    def _publication(
        self, context: Context, model: Mapping[str, Any], source: Source, question: Question
    ) -> Publication:
        """The place of the output, and a digest of everything that decides what it holds."""
        from airflow_provider_cleartrace.explanations.library import (  # noqa: PLC0415  (loads numpy)
            installed_version,
        )

        target, calibration = self.locate(self.output_uri), self._calibration.place
        if not target.named_as_folder:
            raise StorageError(f"{target.uri}: the output is a folder: end it with a slash")
        check_apart(target, source.root, calibration)
        decides = {
            "data": source.fingerprint,
            "model": model,
            "calibration": calibration.fingerprint(),
            "target": self.target,
            "question": dataclasses.asdict(question),
            "ids": self.id_columns,
            "classes": self.classes,
            "held_out": self.held_out,
            "plots": sorted(self.plots),
            # What the library samples for a factual rule depends on the rows beside it.
            "batch_rows": self.batch_rows,
            "seed": self.seed,
            "version": [OUTPUT_SCHEMA_VERSION, __version__, installed_version()],
        }
        made_by = {"model_id": self.model_id, "data": source.uri, "provider_version": __version__}
        return Publication(target, NAMES, self.if_exists, digest_of(decides), claimant_of(context), made_by)
