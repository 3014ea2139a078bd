"""The fit half of every generator: parameters of training, `fit`, and the state."""

import copy
from dataclasses import replace
from functools import partial
from numbers import Integral, Real
from warnings import warn

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch.callbacks import EarlyStopping, PrintLog
from torch import nn

from ..exceptions import FitInterruptedWarning
from ..independence._penalties import checked_penalty
from ..rows._batches import Rows
from ..rows._columns import plain_rows, rows_of_numbers
from ..rows._space import Space
from ..utils._sklearn import Interval, StrOptions, fit_context, is_fold_of_search
from ..utils.checks import plain, unchanged_on_error
from ..utils.environments import find_rows, resolve_environments
from ..utils.rows import check_fits_float32, fingerprint
from ..utils.streams import new_entropy, torch_stream, torch_streams
from . import seeds, state
from .device import resolve_device
from .net import OPTIMIZERS, GeneratorNet
from .penalty import PenaltyTerms
from .progress import ProgressLine

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


class TrainedEstimator(BaseEstimator):
    """Estimator that trains a model, which subclasses build by ``_build(space)``."""

    __metadata_request__fit = {"environments": True}
    __metadata_request__partial_fit = {"environments": True}

    _parameter_constraints = CONSTRAINTS

    # What a family has that has no parameter for it.
    data_shape, data_kind, bounds, observational = None, "auto", None, None
    icm_penalty, icm_weight, icm_warmup = None, 0.0, 0
    max_epochs, batch_size, warm_start, device = 200, 128, False, "auto"
    lr, lr_schedule, optimizer, weight_decay = 2e-3, "one-cycle", "adam", 0.0
    early_stopping, validation_fraction, n_iter_no_change, tol = False, "auto", 10, 1e-4
    callbacks, random_state, verbose = None, None, 0

    @property
    def _architecture_names(self):
        """Parameters that shape the model: all that are not common to families.

        They cannot change between a fit and its continuation, and are kept with the
        fitted state.
        """
        own = self.get_params(deep=False)
        return [k for k in own if k not in CONSTRAINTS or k in SHAPING]

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
        penalty = params.get("icm_penalty", self.icm_penalty)
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
            Environment labels. Only the rows labelled `observational` are fitted;
            without `observational` the labels are ignored.

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
        fresh = not (self.warm_start and self.__sklearn_is_fitted__())
        with unchanged_on_error(self):
            rows = self._rows_to_fit(X, y, environments, reset=fresh)
            doubts = self._train(rows, int(self.max_epochs), fresh=fresh)
        for doubt in doubts:
            warn(doubt, stacklevel=3)
        return self

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
        fresh = not self.__sklearn_is_fitted__()
        with unchanged_on_error(self):
            rows = self._rows_to_fit(X, y, environments, reset=fresh)
            self._train(rows, 1, fresh=fresh, one_pass=True)
        return self

    def __sklearn_is_fitted__(self):
        return getattr(self, "_module", None) is not None

    def _rows_to_fit(self, X, y, environments, *, reset):
        labels = None
        if reset:
            self._space = Space()
        if self.observational is not None:
            X = plain_rows(X)
            labels = resolve_environments(
                X, y, environments, required_by=f"observational={self.observational!r}"
            )
        elif y is not None and environments is not None:
            resolve_environments(plain_rows(X), y, environments)
        X = self._check_rows(X, reset=reset, order="C", ensure_min_samples=2)
        if labels is not None:
            X = X[find_rows(labels, self.observational)]
            if len(X) < 2:
                raise ValueError(
                    f"observational={plain(self.observational)!r} labels {len(X)} "
                    "row; at least 2 are needed to fit."
                )
        return Rows(X)

    def _check_rows(self, X, *, reset=False, **options):
        """Validate rows: finite float32 or float64, within the range of float32."""
        X = rows_of_numbers(X)
        if getattr(X, "ndim", 2) > 2:
            raise ValueError(
                f"Found array with dim {X.ndim}, while rows of numbers (dim 2) are "
                "required: flatten them, X.reshape(len(X), -1), and give their shape "
                "as data_shape."
            )
        X = validate_data(
            self, X, dtype=[np.float64, np.float32], reset=reset, **options
        )
        check_fits_float32(X)
        return X

    @torch.inference_mode(False)
    @torch.enable_grad()
    def _train(self, rows, epochs, *, fresh, one_pass=False):
        """Train, keep the model, and return warnings of what makes it doubtful."""
        X = rows.x
        rows, module = self._start(rows) if fresh else self._continue(rows)
        device = module.spread.device
        rows = rows.to(device)
        fraction = 0 if one_pass else self._fraction_held_out()
        fitted, held_out = rows, None
        if fraction:
            stream = torch_stream(self._entropy, "validation")
            fitted, held_out = rows.split(fraction, stream)
        if not any(weight.requires_grad for weight in module.parameters()):
            # Nothing is trained: one pass for the history.
            epochs = 1
        done = 0 if fresh else self.n_iter_
        foreign = seeds.foreign_draws(
            module, self.icm_penalty, self._entropy, f"modules {done}"
        )
        with foreign:
            penalty = checked_penalty(self.icm_penalty, module.graph, self.icm_weight)
            net = self._make_net(
                module, penalty, device, epochs, fresh=fresh, one_pass=one_pass
            )
            diverged = net.train_epochs(fitted, held_out, epochs)
        self._set_fitted(X, module, net, net.history_columns())
        # Not from the history: a callback may go back to an earlier one.
        interrupted = net.epochs_done < epochs and not net.stopped_early
        doubts = ()
        try:
            renew = one_pass and not fresh
            doubts = module.finish(fitted, self._entropy, renew=renew)
        except KeyboardInterrupt:
            interrupted = True
        if diverged is not None:
            raise diverged
        if interrupted:
            warn_of_interrupt(net.epochs_done, epochs)
        return [] if one_pass else [*doubts, *self._own_doubts(module, len(X))]

    def _own_doubts(self, module, n_rows):
        """What a family doubts about its fit beside what its model says."""
        return []

    def _fraction_held_out(self):
        fraction = self.validation_fraction
        if fraction == "auto":
            fraction = 0.1 if self.early_stopping else 0
        if self.early_stopping and fraction == 0:
            raise ValueError(
                "early_stopping=True needs held-out rows: set validation_fraction to "
                "more than 0 (or 'auto'), got 0."
            )
        return fraction

    def _set_fitted(self, X, module, training=None, history=None):
        """Keep what a fit leaves; ``training`` is what a continuation goes on with."""
        self._module, self._net = module.eval(), training
        self._history = history or {}
        self.n_iter_ = len(self._history.get("loss", ()))
        self._fitted_on = fingerprint(X)

    def _start(self, rows):
        """Build everything that a fresh fit starts from; return data and module."""
        self._entropy, self.random_state_ = new_entropy(self.random_state)
        self._architecture = {
            name: _kept(getattr(self, name))
            for name in ("device", *self._architecture_names)
        }
        names = getattr(self, "feature_names_in_", None)
        space = self._make_space(rows.x)
        self._space = replace(space, names=None if names is None else list(names))
        module = self._built(self._entropy)
        opened = rows.arranged(module.layout.to_node)
        module.likelihood.names = names
        module.prepare(opened)
        return opened, module.to(resolve_device(self.device))

    def _built(self, entropy):
        """Model of the rows of the space, untrained."""
        model = seeds.build_seeded(lambda: self._build(self._space), entropy)
        shape, layout = model.graph.nodes[model.graph.data_node], self._space.layout
        model.layout = (
            layout if shape == layout.node_shape else layout.adapted_to(shape)
        )
        return model

    def _continue(self, rows):
        """Return data and a copy of the module, so that a failure changes nothing."""
        for name in self._architecture_names:
            kept, asked = self._architecture[name], getattr(self, name)
            if kept is not asked and _comparable(kept) != _comparable(asked):
                raise ValueError(
                    f"{name} cannot change from {kept!r} to {asked!r} while training "
                    "continues. Set it back, or fit afresh with warm_start=False."
                )
        module = copy.deepcopy(self._module)
        opened = rows.arranged(module.layout.to_node)
        module.likelihood.check(opened.x)
        self._space = self._space.widened(rows.x)
        return opened, module

    def _make_net(self, module, penalty, device, epochs, *, fresh, one_pass):
        """Return the net that trains, with what is kept of earlier training."""
        callbacks = _checked_callbacks(self.callbacks)
        if self.early_stopping and not one_pass:
            stopping = EarlyStopping(
                patience=self.n_iter_no_change,
                threshold=self.tol,
                threshold_mode="abs",
                load_best=True,
                sink=lambda text: None,
            )
            callbacks.append(stopping)
        if self.verbose:
            callbacks.append(ProgressLine(epochs))
        streams = torch_streams(self._entropy, "penalty", "batches")
        net = GeneratorNet(
            module,
            optimizer=OPTIMIZERS[self.optimizer],
            optimizer__weight_decay=float(self.weight_decay),
            optimizer__fused=device.type in {"cpu", "cuda"} or None,
            lr=float(self.lr),
            max_epochs=epochs,
            callbacks=callbacks,
            device=device,
            # skorch's own messages, among them the table that is asked for.
            verbose=int(any(isinstance(c, PrintLog) for c in callbacks)),
            notifies_batches=bool(self.callbacks),
            penalty=PenaltyTerms(penalty, streams[0]),
            weight=self.icm_weight,
            warmup=self.icm_warmup,
            generator=streams[1],
            one_cycle=not one_pass and self.lr_schedule == "one-cycle",
            batch_size=int(self.batch_size),
        )
        if fresh:
            return net.continued(None, {})
        return net.continued(self._net, self._history)

    def _make_space(self, X):
        """Space of rows that were checked."""
        return self._space.of(X, self.data_shape, self.data_kind, self.bounds)

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
        rows = self._check_rows(self._space.named(X), ensure_all_finite="allow-nan")
        # A transformer's fit_transform and transform may differ in the last digits.
        return np.allclose(
            fingerprint(rows), self._fitted_on, rtol=1e-5, equal_nan=True
        )

    def __getstate__(self):
        held = super().__getstate__()
        kept = state.packed(
            {k: v for k, v in held.items() if k not in {"_module", "_net"}}
        )
        if self.__sklearn_is_fitted__():
            kept["_architecture"] = state.packed(self._architecture)
            kept["_arrays"] = state.to_arrays(self._module)
            kept["_appearance"] = state.appearance(self._module)
            kept["_versions"] = dict(state.VERSIONS)
        return kept

    def __setstate__(self, kept):
        kept = state.unpacked(kept)
        if "_architecture" not in kept:
            super().__setstate__(kept)
            return
        state.warn_of_versions(type(self).__name__, kept.pop("_versions", {}))
        arrays, shown = kept.pop("_arrays", {}), kept.pop("_appearance", "")
        as_fitted = kept["_architecture"] = state.unpacked(kept["_architecture"])
        # Parameters may have been set after the fit: build with those of the fit.
        super().__setstate__({**kept, **as_fitted})
        module = self._built(0)
        state.load_arrays(module, arrays, shown)
        device = resolve_device(as_fitted["device"], fallback="cpu")
        super().__setstate__(kept)
        self._module, self._net = module.to(device).eval(), None


def _checked_callbacks(callbacks):
    for callback in callbacks or []:
        if isinstance(callback, type) or not hasattr(callback, "on_epoch_end"):
            raise TypeError(
                "callbacks must be a list of skorch callbacks (instances of "
                f"skorch.callbacks.Callback), got {callback!r}."
            )
    return list(callbacks or [])


def _kept(value):
    """A copy that later edits leave alone; of functions the reference."""
    if callable(value) and not isinstance(value, nn.Module):
        return value
    return copy.deepcopy(value)


def _comparable(value):
    """Sequences as lists, partial functions as what they bind, modules as arrays."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_comparable(v) for v in value]
    if isinstance(value, dict):
        return {k: _comparable(v) for k, v in value.items()}
    if isinstance(value, nn.Module):
        arrays = state.to_arrays(value)
        return [state.appearance(value), {k: v.tobytes() for k, v in arrays.items()}]
    if isinstance(value, partial):
        return [partial, value.func, *map(_comparable, (value.args, value.keywords))]
    return value
