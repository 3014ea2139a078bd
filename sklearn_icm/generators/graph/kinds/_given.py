"""Mechanisms that a user gives: which objects they may be, and their parameters."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sklearn.base import clone
from sklearn.utils import get_tags
from torch import nn

from ....rows._columns import column_name
from ....utils.checks import plain
from ....utils.pipelines import predicts_levels

PREFIX = "mechanism__"


def given_mechanisms(
    mechanism: Any, names: Sequence[str], categorical: Collection[str]
) -> dict[str, Any]:
    """Copies of the objects among the mechanisms of columns, by name.

    Raises
    ------
    ValueError
        For what cannot be a mechanism of its column.
    """
    if not isinstance(mechanism, Mapping):
        return {}
    found = {}
    for column, own in mechanism.items():
        if not isinstance(own, str):
            name = column_name(column, names, "mechanism")
            found[name] = _copied(name, own, name in categorical)
    return found


def _copied(name: str, own: Any, has_levels: bool) -> Any:
    """A copy of an object that may be the mechanism of a column."""
    what = f"mechanism of the column {name!r}"
    if isinstance(own, type):
        raise ValueError(
            f"{what} must be an instance, got the class {own.__name__}: write "
            f"{own.__name__}()."
        )
    if not isinstance(own, nn.Module):
        _check_predictor(what, own, has_levels)
    try:
        return copy.deepcopy(own) if isinstance(own, nn.Module) else clone(own)
    except Exception as error:
        raise ValueError(
            f"{what} cannot be copied: {type(own).__name__} breaks "
            f"{'copy.deepcopy' if isinstance(own, nn.Module) else 'sklearn.clone'} "
            f"({error}). Its __init__ must keep its parameters as they are."
        ) from error


def _check_predictor(what: str, own: Any, has_levels: bool) -> None:
    asked = "predict_proba" if has_levels else "predict"
    lacking = [
        name for name in ("fit", asked) if not callable(getattr(own, name, None))
    ]
    if lacking:
        kind = "a classifier" if has_levels else "a regressor"
        raise ValueError(
            f"{what} must be the name of a kind, {kind} with the methods fit and "
            f"{asked}, or a torch.nn.Module, got {plain(own)!r}, which has no "
            f"{' and no '.join(lacking)}."
        )
    if has_levels and not predicts_levels(own):
        raise ValueError(
            f"{what}, which has levels, must be a classifier, got {own!r}. Or leave "
            "the levels out: make the column one of floats."
        )
    tagged = hasattr(own, "__sklearn_tags__")
    kind = get_tags(own).estimator_type if tagged else None
    if not has_levels and kind not in ("regressor", None):
        raise ValueError(f"{what} must be a regressor, got the {kind} {own!r}.")


class NestedMechanisms:
    """Parameters of the mechanisms of single columns, ``mechanism__column__name``."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Get the parameters.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include the mechanisms of single columns, as
            ``mechanism__column``, and the parameters of those that are estimators, as
            ``mechanism__column__name``.

        Returns
        -------
        dict of str to object
        """
        params = super().get_params(deep)
        if not deep or not isinstance(self.mechanism, Mapping):
            return params
        for column, own in self.mechanism.items():
            prefix = f"{PREFIX}{column}"
            params[prefix] = own
            if hasattr(own, "get_params") and not isinstance(own, type):
                nested = own.get_params(deep=True).items()
                params |= {f"{prefix}__{key}": value for key, value in nested}
        return params

    def set_params(self, **params: Any) -> Any:
        """Set parameters, nested ones such as ``mechanism__column__name`` too.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self : object
        """
        nested = {k: params.pop(k) for k in [*params] if k.startswith(PREFIX)}
        super().set_params(**params)
        for key, value in sorted(nested.items(), key=lambda pair: pair[0].count("__")):
            column, name = self._column_of(key)
            if name:
                self.mechanism[column].set_params(**{name: value})
            else:
                # Another dict: the user's own one stays as it is.
                self.mechanism = {**self.mechanism, column: value}
        return self

    def _column_of(self, key: str) -> tuple[Any, str]:
        """Column that a nested parameter is of, and its name in the mechanism."""
        asked = key.removeprefix(PREFIX)
        given = self.mechanism if isinstance(self.mechanism, Mapping) else {}
        # Names of columns may hold what separates the parts.
        for column in sorted(given, key=lambda column: -len(str(column))):
            rest = asked.removeprefix(str(column))
            if asked.startswith(str(column)) and (not rest or rest.startswith("__")):
                if rest and not hasattr(given[column], "set_params"):
                    break
                return column, rest.removeprefix("__")
        raise ValueError(
            f"{key!r} needs a mechanism that has it, but mechanism is "
            f"{self.mechanism!r}: set it first, such as mechanism={{'y': Ridge()}}."
        )
