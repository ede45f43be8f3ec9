"""The options of a training, checked on construction."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.target import TaskFamily

Mode = Literal["fast", "default", "thorough"]
BaseModelType = Literal["xrfm", "xgboost"]

_STEPS: dict[Mode, int] = {"fast": 1, "default": 8, "thorough": 30}


@dataclass(frozen=True)
class FitConfig:
    """How to train. Values are checked on construction.

    Attributes:
        mode: sets the number of tuning steps when it is not given: fast 1, default 8, thorough 30.
        n_hyperopt_steps: tuning steps, 1 to 500; None: by mode.
        base_model_type: "xrfm" (a kernel machine with a learned metric) or "xgboost".
        random_state: seed of the split, the search and the fits.
        validation_fraction: share of the rows held out, 0.05 to 0.5.
        max_centers: rows up to which a kernel machine is exact, 50 to 20,000; beyond, at most that many
            Nystroem centres, see `rfm.n_centers`.
        task: "regression" or "classification"; None: inferred, see `target.read_target`.
    """

    mode: Mode = "default"
    n_hyperopt_steps: int | None = None
    base_model_type: BaseModelType = "xrfm"
    random_state: int = 42
    validation_fraction: float = 0.2
    max_centers: int = 6000
    task: TaskFamily | None = None

    def __post_init__(self) -> None:
        _check_choice("mode", self.mode, get_args(Mode))
        _check_choice("base_model_type", self.base_model_type, get_args(BaseModelType))
        _check_choice("task", self.task, (None, *get_args(TaskFamily)))
        if self.n_hyperopt_steps is not None:
            _check_range("n_hyperopt_steps", self.n_hyperopt_steps, int, 1, 500)
        _check_range("random_state", self.random_state, int, 0, 2**32 - 1)
        _check_range("validation_fraction", self.validation_fraction, float, 0.05, 0.5)
        _check_range("max_centers", self.max_centers, int, 50, 20_000)

    @property
    def steps(self) -> int:
        """The number of tuning steps."""
        return _STEPS[self.mode] if self.n_hyperopt_steps is None else self.n_hyperopt_steps

    @classmethod
    def from_mapping(cls, options: Mapping[str, Any]) -> FitConfig:
        """Read options as they come over the wire.

        A random_state of None draws one, which the configuration then holds.

        Raises:
            InputError: an unknown key, or a value of the wrong type or out of range; the message names it.
        """
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise InputError(f"unknown training options {unknown}; known are {known}")
        if "random_state" in options and options["random_state"] is None:
            options = {**options, "random_state": secrets.randbelow(2**32)}
        return cls(**options)


def _check_choice(key: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise InputError(f"{key} must be one of {list(choices)}, not {value!r}")


def _check_range(key: str, value: object, kind: type[int] | type[float], low: float, high: float) -> None:
    fitting = isinstance(value, kind) or (kind is float and isinstance(value, int))
    if isinstance(value, bool) or not fitting or not low <= value <= high:  # type: ignore[operator]
        raise InputError(
            f"{key} must be {'an integer' if kind is int else 'a number'} from {low} to {high}, not {value!r}"
        )
