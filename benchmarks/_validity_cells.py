"""Cells of `score_validity.py`: a world, a seed, and all predictions of it, on disk.

A cell holds what a score may see (`X_obs`, `X_env`, `X_train`, predictions) and what
it may not (`truth`). Its parts, the rows and one file per fitted model, are kept in
``.cache`` beside this file, by the sources that made them.
"""

import hashlib
import json
import os
import time
import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from _validity_predictors import unfitted

import sklearn_icm

N_TRAIN, N_OBS, N_ENV = 1000, 500, 500
N_CANDIDATES = 8
HERE = Path(__file__).parent
CACHE = HERE / ".cache"
# What a fit, its samples and its counterfactuals depend on.
SOURCES = (
    "generators",
    "mechanisms",
    "independence",
    "interventions",
    "datasets",
    "_training",
    "models",
    "rows",
    "_fitting.py",
    "base.py",
    "_counterfactual.py",
)


def one_unit(rows):
    return 1.0


def nothing_known(rows):
    return {}


@dataclass
class World:
    """Rows of a world, the models that are fitted to them, and how each is asked.

    usual, moved : ndarray (n, n_columns)
        Paired rows, usually ``N_TRAIN + N_OBS + N_ENV``, as the models take them.
    models : dict of str to callable
        ``fit(X)`` of the name, which gives a fitted generator.
    candidates : dict of str to (model, change, residual)
        ``change(fitted)`` gives the interventions; residual "keep" or "drop". The first
        `N_CANDIDATES` are chosen from, the rest are predictors only.
    at_data : callable, optional
        The same change of observational rows.
    numeric : callable
        Columns in which distances are taken, of rows as the models take them.
    units : callable
        Units of these columns, by observational rows.
    known : callable
        Slice of rows to keywords of `intervene` about their noise.
    """

    kind: str
    data_shape: tuple | None
    usual: np.ndarray
    moved: np.ndarray
    models: dict
    candidates: dict
    at_data: object = None
    circular: bool = False
    numeric: object = np.asarray
    units: object = one_unit
    known: object = nothing_known


@dataclass
class Cell:
    """One world under one seed.

    Rows are numeric; ``predictions`` are counterfactuals of `X_obs`, ``draws`` rows of
    changed models, ``in_law`` rows that share the truth's law (or half of its modes)
    but not its pairs; ``candidates`` names the predictions of fitted models.
    """

    world: str
    seed: int
    kind: str
    data_shape: tuple | None
    units: object
    X_train: np.ndarray
    X_obs: np.ndarray
    X_env: np.ndarray
    truth: np.ndarray
    predictions: dict
    in_law: dict
    draws: dict
    candidates: list
    seconds: dict

    def scaled(self, rows):
        """Rows in the units of the observational ones."""
        return rows / self.units

    def error(self, rows):
        """Of paired rows: 0 is exact, 1 as good as the mean row."""
        truth = self.scaled(self.truth)
        spread = np.square(truth - truth.mean(0)).sum()
        return float(np.square(self.scaled(rows) - truth).sum() / spread)

    @cached_property
    def errors(self):
        return {name: self.error(rows) for name, rows in self.predictions.items()}


@dataclass(frozen=True)
class Sources:
    """What arrays on disk depend on: files of this folder, parameters, the package.

    Of the package: `SOURCES`, and `more` of it.
    """

    files: tuple
    params: str
    more: tuple = ()

    def hash(self):
        return source_hash(self.files, self.params, self.more)


@cache
def source_hash(files, params, more):
    package = Path(sklearn_icm.__file__).parent
    paths = [HERE / f for f in files]
    for name in (*SOURCES, *more):
        path = package / name
        paths += sorted(path.rglob("*.py")) if path.is_dir() else [path]
    text = b"".join(p.read_bytes() for p in paths)
    about = repr((N_TRAIN, N_OBS, N_ENV, params)).encode()
    return hashlib.sha256(text + about).hexdigest()[:12]


def cached(world, seed, arm, sources, make, stale=False):
    """Arrays of one arm: from disk, or made and kept there.

    ``stale`` takes what was made by other sources, the latest, if there is any.
    """
    stem = f"{world}-{seed}-{arm}".replace(" ", "_")
    path = CACHE / f"{stem}-{sources.hash()}.npz"
    if stale and not path.exists():
        found = sorted(CACHE.glob(f"{stem}-" + "?" * 12 + ".npz"), key=os.path.getmtime)
        path = found[-1] if found else path
    if path.exists():
        with np.load(path) as file:
            return dict(file)
    start = time.perf_counter()
    arrays = make()
    arrays["seconds"] = np.array(time.perf_counter() - start)
    CACHE.mkdir(exist_ok=True)
    # Under another name first: a run that is stopped leaves no half of a file.
    temporary = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(temporary, **arrays)
    temporary.replace(path)
    return arrays


def make_cell(name, maker, seed, sources, stale=False):
    """The cell of a world, whose parts are made if they are not on disk.

    maker : ``maker(seed)`` gives a `World`; sources : what it depends on.
    """
    made = cache(lambda: maker(seed))
    of_rows = Sources((*sources.files, "_validity_predictors.py"), sources.params)
    rows = cached(name, seed, "rows", of_rows, lambda: rows_arm(made(), seed), stale)
    about = json.loads(str(rows["about"]))
    shape = about["data_shape"]
    cell = Cell(
        name,
        seed,
        about["kind"],
        None if shape is None else tuple(shape),
        rows["units"] if rows["units"].ndim else float(rows["units"]),
        *(rows[k] for k in ("X_train", "X_obs", "X_env", "truth")),
        predictions=part(rows, "predictions"),
        in_law=part(rows, "in_law"),
        draws={},
        candidates=about["candidates"],
        seconds={"rows": float(rows["seconds"])},
    )
    for arm in about["models"]:
        found = cached(
            name, seed, arm, sources, lambda arm=arm: model_arm(made(), arm), stale
        )
        cell.predictions |= part(found, "predictions")
        cell.draws |= part(found, "draws")
        cell.seconds[arm] = float(found["seconds"])
    return cell


def part(arrays, kind):
    start = f"{kind}/"
    return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}


def split_rows(world):
    """Slices of training, observational and environment rows.

    What is not for training is for both in equal parts.
    """
    half = (len(world.usual) - N_TRAIN) // 2
    ends = np.cumsum([0, N_TRAIN, half, half])
    return [slice(a, b) for a, b in zip(ends, ends[1:], strict=False)]


def rows_arm(world, seed):
    train, obs, env = split_rows(world)
    X_obs, truth, X_env = map(
        world.numeric, (world.usual[obs], world.moved[obs], world.moved[env])
    )
    predictions, in_law = unfitted(world, X_obs, truth, X_env, seed)
    about = {
        "kind": world.kind,
        "data_shape": world.data_shape,
        "models": list(world.models),
        "candidates": list(world.candidates)[:N_CANDIDATES],
    }
    rows = {
        "X_train": world.numeric(world.usual[train]),
        "X_obs": X_obs,
        "X_env": X_env,
        "truth": truth,
        **{f"predictions/{k}": v for k, v in predictions.items()},
        **{f"in_law/{k}": v for k, v in in_law.items()},
    }
    units = np.asarray(world.units(X_obs))
    return {**as_float32(rows), "units": units, "about": np.array(json.dumps(about))}


def model_arm(world, arm):
    """Fit one model; its counterfactuals, and draws of each change."""
    train, obs, _ = split_rows(world)
    arrays, drawn = {}, {}
    with warnings.catch_warnings():
        # Collapsed and clipped models are asked for.
        warnings.simplefilter("ignore", UserWarning)
        model = world.models[arm](world.usual[train])
        for name, (of, change, residual) in world.candidates.items():
            if of != arm:
                continue
            interventions = change(model)
            arrays[f"predictions/{name}"] = model.intervene(
                interventions,
                X=world.usual[obs],
                residual=residual,
                random_state=0,
                **world.known(obs),
            )
            # What is left of a row tells nothing about draws.
            drawn.setdefault(change, name)
        for change, name in drawn.items():
            arrays[f"draws/{name}"] = model.intervene(
                change(model), n_samples=N_OBS, random_state=0
            )
    return as_float32({k: world.numeric(v) for k, v in arrays.items()})


def as_float32(arrays):
    return {k: np.asarray(v, dtype=np.float32) for k, v in arrays.items()}
