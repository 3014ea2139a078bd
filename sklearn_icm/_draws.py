"""Answers about rows with several draws of what they leave open."""

import warnings
from functools import reduce
from numbers import Integral

import numpy as np
import pandas as pd
from sklearn.utils import Bunch, check_random_state

from .utils.checks import check_scalar

__all__ = ["joined", "over_draws", "parted"]


def over_draws(
    ask,
    behind,
    n_draws,
    abduction,
    interventions,
    X,
    n_samples,
    random_state,
    **options,
):
    """Answers of `intervene` for several draws, put together.

    Parameters
    ----------
    ask : callable
        A generator's `intervene`.
    behind : callable
        ``behind(X, n_draws)`` gives rows and the noise behind them, draw by draw.
    n_draws, abduction, interventions, X, n_samples, random_state, **options
        As `intervene` takes them.
    """
    check_scalar(n_draws, "n_draws", Integral, min_val=1)
    if X is None or n_samples is not None:
        raise ValueError(
            "n_draws must be None where rows are drawn, and X is not given: more rows "
            "come with n_samples."
        )
    if abduction != "encode":
        raise ValueError(
            "n_draws needs abduction='encode': noise is drawn about what explains the "
            f"rows, got {abduction!r}."
        )
    if random_state is not None:
        # Random interventions go on from draw to draw.
        random_state = check_random_state(random_state)
    parts = []
    for rows, noise in behind(X, n_draws):
        with warnings.catch_warnings():
            if parts:
                # What is doubtful is said once.
                warnings.simplefilter("ignore", UserWarning)
            answer = ask(
                interventions,
                X=X,
                random_state=random_state,
                abduction=Bunch(noise=noise, rows=rows),
                **options,
            )
        parts.append(answer if isinstance(answer, tuple) else (answer,))
    found = tuple(map(joined, zip(*parts, strict=True)))
    return found if len(found) > 1 else found[0]


def joined(parts):
    """Several draws of the same rows as one: arrays, frames, or pairs by name."""
    first = parts[0]
    if isinstance(first, dict):
        pairs = {k: zip(*(part[k] for part in parts), strict=True) for k in first}
        return {k: tuple(map(np.stack, sides)) for k, sides in pairs.items()}
    if isinstance(first, np.ndarray):
        return np.stack(parts)
    if "draw" in first.columns:
        raise ValueError(
            "n_draws makes a frame with the draw of each row as 'draw', but X has a "
            "column of this name: rename it, or take arrays (set_output)."
        )
    if isinstance(first, pd.DataFrame):
        return pd.concat(parts, keys=range(len(parts)), names=["draw"])
    # Of polars, which is imported by those who use it.
    named = [
        part.with_columns(draw=k).select(["draw", *first.columns])
        for k, part in enumerate(parts)
    ]
    return reduce(lambda above, below: above.vstack(below), named)


def parted(draws, n_draws):
    """The draws that are in one array or frame."""
    if isinstance(draws, np.ndarray):
        return list(draws)
    size = len(draws) // n_draws
    parts = [draws[k * size : (k + 1) * size] for k in range(n_draws)]
    if isinstance(draws, pd.DataFrame):
        return [part.droplevel(0) for part in parts]
    return [part.drop("draw") for part in parts]
