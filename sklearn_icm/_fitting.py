"""The fit half of every generator: from rows to one value that holds all of a fit."""

import copy
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from numbers import Integral, Real
from typing import Any
from warnings import warn

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from ._training import seeds
from ._training.device import resolve_device
from ._training.progress import Progress
from ._training.together import are_alike, can_train_together, train_together
from ._training.trainer import OPTIMIZERS, Trainer
from .exceptions import FitInterruptedWarning
from .models import GenerativeModel
from .models import _state as state
from .rows._batches import Rows
from .rows._columns import (
    check_fits_float32,
    fingerprint,
    plain_rows,
    refuse_text_and_times,
)
from .rows._frames import plain_array
from .rows._space import Space
from .utils._sklearn import Interval, StrOptions, fit_context, is_fold_of_search
from .utils.checks import plain, unchanged_on_error
from .utils.documentation import DocumentedMixin
from .utils.environments import find_rows, resolve_environments
from .utils.streams import Streams, new_entropy

# Of the parameters that families share; each takes those that it has.
CONSTRAINTS = {
    "data_shape": [tuple, list, None],
    "data_kind": [StrOptions({"auto", "table", "signal", "image"})],
    "icm_penalty": [str, callable, None],
    "icm_weight": [Interval(Real, 0, None, closed="left")],
    "icm_warmup": [Interval(Integral, 0, None, closed="left")],
    "observational": "no_validation",
    "bounds": [StrOptions({"data"}), tuple, list, None],
    "max_epochs": [Interval(Integral, 1, None, closed="left")],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "lr": [Interval(Real, 0, None, closed="neither")],
    "lr_schedule": [StrOptions({"one-cycle", "constant"})],
    "optimizer": [StrOptions(set(OPTIMIZERS))],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "early_stopping": ["boolean"],
    "validation_fraction": [
        StrOptions({"auto"}),
        Interval(Real, 0, 1, closed="left"),
    ],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "callbacks": [list, None],
    "device": [str],
    "warm_start": ["boolean"],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}
# Those of them that shape a model.
SHAPING = {"data_shape", "data_kind"}


def warn_of_interrupt(done, wanted):
    """Warn that Ctrl-C ended a fit; fail the fold that a search would rank."""
    interrupted = FitInterruptedWarning(done, wanted)
    if is_fold_of_search():
        raise interrupted
    warn(interrupted, stacklevel=5)


@dataclass(frozen=True, eq=False)
class Fitted:
    """All that a fit leaves.

    Parameters
    ----------
    model : GenerativeModel
    space : Space
        What the rows were.
    progress : Progress
        What training goes on from.
    entropy : int
        Of all randomness of the fit.
    params : dict
        Parameters that shaped the model.
    fingerprint : ndarray
        Of the rows.
    rows : ndarray, optional
        Some of these, if the family asks about them later.
    """

    model: GenerativeModel
    space: Space
    progress: Progress
    entropy: int
    params: Mapping[str, Any]
    fingerprint: np.ndarray
    rows: np.ndarray | None = None

    def to_tree(self) -> dict[str, Any]:
        """All of it in values that hold no tensors."""
        return {
            **{
                k: getattr(self, k) for k in ("space", "entropy", "fingerprint", "rows")
            },
            "params": state.packed(self.params),
            "progress": self.progress.to_tree(),
            "arrays": state.to_arrays(self.model),
            "appearance": state.appearance(self.model),
        }


class TrainedEstimator(DocumentedMixin, BaseEstimator):
    """Estimator that trains a model, which subclasses build by ``_build(space)``."""

    __metadata_request__fit = {"environments": True}
    __metadata_request__partial_fit = {"environments": True}

    _parameter_constraints = CONSTRAINTS

    # What a family has that has no parameter for it; for training see `Trainer`.
    data_shape, data_kind, bounds, observational = None, "auto", None, None
    warm_start, device, random_state = False, "auto", None

    def set_params(self, **params):
        """Set parameters, nested ones such as ``icm_penalty__form`` too.

        Parameters
        ----------
        **params : dict

        Returns
        -------
        self : object
        """
        nested = [key for key in params if key.startswith("icm_penalty__")]
        penalty = params.get("icm_penalty", getattr(self, "icm_penalty", None))
        if nested and not hasattr(penalty, "set_params"):
            raise ValueError(
                f"{nested[0]!r} needs a penalty object, but icm_penalty is "
                f"{penalty!r}: set it first, such as icm_penalty=SpectralPenalty()."
            )
        return super().set_params(**params)

    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, environments=None):
        """Fit the generator to the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least two rows of finite numbers, C order if `data_shape` is given. A
            `numpy.memmap` is read batch by batch, never as a whole (but the rows that
            `observational` selects are copied into memory).
        y, environments : array-like of shape (n_samples,), optional
            Environment labels. Only the rows labelled `observational` are fitted (and
            those that `targets` names); without either the labels are ignored.

        Returns
        -------
        self : object

        Raises
        ------
        FitDivergedError
            If a loss term becomes infinite or NaN; the last finite model is kept.

        Warns
        -----
        FitInterruptedWarning
            If Ctrl-C ended the fit early; the model is usable. In a fold of a search it
            is raised instead, so that no unfinished model is ranked.
        """
        return self._fit(X, y, environments)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, environments=None):
        """Make one pass over the rows of X, keeping what was learned before.

        ``bounds="data"`` widen to the new rows, and what is fitted after training (the
        density of latents, variances) goes by a sample in which earlier rows fade.

        Parameters are those of `fit`, and so are the errors.

        Returns
        -------
        self : object
        """
        return self._fit(X, y, environments, one_pass=True)

    def _fit(self, X, y, environments, *, one_pass=False, **beside):
        before = None
        if (one_pass or self.warm_start) and self.__sklearn_is_fitted__():
            before = self._fitted
        with unchanged_on_error(self):
            rows, space = self._rows_to_fit(X, y, environments, before, **beside)
            doubts = self._train(rows, space, before, one_pass=one_pass)
        for doubt in doubts:
            warn(doubt, stacklevel=4)
        return self

    def _rows_to_fit(self, X, y, environments, before):
        """Rows to fit, checked, and the space of their columns."""
        labels = None
        space = self._columns_of(X) if before is None else before.space
        if self.observational is not None:
            X = plain_rows(X)
            labels = resolve_environments(
                X, y, environments, required_by=f"observational={self.observational!r}"
            )
        elif y is not None and environments is not None:
            resolve_environments(plain_rows(X), y, environments)
        X = self._check_rows(
            X, space, reset=before is None, order="C", ensure_min_samples=2
        )
        if labels is not None:
            X = X[find_rows(labels, self.observational)]
            if len(X) < 2:
                raise ValueError(
                    f"observational={plain(self.observational)!r} labels {len(X)} "
                    "row; at least 2 are needed to fit."
                )
        return Rows(X), space

    def _check_rows(self, X, space=None, *, reset=False, **options):
        """Validate rows of a space: finite numbers, within the range of float32."""
        X = plain_rows(X)
        named = self._check_names(X, reset)
        return self._check_numbers(plain_array(X), named, reset=reset, **options)

    def _check_names(self, X, reset):
        """Validate the names of a frame; say whether it is one."""
        named = hasattr(X, "columns")
        if named:
            validate_data(self, X, reset=reset, skip_check_array=True)
        return named

    def _check_numbers(self, X, named, *, reset, **options):
        refuse_text_and_times(X)
        if getattr(X, "ndim", 2) > 2:
            raise ValueError(
                f"Found array with dim {X.ndim}, while rows of numbers (dim 2) are "
                "required: flatten them, X.reshape(len(X), -1), and give their shape "
                "as data_shape."
            )
        options["dtype"] = [np.float64, np.float32]
        if named:
            X = check_array(X, estimator=self, input_name="X", **options)
        else:
            X = validate_data(self, X, reset=reset, **options)
        check_fits_float32(X)
        return X

    @torch.inference_mode(False)
    @torch.enable_grad()
    def _train(self, rows, space, before, *, one_pass):
        """Train, keep what that leaves, and return warnings of what is doubtful."""
        trainer, renew = self._trainer(rows, one_pass), one_pass and before is not None
        if before is None:
            fitted, opened = self._started(rows, space)
        else:
            fitted, opened = self._continued(rows, before, trainer, renew)
        model, earlier, streams = fitted.model, fitted.progress, Streams(fitted.entropy)
        seen, held_out = trainer.split(opened.to(model.spread.device), streams)
        progress, diverged = trainer.fit(model, seen, held_out, streams, earlier)
        doubts, interrupted = (), progress.going.left > 0
        try:
            doubts = model.eval().finish(seen, streams, renew=renew)
        except KeyboardInterrupt:
            interrupted = True
        self._keep(replace(fitted, progress=progress), rows, renew)
        if diverged is not None:
            raise diverged
        if interrupted:
            warn_of_interrupt(*progress.made_since(earlier))
        return [] if one_pass else [*doubts, *self._own_doubts(len(rows))]

    def _keep(self, fitted, rows, renew=False):
        self._fitted = replace(fitted, rows=self._some_rows(rows, fitted, renew))

    @property
    def __refits_train_together__(self):
        """Whether refits of a fitted estimator can be trained as one."""
        return can_train_together(Trainer.of(self), self._fitted.model)

    @torch.inference_mode(False)
    @torch.enable_grad()
    def __fit_together__(self, refits, samples):
        """Fit clones that differ in their seeds alone, each to rows of its own.

        Their models are trained as one, which takes a fraction of the time: steps on
        small tables are calls of torch more than numbers.

        Parameters
        ----------
        refits : list of estimators
            Such as can be trained as one.
        samples : list of (X, labels)
            Of equal length.

        Returns
        -------
        bool
            Whether they are fitted: models of different form are not.

        Raises
        ------
        FitDivergedError
            If one of them diverges.
        KeyboardInterrupt
        """
        pairs = zip(refits, samples, strict=True)
        steps = [own.__fit_steps__(*sample) for own, sample in pairs]
        models, rows, streams = zip(*map(next, steps), strict=True)
        if not are_alike(models, rows):
            return False
        found = train_together(Trainer.of(self).over(rows[0]), models, rows, streams)
        for own, progress in zip(steps, found, strict=True):
            with suppress(StopIteration):
                own.send(progress)
        return True

    def __fit_steps__(self, X, labels):
        """Yield what is to be trained, take its progress, and fit what comes after."""
        rows, space = self._rows_to_fit(X, labels, None, None)
        fitted, opened = self._started(rows, space)
        model, streams = fitted.model, Streams(fitted.entropy)
        seen = opened.to(model.spread.device)
        progress = yield model, seen, streams
        model.eval().finish(seen, streams)
        self._keep(replace(fitted, progress=progress), rows)

    def _started(self, rows, space):
        """What a fresh fit starts from, and the rows as it sees them."""
        entropy, self.random_state_ = new_entropy(self.random_state)
        params = {"device": self.device, **self._shaping()}
        names = getattr(self, "feature_names_in_", None)
        space = self._make_space(rows, space)
        space = replace(space, names=None if names is None else list(names))
        model = self._built(space, entropy)
        opened = rows.arranged(model.layout.to_node)
        model.likelihood.names = names
        opened = model.prepare(opened, Streams(entropy))
        model = model.to(resolve_device(self.device))
        params = {name: state.kept(value) for name, value in params.items()}
        kept = fingerprint(rows.x)
        return Fitted(model, space, Progress(), entropy, params, kept), opened

    def _continued(self, rows, before, trainer, renew):
        """What a training goes on from: copies, so that a failure changes nothing."""
        for name, asked in self._shaping().items():
            kept = before.params[name]
            if kept is not asked and state.comparable(kept) != state.comparable(asked):
                raise ValueError(
                    f"{name} cannot change from {kept!r} to {asked!r} while training "
                    "continues. Set it back, or fit afresh with warm_start=False."
                )
        model, progress = copy.deepcopy(before.model), before.progress
        kept = fingerprint(rows.x)
        same = np.array_equal(kept, before.fingerprint, equal_nan=True)
        if not (same and progress.is_of(trainer.plan())):
            progress = progress.ended()
        opened = rows.arranged(model.layout.to_node)
        self._adapt(model)
        device = model.spread.device
        # Units and sums are of doubles, which some devices do not have.
        opened = model.cpu().resume(opened, Streams(before.entropy), renew=renew)
        state.restore(model, progress.going.weights)
        return (
            replace(
                before,
                model=model.to(device),
                space=before.space.widened(rows.x),
                progress=progress,
                fingerprint=kept,
            ),
            opened,
        )

    def _built(self, space, entropy):
        """Model of the rows of a space, untrained."""
        model = seeds.build_seeded(lambda: self._build(space), entropy)
        shape, layout = model.graph.nodes[model.graph.data_node], space.layout
        model.layout = (
            layout if shape == layout.node_shape else layout.adapted_to(shape)
        )
        return model

    # ---------------------------------------------- what a family may say anew
    @property
    def _architecture_names(self):
        """Parameters that shape the model: all that are not common to families.

        They cannot change between a fit and its continuation, and are kept with the
        fitted state.
        """
        own = self.get_params(deep=False)
        return [k for k in own if k not in CONSTRAINTS or k in SHAPING]

    def _shaping(self):
        """What shapes the model, in forms that can be compared."""
        return {name: getattr(self, name) for name in self._architecture_names}

    def _columns_of(self, X):
        """What is known of columns before they are numbers."""
        return Space()

    def _make_space(self, rows, space):
        """Space of rows that were checked."""
        return space.of(rows.x, self.data_shape, self.data_kind, self.bounds)

    def _trainer(self, rows, one_pass):
        """Who trains."""
        trainer = Trainer.of(self).over(rows)
        return trainer.one_pass() if one_pass else trainer

    def _adapt(self, model):
        """Tell a model that goes on of parameters that do not shape it."""

    def _some_rows(self, rows, fitted, renew):
        """Fitted rows that are asked about later: none."""
        return

    def _own_doubts(self, n_rows):
        """What a family doubts about its fit beside what its model says."""
        return []

    def was_fitted_on(self, X):
        """Whether the last fit saw exactly the rows X, in this order.

        Scorers use it to tell a search's training folds from its test folds.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        bool
        """
        check_is_fitted(self)
        X = plain_rows(X)
        if not len(X) or np.shape(X)[1:] != (self.n_features_in_,):
            return False
        rows = self._check_rows(
            self._fitted.space.named(X), ensure_all_finite="allow-nan"
        )
        # A transformer's fit_transform and transform may differ in the last digits.
        return np.allclose(
            fingerprint(rows), self._fitted.fingerprint, rtol=1e-5, equal_nan=True
        )

    def __getstate__(self):
        kept = state.packed(super().__getstate__())
        if self.__sklearn_is_fitted__():
            kept |= {"_fitted": self._fitted.to_tree(), "_versions": state.VERSIONS}
        return kept

    def __setstate__(self, kept):
        kept = state.unpacked(kept)
        tree = kept.pop("_fitted", None)
        if tree is None:
            super().__setstate__(kept)
            return
        state.warn_of_versions(type(self).__name__, kept.pop("_versions", {}))
        params, space = state.unpacked(tree["params"]), tree["space"]
        # Parameters may have been set after the fit: build with those of the fit.
        super().__setstate__({**kept, **params})
        model = self._built(space, 0)
        state.load_arrays(model, tree["arrays"], tree["appearance"])
        device = resolve_device(params["device"], fallback="cpu")
        super().__setstate__(kept)
        self._fitted = Fitted(
            model.to(device).eval(),
            space,
            Progress.of_tree(tree["progress"]),
            tree["entropy"],
            params,
            tree["fingerprint"],
            tree["rows"],
        )
