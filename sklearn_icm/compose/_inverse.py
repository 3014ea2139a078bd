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

from ..rows._frames import all_numbers, as_frame, as_numbers


def flat_steps(steps, prefix=""):
    """Yield (name, step) of what does something; of inner pipelines the steps."""
    for name, step in steps:
        if isinstance(step, Pipeline):
            yield from flat_steps(step.steps, f"{prefix}{name}__")
        elif step is not None and not (isinstance(step, str) and step == "passthrough"):
            yield f"{prefix}{name}", step


def check_inverse(steps):
    """Raise TypeError, naming the step, if rows cannot be mapped back through it."""
    for name, step in flat_steps(steps):
        if isinstance(step, ColumnTransformer):
            parts = [(inner, part) for inner, part, _ in step.transformers]
            parts += [("remainder", step.remainder)] * (step.remainder != "drop")
            check_inverse([(f"{name}__{inner}", part) for inner, part in parts])
        else:
            _check_transformer(name, step)


def _check_transformer(name, step):
    if isinstance(step, str):
        raise TypeError(
            f"The step {name!r} drops columns, so rows cannot be mapped back to input "
            "space. Leave the columns out of X instead."
        )
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


def check_keeps_columns(steps):
    """Raise TypeError if a fitted step loses columns, or levels of them."""
    for name, step in flat_steps(steps):
        names = getattr(step, "feature_names_in_", None)
        if isinstance(step, ColumnTransformer):
            parts = column_parts(name, step)
            check_keeps_columns([(inner, part) for inner, part, _ in parts])
            kept = {int(place) for *_, places in parts for place in places}
            lost = [k for k in range(step.n_features_in_) if k not in kept]
            advice = "Set remainder='passthrough', or leave them out of X"
        elif hasattr(step, "get_support"):
            lost = np.flatnonzero(~step.get_support()).tolist()
            advice = "Leave them out of X"
        else:
            _check_keeps_levels(name, step, names)
            continue
        if lost:
            lost = lost if names is None else list(map(str, names[lost]))
            raise TypeError(
                f"The step {name!r} ({type(step).__name__}) drops the columns {lost}, "
                f"so rows cannot be mapped back to input space. {advice}."
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


def inverse_rows(steps, rows):
    """Rows before fitted steps."""
    for name, step in reversed(list(flat_steps(steps))):
        if isinstance(step, ColumnTransformer):
            rows = _inverse_columns(name, step, rows)
        else:
            rows = step.inverse_transform(_as_codes(step, rows))
    return rows


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
    for inner, part, places in column_parts(name, step):
        block = rows.iloc[:, step.output_indices_[inner.removeprefix(f"{name}__")]]
        block = as_numbers(block) if all_numbers(block) else block
        inputs = as_frame(inverse_rows([(inner, part)], block))
        for k, place in enumerate(places):
            found.setdefault(int(place), inputs.iloc[:, k].reset_index(drop=True))
    frame = pd.DataFrame({k: found[k] for k in range(step.n_features_in_)})
    if all_numbers(frame):
        return as_numbers(frame)
    names = getattr(step, "feature_names_in_", None)
    return frame if names is None else frame.set_axis(names, axis=1)


def column_parts(name, step):
    """(name, transformer, places of its columns) of a fitted ColumnTransformer."""
    parts = [
        (f"{name}__{inner}", part, _places_of(columns, step))
        for inner, part, columns in step.transformers_
        if not (isinstance(part, str) and part == "drop")
    ]
    return [part for part in parts if len(part[2])]


def _places_of(columns, step):
    """Indices of a fitted ColumnTransformer's columns, however they were given."""
    if isinstance(columns, (str, Integral)):
        columns = [columns]
    if not isinstance(columns, slice) and len(columns) and isinstance(columns[0], str):
        names = list(step.feature_names_in_)
        return np.array([names.index(c) for c in columns])
    return np.arange(step.n_features_in_)[columns]
