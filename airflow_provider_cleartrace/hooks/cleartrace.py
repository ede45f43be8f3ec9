"""``ClearTraceHook``: clients from an Airflow connection, and the connection's form and test."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_cleartrace.api import operations
from airflow_provider_cleartrace.api.errors import (
    AuthenticationError,
    NotFoundError,
    OuterProductError,
    ValidationError,
)
from airflow_provider_cleartrace.client import AsyncClearTrace, ClearTrace
from airflow_provider_cleartrace.client.session import call
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.hooks.calibrated import MAX_IN_FLIGHT, explainer_for
from airflow_provider_cleartrace.hooks.connection import settings_from
from airflow_provider_cleartrace.provider_info import CONNECTION_TYPE, FIELD_BEHAVIOUR, FORM_FIELDS

if TYPE_CHECKING:
    import pandas as pd

    from airflow_provider_cleartrace.explanations.explainer import CalibratedExplainer

DEFAULT_CONN_ID = "cleartrace_default"

TEST_TIMEOUT = 5.0
"""Seconds "Test connection" may take: somebody waits for it at a screen."""

_TEST_MODEL_ID = "airflow-connection-test"
"""An id nobody trains: "not found" is the answer of a server that accepted the key."""


class ClearTraceHook(BaseHook):
    """Turns a ``cleartrace`` connection into a client.

    Args:
        cleartrace_conn_id: The connection. Its host is the API's URL, its password the API key.
    """

    conn_name_attr = "cleartrace_conn_id"
    default_conn_name = DEFAULT_CONN_ID
    conn_type = CONNECTION_TYPE
    hook_name = "ClearTrace"

    def __init__(self, cleartrace_conn_id: str = DEFAULT_CONN_ID) -> None:
        super().__init__()
        self.cleartrace_conn_id = cleartrace_conn_id

    def settings(self) -> Settings:
        """Read the connection."""
        connection = self.get_connection(self.cleartrace_conn_id)
        return settings_from(connection, connection.extra_dejson)

    async def aget_settings(self) -> Settings:
        """Read the connection from an event loop."""
        connection = await get_async_connection(self.cleartrace_conn_id, hook=self)
        return settings_from(connection, await get_async_extra_dejson(connection))

    def get_conn(self) -> ClearTrace:
        """A blocking client; close it, or use it as a context manager."""
        settings = self.settings()
        return ClearTrace.from_settings(
            settings, renew=functools.partial(self.renewed_key, settings.base_url)
        )

    async def aget_conn(self) -> AsyncClearTrace:
        """A client for the running event loop; close it, or use it as an async context manager."""
        settings = await self.aget_settings()
        renew = functools.partial(self.arenewed_key, settings.base_url)
        return AsyncClearTrace.from_settings(settings, renew=renew)

    def renewed_key(self, base_url: str, refused: str) -> str | None:
        """The connection's key as it is now: the one that was refused may have been rotated.

        None where the connection cannot be read, or leads to another server than ``base_url`` by now: a key
        is sent to its own server alone.
        """
        try:
            settings = self.settings()
        except Exception as error:  # the refusal itself is the better error
            self.log.warning(
                "connection %s cannot be read again: %s", self.cleartrace_conn_id, type(error).__name__
            )
            return None
        return settings.api_key if settings.base_url == base_url else None

    async def arenewed_key(self, base_url: str, refused: str) -> str | None:
        """The same from an event loop on a worker, where Airflow gives connections to threads alone."""
        return await asyncio.to_thread(self.renewed_key, base_url, refused)

    @contextlib.contextmanager
    def calibrated_explainer(
        self,
        model_id: str,
        calibration_data: pd.DataFrame,
        target: str,
        *,
        classes: Sequence[Any] | None = None,
        max_in_flight: int = MAX_IN_FLIGHT,
        seed: int | None = None,
    ) -> Iterator[CalibratedExplainer]:
        """An explainer of a trained model, calibrated, for as long as the block lasts.

        Args:
            model_id: The model.
            calibration_data: Rows that it was not trained on, with their true target.
            target: The column of the target.
            classes: The classes in the model's order, where the server's schema does not tell them.
            max_in_flight: Most requests at the same time.
            seed: Of everything random; None for the default.

        Raises:
            ValidationError: the model was trained on another target, or the data lacks that column.
            ExplanationError: the calibration data is too little, or does not fit the model.
        """
        if target not in calibration_data.columns:
            raise ValidationError(f"the calibration data has no column {target!r}")
        targets = calibration_data[target]
        with self.get_conn() as client:
            schema = client.load(model_id).get_schema()
            explainer = explainer_for(
                client,
                schema,
                target=target,
                targets=targets.tolist(),
                classes=classes,
                max_in_flight=max_in_flight,
                seed=seed,
            )
            yield explainer.calibrate(calibration_data, targets)

    def test_connection(self) -> tuple[bool, str]:
        """One authenticated request, within seconds; tells what to mend and never raises."""
        try:
            settings = dataclasses.replace(self.settings(), timeout=TEST_TIMEOUT, max_retries=0)
            with ClearTrace.from_settings(settings) as client:
                client.run(call(client.session, operations.STATUS, model_id=_TEST_MODEL_ID))
        except NotFoundError as error:
            if not error.from_service:
                return False, f"{settings.base_url} answers, but is not a ClearTrace API"
        except AuthenticationError as error:
            return (
                False,
                f"{settings.base_url} refuses the API key (the connection's password): {error}",
            )
        except OuterProductError as error:
            return False, str(error)
        except Exception as error:
            return False, f"{type(error).__name__}: {error}"
        return True, f"{settings.base_url} answers and accepts the API key"

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """The extra fields of the form on Airflow 2.11; 3.2+ reads them from the provider's info."""
        from flask_appbuilder.fieldwidgets import BS3TextFieldWidget  # noqa: PLC0415  (only there with 2.11)
        from wtforms import StringField  # noqa: PLC0415  (only there with 2.11)

        return {
            name: StringField(field["label"], description=field["description"], widget=BS3TextFieldWidget())
            for name, field in FORM_FIELDS.items()
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Labels and placeholders of the form on Airflow 2.11."""
        return {key.replace("-", "_"): value for key, value in FIELD_BEHAVIOUR.items()}
