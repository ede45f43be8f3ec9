"""What a scenario may change: checked constraints, one a feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from airflow_provider_cleartrace.local.engine.coding import STRANGER, code_table
from airflow_provider_cleartrace.local.engine.errors import InputError
from airflow_provider_cleartrace.local.engine.schema import Column, ModelSchema
from airflow_provider_cleartrace.local.engine.table import Table

Direction = Literal["increase", "decrease"]

_KEYS = ("immutable", "monotonic", "value_range", "allowed_values")


@dataclass(frozen=True)
class Constraint:
    """How one feature may change. All limits given hold at once; the value a row has now is always allowed.

    Attributes:
        immutable: the feature keeps its value.
        monotonic: the only direction of change.
        value_range: smallest and largest new value, in place of the training range.
        allowed_values: codes of the only new values (numbers, or positions of levels), in place of the
            training range.
    """

    immutable: bool = False
    monotonic: Direction | None = None
    value_range: tuple[float, float] | None = None
    allowed_values: tuple[float, ...] | None = None


def read_constraints(
    schema: ModelSchema, constraints: Mapping[str, Mapping[str, Any]] | None
) -> dict[str, Constraint]:
    """Check constraints that arrive as JSON.

    Args:
        schema: the model's schema; what is legal depends on a feature's kind.
        constraints: feature -> any of {"immutable": bool, "monotonic": "increase" | "decrease",
            "value_range": [min, max], "allowed_values": [...]}. Dates are ISO texts.

    Raises:
        InputError: an unknown feature or key, a value of the wrong type, an order or range asked of levels,
            an empty range or list, an unknown level, a fraction for an integer.
    """
    if constraints is not None and not isinstance(constraints, Mapping):
        raise InputError("constraints must be an object: feature name -> constraint")
    return {name: _read(schema.feature(name), given) for name, given in (constraints or {}).items()}


def _read(column: Column, given: Mapping[str, Any]) -> Constraint:
    where = f"constraints[{column.name!r}]"
    if not isinstance(given, Mapping):
        raise InputError(f'{where} must be an object such as {{"immutable": true}}')
    unknown = sorted(map(str, set(given) - set(_KEYS)))
    if unknown:
        raise InputError(f"{where} has unknown keys {unknown}; known are {list(_KEYS)}")
    immutable = given.get("immutable", False)
    if not isinstance(immutable, bool):
        raise InputError(f"{where}: immutable must be true or false, not {immutable!r}")
    for key in ("monotonic", "value_range"):
        if given.get(key) is not None and column.is_levelled:
            raise InputError(
                f"{where}: {key} needs an ordered feature, but {column.name!r} is a {column.kind}"
            )
    monotonic = given.get("monotonic")
    if monotonic not in (None, "increase", "decrease"):
        raise InputError(f"{where}: monotonic must be 'increase' or 'decrease', not {monotonic!r}")
    value_range = given.get("value_range")
    allowed = given.get("allowed_values")
    return Constraint(
        immutable,
        monotonic,
        None if value_range is None else _range(where, column, value_range),
        None if allowed is None else _allowed(where, column, allowed),
    )


def _range(where: str, column: Column, given: Any) -> tuple[float, float]:
    if not _is_list(given) or len(given) != 2:
        raise InputError(f"{where}: value_range must be a list [min, max]")
    low, high = _codes(f"{where}: value_range", column, given)
    if low > high:
        raise InputError(f"{where}: value_range has a minimum above its maximum: {list(given)}")
    return low, high


def _allowed(where: str, column: Column, given: Any) -> tuple[float, ...]:
    if not _is_list(given) or not given:
        raise InputError(f"{where}: allowed_values must be a list of at least one value")
    codes = _codes(f"{where}: allowed_values", column, given)
    strangers = [
        value for value, code in zip(given, codes, strict=True) if column.is_levelled and code == STRANGER
    ]
    if strangers:
        raise InputError(
            f"{where}: allowed_values has unknown levels {strangers}; known are {list(column.categories)}"
        )
    if column.kind == "integer" and any(code != np.round(code) for code in codes):
        raise InputError(f"{where}: allowed_values must be whole numbers, for {column.name!r} is an integer")
    return tuple(sorted(set(codes)))


def _codes(what: str, column: Column, given: Sequence[Any]) -> list[float]:
    if (
        not column.is_levelled
        and column.kind != "datetime"
        and any(isinstance(value, bool | str) for value in given)
    ):
        raise InputError(f"{what} must be numbers, for {column.name!r} is of kind {column.kind}")
    codes: list[float] = code_table(Table.from_columns({column.name: given}), [column])[:, 0].tolist()
    if np.isnan(codes).any():
        raise InputError(f"{what} must not hold null")
    return codes


def _is_list(given: Any) -> bool:
    return isinstance(given, Sequence) and not isinstance(given, str)
