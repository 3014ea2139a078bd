"""From the rows of a transformer back to its input."""

from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    OneHotEncoder,
    OrdinalEncoder,
)

from ._frames import all_numbers, as_frame, as_numbers

__all__ = ["check_inverse", "check_keeps_columns", "inverse_rows", "places_of"]


def check_inverse(name, step):
    """Raise TypeError, naming the step, if rows cannot be mapped back through it."""
    if isinstance(step, str):
        if step == "passthrough":
            return
        raise TypeError(
            f"The step {name!r} drops columns, so rows cannot be mapped back to input "
            "space. Leave the columns out of X instead."
        )
    if isinstance(step, ColumnTransformer):
        _check_columns(name, step)
    elif isinstance(step, Pipeline):
        for inner, part in step.steps:
            check_inverse(f"{name}__{inner}", part)
    elif step is not None:
        _check_transformer(name, step)


def _check_transformer(name, step):
    problem, advice = None, "Use a transformer that has one, or a plain Pipeline"
    if isinstance(step, SimpleImputer):
        problem = "cannot undo its imputation"
        advice = "Impute before the pipeline"
    elif isinstance(step, FunctionTransformer):
        if step.func is not None and step.inverse_func is None:
            problem, advice = "has no inverse_func", "Give it one"
    elif not hasattr(step, "inverse_transform"):
        problem = "has no inverse_transform"
    if problem:
        raise TypeError(
            f"The step {name!r} ({type(step).__name__}) {problem}, so rows cannot be "
            f"mapped back to input space. {advice}."
        )


def _check_columns(name, step):
    for inner, part, _ in step.transformers:
        check_inverse(f"{name}__{inner}", part)
    if step.remainder != "drop":
        check_inverse(f"{name}__remainder", step.remainder)


def check_keeps_columns(name, step):
    """Raise TypeError if a fitted step loses columns, or levels of them."""
    if isinstance(step, Pipeline):
        for inner, part in step.steps:
            check_keeps_columns(f"{name}__{inner}", part)
        return
    names = getattr(step, "feature_names_in_", None)
    if isinstance(step, ColumnTransformer):
        kept = set()
        for inner, part, columns in step.transformers_:
            if not (isinstance(part, str) and part == "drop"):
                kept.update(map(int, places_of(columns, step)))
                check_keeps_columns(f"{name}__{inner}", part)
        lost = [k for k in range(step.n_features_in_) if k not in kept]
        advice = "Set remainder='passthrough', or leave them out of X"
    elif hasattr(step, "get_support"):
        lost = np.flatnonzero(~step.get_support()).tolist()
        advice = "Leave them out of X"
    else:
        _check_keeps_levels(name, step, names)
        return
    if lost:
        lost = lost if names is None else list(map(str, names[lost]))
        raise TypeError(
            f"The step {name!r} ({type(step).__name__}) drops the columns {lost}, so "
            f"rows cannot be mapped back to input space. {advice}."
        )


def _check_keeps_levels(name, step, names):
    groups = getattr(step, "infrequent_categories_", None) or []
    for k, group in enumerate(groups):
        if group is not None:
            raise TypeError(
                f"The step {name!r} ({type(step).__name__}) forgets the infrequent "
                f"levels {group.tolist()[:10]} of the column "
                f"{k if names is None else str(names[k])!r}, so rows cannot be mapped "
                "back to input space. Join them before the pipeline."
            )


def inverse_rows(name, step, rows):
    """Rows before a fitted step."""
    if step is None or isinstance(step, str):
        return rows
    if isinstance(step, ColumnTransformer):
        return _inverse_columns(name, step, rows)
    if isinstance(step, Pipeline):
        for inner, part in reversed(step.steps):
            rows = inverse_rows(f"{name}__{inner}", part, rows)
        return rows
    return step.inverse_transform(_as_codes(step, rows))


def _as_codes(step, rows):
    """The nearest rows that an encoder of categories may have made."""
    if not isinstance(step, (OneHotEncoder, OrdinalEncoder)):
        return rows
    rows = np.asarray(rows, dtype=np.float64)
    if isinstance(step, OrdinalEncoder):
        last = [len(c) - 1 for c in step.categories_]
        return np.clip(np.round(rows), 0, last)
    codes, start = np.zeros_like(rows), 0
    for k, levels in enumerate(step.categories_):
        dropped = step.drop_idx_ is not None and step.drop_idx_[k] is not None
        width = len(levels) - dropped
        block = rows[:, start : start + width]
        best = block.argmax(1) if width else np.zeros(len(rows), int)
        # The dropped category has what the others leave of 1.
        taken = np.arange(len(rows))
        if dropped:
            taken = taken[block.max(1, initial=0) >= 1 - block.sum(1)]
        codes[taken, start + best[taken]] = 1
        start += width
    return codes


def _inverse_columns(name, step, rows):
    """Undo each transformer on its columns."""
    # One array of numbers and levels would make objects of the numbers.
    rows, found = as_frame(rows).infer_objects(), {}
    for inner, part, columns in step.transformers_:
        places = places_of(columns, step)
        if not len(places) or (isinstance(part, str) and part == "drop"):
            continue
        block = rows.iloc[:, step.output_indices_[inner]]
        block = as_numbers(block) if all_numbers(block) else block
        inputs = as_frame(inverse_rows(f"{name}__{inner}", part, block))
        for k, place in enumerate(places):
            found.setdefault(int(place), inputs.iloc[:, k].reset_index(drop=True))
    frame = pd.DataFrame({k: found[k] for k in range(step.n_features_in_)})
    if all_numbers(frame):
        return as_numbers(frame)
    names = getattr(step, "feature_names_in_", None)
    return frame if names is None else frame.set_axis(names, axis=1)


def places_of(columns, step):
    """Indices of a fitted ColumnTransformer's columns, however they were given."""
    if isinstance(columns, (str, Integral)):
        columns = [columns]
    if not isinstance(columns, slice) and len(columns) and isinstance(columns[0], str):
        names = list(step.feature_names_in_)
        return np.array([names.index(c) for c in columns])
    return np.arange(step.n_features_in_)[columns]
