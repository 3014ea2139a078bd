"""The contract of a generator: fit, sample, intervene."""

from contextlib import contextmanager
from numbers import Integral, Real
from warnings import warn

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state, check_scalar, get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from ._training import seeds, state
from ._training.device import resolve_device
from ._training.net import OPTIMIZERS, make_net, split_rows
from ._training.queries import RowQueries, check_fits_float32, find_bounds
from ._training.schedules import WarmUp
from .exceptions import FitInterruptedWarning
from .independence import check_penalty, independence_table, resolve_penalty
from .interventions import check_interventions
from .utils._sklearn import Interval, StrOptions, fit_context, in_output_container
from .utils.environments import find_rows, resolve_environments

__all__ = ["BaseGenerator", "DensityMixin", "GeneratorMixin", "is_generator"]


class GeneratorMixin:
    """Mixin that marks estimators with `sample` and `intervene`."""

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.estimator_type = "generator"
        return tags


def is_generator(estimator):
    """Whether an estimator (or a pipeline's last step) is a generator.

    Parameters
    ----------
    estimator : estimator

    Returns
    -------
    bool

    Examples
    --------
    >>> from sklearn.mixture import GaussianMixture
    >>> is_generator(GaussianMixture())
    False
    """
    return get_tags(estimator).estimator_type == "generator"


class DensityMixin:
    """Mixin for generators with `score_samples`."""

    def score(self, X, y=None, environments=None):
        """Mean of `score_samples`, over the observational rows when labels are given.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y, environments : array-like of shape (n_samples,), optional
            Environment labels; used if `observational` is set.

        Returns
        -------
        float
            Nats per row; higher is better.
        """
        check_is_fitted(self)
        if self.observational is not None:
            labels = resolve_environments(X, y, environments)
            if labels is not None:
                X = X[find_rows(labels, self.observational)]
        return float(np.mean(self.score_samples(X)))


class BaseGenerator(GeneratorMixin, BaseEstimator):
    """Base of the generators: the verbs, the training and the state.

    A family adds its parameters to `_parameter_constraints` and writes
    ``_build_module(layout)``: a ``torch.nn.Module`` with a ``graph``, a ``noise`` and a
    ``likelihood``, and the methods ``prepare(x)``, ``loss_terms(x, generator)``,
    ``finish(x, entropy)`` and ``abduct(x)``.
    """

    __metadata_request__fit = {"environments": True}
    __metadata_request__partial_fit = {"environments": True}
    __metadata_request__score = {"environments": True}

    _parameter_constraints = {
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

    # ------------------------------------------------------------------ fit
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, environments=None):
        """Fit the generator to the rows of X.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least two rows of finite numbers, C order if `data_shape` is given.
        y, environments : array-like of shape (n_samples,), optional
            Environment labels. Only the rows labelled `observational` are fitted;
            without `observational` the labels are ignored.

        Returns
        -------
        self : object
        """
        fresh = not (self.warm_start and self.__sklearn_is_fitted__())
        with self._unchanged_on_error():
            X = self._rows_to_fit(X, y, environments, reset=fresh)
            self._train(X, self.max_epochs, fresh=fresh)
        return self

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, environments=None):
        """Make one pass over the rows of X, keeping what was learned before.

        Parameters are those of `fit`, and so are the errors.

        Returns
        -------
        self : object
        """
        fresh = not self.__sklearn_is_fitted__()
        with self._unchanged_on_error():
            X = self._rows_to_fit(X, y, environments, reset=fresh)
            self._train(X, 1, fresh=fresh, one_pass=True)
        return self

    def __sklearn_is_fitted__(self):
        return getattr(self, "_module", None) is not None

    @contextmanager
    def _unchanged_on_error(self):
        """Undo every change of attributes if a fit fails, so nothing is half-fitted."""
        before = dict(self.__dict__)
        try:
            yield
        except Exception as error:
            if getattr(error, "keeps_model", False):
                raise
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _rows_to_fit(self, X, y, environments, *, reset):
        labels = None
        if self.observational is not None:
            labels = resolve_environments(
                X, y, environments, required_by=f"observational={self.observational!r}"
            )
        elif y is not None and environments is not None:
            resolve_environments(X, y, environments)
        X = validate_data(
            self,
            X,
            dtype=[np.float64, np.float32],
            order="C",
            reset=reset,
            ensure_min_samples=2,
        )
        check_fits_float32(X)
        if labels is not None:
            X = X[find_rows(labels, self.observational)]
            if len(X) < 2:
                raise ValueError(
                    f"observational={self.observational!r} labels {len(X)} row; at "
                    "least 2 are needed to fit."
                )
        return X

    def _train(self, X, epochs, *, fresh, one_pass=False):
        penalty = resolve_penalty(self.icm_penalty)
        if fresh:
            self._start(X)
        check_penalty(penalty, self._module.graph)
        module = self._module
        x = module.layout.to_node(torch.from_numpy(X.astype(np.float32)))
        if fresh:
            module.prepare(x)
        x = x.to(next(module.parameters()).device)
        train, valid = x, None
        if not one_pass:
            train, valid = split_rows(
                x, self.validation_fraction, self.early_stopping, self._entropy
            )
        net = self._current_net(penalty, epochs, fresh=fresh, one_pass=one_pass)
        before = 0 if fresh else self.n_iter_
        diverged = net.train_epochs(train, valid, epochs)
        self._history = net.history_columns()
        self.n_iter_ = len(self._history["loss"])
        module.eval()
        module.finish(train, int(self._entropy))
        self._fitted_digest = state.digest(X)
        if diverged is not None:
            raise diverged
        if self.n_iter_ - before < epochs and not net.stopped_early:
            warn(FitInterruptedWarning(self.n_iter_ - before, epochs), stacklevel=4)

    def _start(self, X):
        """Build everything that a fresh fit starts from."""
        seed = self.random_state
        # None must not draw from numpy's global stream, which is not ours to move.
        source = np.random.RandomState() if seed is None else check_random_state(seed)
        self._entropy = source.randint(seeds.ENTROPY_BOUND)
        self.random_state_ = seeds.numpy_stream(self._entropy, "sample")
        self._architecture = self.get_params(deep=False)
        self._dtype = X.dtype
        self.bounds_ = self._find_bounds(X)
        layout = self._make_layout()
        module = seeds.build_seeded(lambda: self._build_module(layout), self._entropy)
        self._module = module.to(resolve_device(self.device))
        self._net = None

    def _current_net(self, penalty, epochs, *, fresh, one_pass):
        """Return the net that trains: a new one, or the kept one with its optimiser."""
        patience = self.n_iter_no_change
        if one_pass or not self.early_stopping:
            patience = None
        net = make_net(
            self._module,
            optimizer=self.optimizer,
            lr=self.lr,
            weight_decay=self.weight_decay,
            n_epochs=epochs,
            patience=patience,
            tol=self.tol,
            callbacks=self.callbacks,
            verbose=self.verbose,
            penalty=penalty,
            weight=WarmUp(self.icm_weight, self.icm_warmup),
            generator=seeds.torch_stream(self._entropy, "batches"),
            one_cycle=not one_pass and self.lr_schedule == "one-cycle",
            batch_size=self.batch_size,
        )
        history = {} if fresh else self._history
        self._net = net.continued(self._net, history)
        return self._net

    def _find_bounds(self, X):
        """Range of the values: per column of a table, else one for all entries."""
        is_table = getattr(self, "data_shape", None) is None
        return find_bounds(self.bounds, X, axis=0 if is_table else None)

    # -------------------------------------------------------------- queries
    @property
    def graph_(self):
        """Fitted :class:`~sklearn_icm.mechanisms.MechanismGraph`."""
        return self._fitted_module("graph_").graph

    @property
    def nodes_(self):
        """Shapes of the nodes by name, in topological order; maps channels first."""
        return dict(self._fitted_module("nodes_").graph.nodes)

    @property
    def mechanisms_(self):
        """``{name: (parent nodes, child node)}`` in topological order."""
        graph = self._fitted_module("mechanisms_").graph
        return {name: (parents, name) for name, parents in graph.parents.items()}

    @property
    def history_(self):
        """DataFrame with one row per epoch: loss terms, penalty, held-out losses."""
        self._fitted_module("history_")
        index = pd.RangeIndex(1, self.n_iter_ + 1, name="epoch")
        return pd.DataFrame(self._history, index=index)

    def _fitted_module(self, name):
        if not self.__sklearn_is_fitted__():
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}: it is not "
                "fitted yet."
            )
        return self._module

    def sample(self, n_samples=1, random_state=None, *, observation_noise=True):
        """Draw rows from the fitted model.

        Parameters
        ----------
        n_samples : int
            Number of rows, at least 1.
        random_state : int, RandomState or None
            None draws from `random_state_`, so that successive calls differ.
        observation_noise : bool
            False gives the mean of each row instead of a draw about it.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the dtype of the fitted data (a DataFrame under `set_output`), clipped
            to `bounds_`.
        """
        return self.intervene(
            {},
            n_samples=n_samples,
            random_state=random_state,
            observation_noise=observation_noise,
        )

    def intervene(
        self,
        interventions,
        X=None,
        *,
        n_samples=None,
        random_state=None,
        return_factual=False,
        observation_noise=True,
        residual="keep",
    ):
        """Draw rows with some nodes changed, or change given rows.

        Parameters
        ----------
        interventions : dict of str to intervention
            Node name to an object of `sklearn_icm.interventions`, a callable on a
            tensor ``(n, *nodes_[name])``, or a number or array that the node is set
            to. On the data node they act on observed values, noise included.
        X : array-like of shape (n_samples, n_features), optional
            Rows to change: what would they have been? (abduction, action, prediction)
        n_samples : int, optional
            Number of rows to draw from the prior; exactly one of it and X is given.
        random_state : int, RandomState or None
            As in `sample`; the same seed gives the same noise with and without an
            intervention.
        return_factual : bool
            Also return the rows without the intervention, which share its noise.
        observation_noise : bool
            As in `sample`.
        residual : {"keep", "drop"}
            With X: whether the part of a row that the model does not explain is added
            to its counterfactual, so that ``intervene({}, X=X)`` returns X.

        Returns
        -------
        ndarray of shape (n_samples, n_features), or (factual, intervened)

        Raises
        ------
        ValueError
            For an unknown node, an intervention that does not fit its node, or one
            that returns another shape or values that are not finite.
        """
        check_is_fitted(self)
        interventions = check_interventions(interventions, self.nodes_)
        if residual not in {"keep", "drop"}:
            raise ValueError(f"residual must be 'keep' or 'drop', got {residual!r}.")
        if (X is None) == (n_samples is None):
            raise ValueError(
                "intervene needs either n_samples (draws from the prior) or X (rows to "
                f"change), got {'neither' if X is None else 'both'}."
            )
        queries = RowQueries(self._module, self.bounds_)
        if X is None:
            check_scalar(n_samples, "n_samples", Integral, min_val=1)
            chunks = queries.prior(
                interventions,
                n_samples,
                self._draw_entropy(random_state),
                noisy=observation_noise,
            )
            original = None
        else:
            original = X
            X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
            chunks = queries.counterfactual(interventions, X, keep=residual == "keep")
        factual, changed = (np.concatenate(rows) for rows in zip(*chunks, strict=True))
        changed = self._wrap(changed, original)
        return (self._wrap(factual, original), changed) if return_factual else changed

    def _draw_entropy(self, random_state):
        """One number that stands for the whole randomness of a query."""
        if random_state is None:
            random_state = self.random_state_
        return check_random_state(random_state).randint(seeds.ENTROPY_BOUND)

    def _wrap(self, rows, original=None):
        """Cast to the fitted dtype, and to the container that `set_output` names."""
        return in_output_container(self, rows.astype(self._dtype, copy=False), original)

    def independence(self, *, n_draws=0, random_state=None):
        """Measure how independent successive mechanisms are.

        Parameters
        ----------
        n_draws : int
            Random group elements per pair for the p-value; 0 for none.
        random_state : int, RandomState or None
            Of the draws; None takes a fixed seed.

        Returns
        -------
        DataFrame
            One row per pair of successive mechanisms: ``pair``, ``measure``, ``rho``
            (1 means independent; mean over hidden channels), ``power_ratio``
            (``1 / rho``), ``anisotropy_in`` and ``anisotropy_out`` at the hidden node,
            ``null_sd`` and ``z`` (closed form), two-sided ``p_value``, ``degenerate``.

        Warns
        -----
        DegenerateMechanismWarning
            If a pair has rho = 1 whatever its mechanisms learned.
        """
        check_is_fitted(self)
        check_scalar(n_draws, "n_draws", Integral, min_val=0)
        seed = 0 if random_state is None else random_state
        generator = seeds.torch_stream(self._draw_entropy(seed), "independence")
        return independence_table(self._module.graph, n_draws, generator)

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
        return state.digest(np.asarray(X, dtype=self._dtype)) == self._fitted_digest

    # ---------------------------------------------------------------- state
    def __getstate__(self):
        kept = dict(super().__getstate__())
        module = kept.pop("_module", None)
        kept.pop("_net", None)
        if module is not None:
            kept["_arrays"] = state.to_arrays(module)
        return kept

    def __setstate__(self, kept):
        kept = dict(kept)
        arrays = kept.pop("_arrays", None)
        super().__setstate__(kept)
        if arrays is None:
            return
        like_fitted = type(self)(**self._architecture)
        like_fitted.n_features_in_ = self.n_features_in_
        module = seeds.build_seeded(
            lambda: like_fitted._build_module(like_fitted._make_layout()), 0
        )
        state.load_arrays(module, arrays)
        device = resolve_device(like_fitted.device, fallback="cpu")
        self._module, self._net = module.to(device).eval(), None
