"""``@task.cleartrace_fit`` and ``@task.cleartrace_distill``: train on what a function returns."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import (
    DecoratedOperator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)

from airflow_provider_cleartrace.api.errors import ValidationError
from airflow_provider_cleartrace.assets.files import file_uri
from airflow_provider_cleartrace.client.frames import is_frame
from airflow_provider_cleartrace.decorators.frames import write_frame
from airflow_provider_cleartrace.operators.jobs.submission import JobRequest
from airflow_provider_cleartrace.operators.jobs.training import TrainingOperator
from airflow_provider_cleartrace.operators.training import ClearTraceDistillOperator, ClearTraceFitOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context, TaskDecorator


class _DataFromFunction(TrainingOperator):
    """A training whose data, and other arguments, a function returns.

    The function is called when the task needs to know what to ask for: at the start of each try. A task that
    resumes does not ask again, unless it turns out that its job was never submitted.
    """

    python_callable: Callable[..., Any]
    op_args: Collection[Any]
    op_kwargs: Mapping[str, Any]

    returnable: ClassVar[frozenset[str]]
    """Arguments of the operator that the function may return in a dict."""

    xcom_push: Any = None
    """Airflow 3.0's DecoratedOperator passes on this method of Airflow 2, and does not call it."""

    _context: Any = None
    _folder: str = ""
    _asked = False
    _is_frame = False

    def execute(self, context: Context) -> Any:
        """Call the function, submit what it returns, and wait."""
        with self._ready_to_ask(context):
            return super().execute(context)

    def execute_complete(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Take up the task where the trigger's event leaves it."""
        with self._ready_to_ask(context):
            return super().execute_complete(context, event)

    def request(self) -> JobRequest:
        """What the function, which is called once, asks for."""
        if not self._asked:
            self._take(self._ask())
            self._asked = True
        request = super().request()
        if not self._is_frame:
            return request
        # The file is gone when anybody could look for it.
        receipt = {name: value for name, value in request.receipt.items() if name != "data"}
        return dataclasses.replace(request, receipt=receipt)

    def read_uris(self) -> list[str]:
        """The file that the function named, as the manifest tells it in every mode."""
        return [file_uri(self._told["data"])] if "data" in self._told else []

    @contextlib.contextmanager
    def _ready_to_ask(self, context: Context) -> Iterator[None]:
        with tempfile.TemporaryDirectory(prefix="cleartrace-") as folder:
            self._context, self._folder = context, folder
            yield

    def _ask(self) -> Any:
        context = self._context
        context_merge(context, self.op_kwargs)
        return self.python_callable(
            *self.op_args, **determine_kwargs(self.python_callable, self.op_args, context)
        )

    def _take(self, returned: Any) -> None:
        """Set the arguments that the function returned."""
        arguments = returned if isinstance(returned, Mapping) else {"data": returned}
        if unknown := {str(name) for name in arguments} - self.returnable:
            raise ValidationError(
                f"{self.task_id}: the function returned a dict with {', '.join(sorted(unknown))}; "
                f"known: {', '.join(sorted(self.returnable))}"
            )
        for name, value in arguments.items():
            setattr(self, name, self._file(value) if name == "data" else value)

    def _file(self, data: Any) -> str:
        """The path or URI of what the function returned as its data."""
        if isinstance(data, str | os.PathLike):
            return os.fspath(data)
        if not is_frame(data):
            raise ValidationError(
                f"{self.task_id}: the function returned {_named(data)} as data; "
                "return a pandas DataFrame, a path or URI, or a dict of arguments"
            )
        path = Path(self._folder) / "data.parquet"
        try:
            write_frame(data, path)
        except ValidationError as error:
            raise ValidationError(f"{self.task_id}: {error}") from None
        self._is_frame = True
        return str(path)


def _named(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


class _FitDecoratedOperator(_DataFromFunction, DecoratedOperator, ClearTraceFitOperator):
    custom_operator_name = "@task.cleartrace_fit"
    returnable = frozenset(ClearTraceFitOperator.template_fields)
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *ClearTraceFitOperator.template_fields,
    )

    def __init__(self, *, target: str | None = None, **kwargs: Any) -> None:
        super().__init__(target=target, **kwargs)

    def check(self) -> None:
        if not self.target:
            raise ValidationError(
                f"{self.task_id}: give the target, in the decorator or in the returned dict"
            )
        super().check()


class _DistillDecoratedOperator(_DataFromFunction, DecoratedOperator, ClearTraceDistillOperator):
    custom_operator_name = "@task.cleartrace_distill"
    returnable = frozenset(ClearTraceDistillOperator.template_fields)
    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        *ClearTraceDistillOperator.template_fields,
    )


def cleartrace_fit_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool = True, **kwargs: Any
) -> TaskDecorator:
    """Train a model on what a function returns: ``@task.cleartrace_fit``.

    Args:
        python_callable: The function. It returns a pandas DataFrame, the path or URI of a file, or a dict of
            arguments of :class:`~.ClearTraceFitOperator`, ``data`` among them.
        multiple_outputs: Push each entry of the manifest as an XCom of its own as well.
        **kwargs: Arguments of :class:`~.ClearTraceFitOperator`.
    """
    return task_decorator_factory(
        python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_FitDecoratedOperator,
        **kwargs,
    )


def cleartrace_distill_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool = True, **kwargs: Any
) -> TaskDecorator:
    """Distil a black-box model on what a function returns: ``@task.cleartrace_distill``.

    Args:
        python_callable: The function. It returns a pandas DataFrame, the path or URI of a file, or a dict of
            arguments of :class:`~.ClearTraceDistillOperator`, ``data`` among them.
        multiple_outputs: Push each entry of the manifest as an XCom of its own as well.
        **kwargs: Arguments of :class:`~.ClearTraceDistillOperator`.
    """
    return task_decorator_factory(
        python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_DistillDecoratedOperator,
        **kwargs,
    )
