"""Figures of `image_parts.py`: what is measured of one arm in one world and seed."""

import warnings

import numpy as np
from _part_arms import ARMS, PATCH, fitted, make_rows, sources_of
from _validity_cells import cached
from extrapolation import counterfactual_error
from scipy.ndimage import gaussian_filter

from sklearn_icm.interventions import Stretch
from sklearn_icm.metrics import make_appearance_scorer, make_extrapolation_scorer

STRETCHES = (1.25, 1.5)
RESIDUAL = {"kept": "keep", "dropped": "drop"}
USUAL, MOVED = "usual", "moved"
# Arms that need no fit: rows as they are, their pixels, and these with the blur and the
# shrinkage towards the mean of the truth that are best in hindsight.
IDENTITY, PIXELS, HINDSIGHT = "rows as they are", "pixels", "pixels, hindsight"
UNFITTED = (IDENTITY, PIXELS, HINDSIGHT)
BLURS = (0.0, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0)


def figures(world, arm, seed, strongest):
    """``{figure: float}`` of an arm, from disk if they are there."""
    if arm in UNFITTED:
        return of_rows(world, arm, seed)

    def make():
        model, seconds = fitted(world, arm, seed, strongest)
        rows, (_, choose, judge) = make_rows(world, seed)
        change = {s: ARMS[arm].change(rows, s) for s in STRETCHES}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = {
                **errors(model, change, rows, judge),
                **scores(model, change, rows, choose),
            }
        history = model.history_
        found["loss"] = float(history[["reconstruction", "kl"]].iloc[-1].sum())
        return {k: np.array(v) for k, v in {**found, "fit": seconds}.items()}

    sources = sources_of(
        world, arm, strongest, files=("_part_figures.py",), more=("metrics",)
    )
    kept = cached(world, seed, f"{arm}-{strongest:g}-figures", sources, make)
    return {k: float(v) for k, v in kept.items()}


def errors(model, change, rows, judge):
    """Errors of counterfactuals of the judged rows."""
    X = rows.render(1.0)[judge]
    found = {
        f"{name} {s:g}": counterfactual_error(
            model.intervene(change[s], X=X, residual=residual),
            rows.render(s)[judge],
        )
        for s in STRETCHES
        for name, residual in RESIDUAL.items()
    }
    found["rows"] = counterfactual_error(model.intervene({}, X=X, residual="drop"), X)
    return found


def scores(model, change, rows, choose):
    """What a search may see: both halves without an environment, and skills with it."""
    found, X = {}, rows.render(1.0)[choose]
    for s in STRETCHES:
        for name, residual in RESIDUAL.items():
            scorer = make_appearance_scorer(
                change[s], residual=residual, patch_size=PATCH
            )
            ratios = scorer.components(model, X)["ratio"].droplevel("change")
            found |= {f"{half} {name} {s:g}": ratios[half] for half in ratios.index}
        found[f"skill {s:g}"] = skill(model, change[s], rows, choose, s)
    return found


def skill(model, change, rows, choose, stretch):
    """Of the scorer that sees an environment; its rows are no mates of the others."""
    X, moved = rows.render(1.0)[choose], rows.render(stretch)[choose]
    half = len(X) // 2
    labels = np.repeat([USUAL, MOVED], [half, len(X) - half])
    scorer = make_extrapolation_scorer({MOVED: change}, observational=USUAL)
    return scorer(model, np.concatenate([X[:half], moved[half:]]), labels)


def of_rows(world, arm, seed):
    """Errors, and skills where a model is not asked for its own, of an unfitted arm."""
    rows, (_, choose, judge) = make_rows(world, seed)
    X, found = rows.render(1.0), {}
    for s in STRETCHES:
        truth = rows.render(s)
        predicted = X if arm == IDENTITY else rows.pixels(X, s)
        if arm == HINDSIGHT:
            error = hindsight_error(predicted[judge], truth[judge], rows.data_shape)
        else:
            error = counterfactual_error(predicted[judge], truth[judge])
        found |= {f"{name} {s:g}": error for name in RESIDUAL}
    if arm != HINDSIGHT:
        model, _ = fitted(world, "default", seed)
        for s in STRETCHES:
            moves = {} if arm == IDENTITY else {"data": Stretch(s, axis=rows.axis)}
            found[f"skill {s:g}"] = skill(model, moves, rows, choose, s)
    return found


def hindsight_error(predicted, truth, shape):
    """Least error over blurs and shrinkages towards the mean of the truth."""
    mean, found = truth.mean(0), []
    for sd in BLURS:
        images = predicted.reshape(len(predicted), *(*shape, 1)[:3])
        blurred = gaussian_filter(images, (0, sd, sd, 0)) if sd else images
        away, goal = blurred.reshape(truth.shape) - mean, truth - mean
        shrunk = mean + (away * goal).sum() / np.square(away).sum() * away
        found.append(counterfactual_error(shrunk, truth))
    return min(found)
