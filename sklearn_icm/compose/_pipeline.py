"""A generator behind preprocessing that samples and intervenes in input space."""

import warnings

import numpy as np
import pandas as pd
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .._conditional import intervened_given
from .._draws import joined, parted
from .._hybrids import HybridMixin
from ..base import is_generator
from ..exceptions import PoorFitWarning
from ..interventions._per_row import aligned
from ..rows._columns import are_names
from ..rows._frames import as_frame
from ..rows._space import Space
from ..utils._sklearn import output_library
from ..utils.checks import unchanged_on_error
from ..utils.documentation import DocumentedMixin
from ..utils.environments import (
    find_rows,
    observational_rows,
    resolve_environments,
)
from ..utils.pipelines import chosen_estimator
from ..utils.rows import select_rows
from ._density import log_volume
from ._inverse import check_inverse, check_keeps_columns, inverse_rows


class GenerativePipeline(DocumentedMixin, HybridMixin, Pipeline):
    """Transformers, then a generator whose rows are mapped back to input space.

    Parameters
    ----------
    steps : list of (str, estimator)
        As in :class:`~sklearn.pipeline.Pipeline`. The last one is a generator, the
        others have `transform` and `inverse_transform`, or are a
        :class:`~sklearn.compose.ColumnTransformer` of such that keeps every column.
    transform_input, memory, verbose
        As in :class:`~sklearn.pipeline.Pipeline`.

    Notes
    -----
    With ``observational`` set on the generator, the transformers too are fitted on the
    observational rows alone. (A plain `Pipeline` fits its transformers on all rows.)
    A `fit` that fails leaves the transformers, too, as they were. The columns of a
    frame are found by name by every method: in any order, and beside others.
    With ``bounds="data"`` rows are clipped to the range of the pipeline's input; a pair
    of bounds, which would be in the units of the generator, is refused. Whole numbers
    come out whole and within their type. If X is a pandas or polars frame whose columns
    are not all numbers, so is what comes out; otherwise it is an array, or what
    `set_output` says. Steps that lose columns or levels are refused by `fit`. Scores
    are densities of the input, where it has one.
    Interventions act on the generator's nodes, in its units; only rows are mapped.
    Where steps lose a part of the numbers in given rows (as PCA does), ``intervene(X=X,
    residual="keep")`` adds it to the counterfactuals, so that ``intervene({}, X=X)``
    returns X.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn_icm.generators import VAEGenerator
    >>> pipe = GenerativePipeline([
    ...     ("scale", StandardScaler()),
    ...     ("vae", VAEGenerator(n_latents=2, max_epochs=2, random_state=0)),
    ... ])
    >>> pipe.fit(load_iris().data).sample(3).shape
    (3, 4)
    """

    def as_fitted(self, names=None):
        """Take the steps as they are, such as those of a plain Pipeline: all fitted.

        Parameters
        ----------
        names : sequence of str, optional
            Of the columns of the input.

        Returns
        -------
        self : object
            Its rows have the types that the inverse of the steps gives, and no other
            bounds than the generator's.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.pipeline import make_pipeline
        >>> from sklearn.preprocessing import StandardScaler
        >>> from sklearn_icm.generators import FixedGenerator
        >>> plain = make_pipeline(StandardScaler(), FixedGenerator())
        >>> steps = plain.fit(load_iris().data).steps
        >>> GenerativePipeline(steps).as_fitted().sample(3).shape
        (3, 4)
        """
        check_inverse(self.steps[:-1])
        check_keeps_columns(self.steps[:-1])
        rows = self._before_steps(self._generator.sample(2, random_state=0))
        if names is not None:
            rows = as_frame(rows).set_axis(list(names), axis=1)
        self._space = Space.of_input(rows, None)
        return self

    def fit(self, X, y=None, **params):
        """Fit transformers and generator on the (observational) rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,), optional
            Environment labels.
        **params : dict
            ``environments``, or what `Pipeline.fit` takes.

        Returns
        -------
        self : object
        """
        self._check_steps()
        with unchanged_on_error(self, *self._transformers()):
            X, labels, params = self._observational_rows(X, y, params)
            self._space = Space.of_input(X, self._bounded())
            with warnings.catch_warnings():
                if self._space.has_choices:
                    # Draws between two values become one of them, as often as in rows.
                    warnings.filterwarnings("ignore", "Of two values", PoorFitWarning)
                return super().fit(self._space.aligned(X), labels, **params)

    def _fit(self, X, *args, **kwargs):
        """Fit the transformers; refuse what loses columns before anything trains."""
        rows = super()._fit(X, *args, **kwargs)
        check_keeps_columns(self.steps[:-1])
        if self._space.has_levels:
            self._space.lost(X, self._before_steps(rows))
        return rows

    def fit_transform(self, X, y=None, **params):
        """Fit on the (observational) rows, and transform all rows.

        Parameters
        ----------
        X, y, **params
            As in `fit`.

        Returns
        -------
        array-like of shape (n_samples, n_latents)
        """
        return self.fit(X, y, **params).transform(X)

    def _observational_rows(self, X, y, params):
        """Rows and labels that are fitted, and the other parameters of `fit`."""
        environments = params.pop("environments", None)
        observational = getattr(self._generator, "observational", None)
        if observational is None:
            labels = y
            if environments is not None:
                labels = resolve_environments(X, y, environments)
            return X, labels, params
        labels = resolve_environments(
            X, y, environments, required_by=f"observational={observational!r}"
        )
        mask = find_rows(labels, observational)
        return select_rows(X, mask), labels[mask], params

    def _bounded(self):
        """What the generator's rows keep to, if it is the range of its data."""
        if getattr(self._generator, "bounds", None) != "data":
            return None
        is_table = getattr(self._generator, "data_shape", None) is None
        return "columns" if is_table else "entries"

    def __getitem__(self, ind):
        # Some of the steps know neither the input nor, without the last, a generator.
        if isinstance(ind, slice):
            return Pipeline(self.steps, memory=self.memory, verbose=self.verbose)[ind]
        return super().__getitem__(ind)

    def sample(self, n_samples=1, random_state=None, *, given=None, **params):
        """Draw rows in input space.

        Parameters
        ----------
        n_samples, random_state, given, **params
            As the generator's `sample` takes them; conditions are on the input.

        Returns
        -------
        array-like of shape (n_samples, n_features)
        """
        draw = {"n_samples": n_samples, "random_state": random_state, **params}
        if given is not None:
            return self.intervene({}, given=given, **draw)
        return self._to_input(self._generator.sample(**draw))

    def intervene(self, interventions, X=None, *, given=None, **params):
        """Draw rows with some nodes changed, or change rows given in input space.

        Parameters
        ----------
        interventions, given, **params
            As the generator's `intervene` takes them; conditions are on the input.
        X : array-like of shape (n_samples, n_features), optional
            In input space.

        Returns
        -------
        array-like of shape (n_samples, n_features), or tuple
            As the generator's `intervene` returns them; values of nodes are its own.
        """
        if given is not None:
            draw = {k: params.pop(k, None) for k in ("n_samples", "random_state")}
            known = {"interventions": interventions, "X": X, **draw, **params}
            return intervened_given(self, self.space_, given, **known)
        inner, rows = self._given(X, params)
        interventions = aligned(interventions, X)
        found = self._generator.intervene(interventions, X=inner, **params)
        n_draws = params.get("n_draws")

        def in_input(part):
            if isinstance(part, dict):
                return part
            if n_draws is None:
                return self._to_input(part, *rows)
            draws = parted(part, n_draws)
            return joined([self._to_input(draw, *rows) for draw in draws])

        return (
            tuple(map(in_input, found))
            if isinstance(found, tuple)
            else (in_input(found))
        )

    @available_if(lambda self: hasattr(self._generator, "abduct"))
    def abduct(self, X, **params):
        """Infer the generator's noise behind rows given in input space.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        **params
            As the generator's `abduct` takes them.

        Returns
        -------
        Bunch
            The residual is in the units of the generator's input.
        """
        return self._generator.abduct(self._to_generator(X), **params)

    def node_values(self, X=None, **params):
        """Values of the generator's nodes, for rows given in input space or drawn.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), optional
        **params
            As the generator's `node_values` takes them.

        Returns
        -------
        dict of str to ndarray of shape (n_samples,) + node shape
        """
        inner = None if X is None else self._to_generator(X)
        return self._generator.node_values(inner, **params)

    def support(self, interventions, X=None, **params):
        """Say which of the generator's mechanisms would extrapolate, and on what.

        Parameters
        ----------
        interventions, **params
            As the generator's `support` takes them.
        X : array-like of shape (n_samples, n_features), optional
            In input space.

        Returns
        -------
        Report
        """
        inner = None if X is None else self._to_generator(X)
        return self._generator.support(interventions, inner, **params)

    @available_if(lambda self: hasattr(self._generator, "transform"))
    def transform(self, X, **params):
        """Latents of rows given in input space, as the generator's `transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        **params
            As `Pipeline.transform` takes them.

        Returns
        -------
        array-like of shape (n_samples, n_latents)
        """
        return super().transform(self._aligned(X), **params)

    @available_if(lambda self: hasattr(self._generator, "inverse_transform"))
    def inverse_transform(self, X):
        """Rows in input space of latents, as the generator's `inverse_transform`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_latents)

        Returns
        -------
        array-like of shape (n_samples, n_features)
        """
        return self._to_input(self._generator.inverse_transform(X))

    @available_if(lambda self: hasattr(self._generator, "score_samples"))
    def score_samples(self, X, **params):
        """Log density of each row in input space, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        **params
            As the generator's `score_samples` takes them, such as ``interventions``,
            which act on its nodes in its units.

        Returns
        -------
        ndarray of shape (n_samples,)
            That of the generator's row, and how much the steps stretch the space about
            it: densities behind one scaler or another can be compared.

        Raises
        ------
        ValueError
            If a step is not known to have a density: it loses a part of the numbers (as
            a `PCA` that drops components), makes numbers of levels, or is not smooth.
            Behind steps that stretch space, if values are missing.
        """
        X = self._aligned(X)
        volume = log_volume(self.steps[:-1], X)
        if np.any(volume) and np.any(pd.isna(X)):
            raise ValueError(
                "X has missing values, and which columns of such a row the density is "
                "of, only the generator knows. Score complete rows, or fit without "
                "steps that change units."
            )
        return self._generator.score_samples(self._through(X), **params) + volume

    @available_if(lambda self: hasattr(self._generator, "score_samples"))
    def score(self, X, y=None, environments=None):
        """Mean of `score_samples`, over the observational rows when labels are given.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y, environments : array-like of shape (n_samples,), optional
            Environment labels.

        Returns
        -------
        float
            Nats per row; higher is better.
        """
        observational = getattr(self._generator, "observational", None)
        X = observational_rows(X, y, environments, observational)
        return float(np.mean(self.score_samples(X)))

    def independence(self, X=None, **params):
        """Independence table of the generator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), optional
            In input space.
        **params
            As the generator's `independence` takes them.

        Returns
        -------
        DataFrame
        """
        if X is not None:
            params["X"] = self._to_generator(X)
        return self._generator.independence(**params)

    @property
    def n_features_in_(self):
        """Number of columns of the fitted rows."""
        return self._space.n_features

    @property
    def feature_names_in_(self):
        """Names of the columns of the fitted rows, if they are strings."""
        names = self._space.names
        if names is None or not are_names(names):
            raise AttributeError("The rows of the fit had no columns named by strings.")
        return np.array(names, dtype=object)

    @property
    def space_(self):
        """What the rows of the fit are; a lone generator says what its levels are."""
        check_is_fitted(self)
        return self._generator.space_ if len(self.steps) == 1 else self._space

    @property
    def nodes_(self):
        """Nodes of the generator that can be intervened on."""
        return self._generator.nodes_

    @property
    def mechanisms_(self):
        """Mechanisms of the generator."""
        return self._generator.mechanisms_

    @property
    def random_state_(self):
        """Random state that the generator keeps for queries without a seed."""
        return self._generator.random_state_

    def was_fitted_on(self, X):
        """Whether the generator was last fitted on exactly these rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        bool
        """
        return len(X) > 0 and self._generator.was_fitted_on(self._to_generator(X))

    @property
    def _generator(self):
        return chosen_estimator(self.steps[-1][1])

    def _transformers(self):
        return [s for _, s in self.steps[:-1] if s is not None and s != "passthrough"]

    def _check_steps(self):
        self._validate_steps()
        name, last = self.steps[-1]
        if not is_generator(last):
            raise TypeError(
                "The last step of a GenerativePipeline must be a generator, got "
                f"{type(last).__name__} in step {name!r}."
            )
        if hasattr(last, "interval"):
            raise TypeError(
                f"The step {name!r} would refit itself, and not the steps before it. "
                "Put the BootstrapGenerator around the pipeline."
            )
        check_inverse(self.steps[:-1])
        bounds = getattr(last, "bounds", None)
        if self._transformers() and not isinstance(bounds, (str, type(None))):
            raise ValueError(
                f"bounds={bounds!r} of the step {name!r} would be in the units of the "
                "steps before it. Behind transformers set bounds='data', the range of "
                "the input, or None."
            )

    def _to_generator(self, X):
        return self._through(self._aligned(X))

    def _through(self, X):
        for step in self._transformers():
            X = step.transform(X)
        return X

    def _aligned(self, X):
        check_is_fitted(self)
        return self._space.aligned(X)

    def _given(self, X, params):
        """Rows as the generator gets them; as given, and what the steps lose."""
        if X is None:
            return None, (None, None)
        X = self._aligned(X)
        inner, lost = self._through(X), None
        keep = params.get("residual", "keep") == "keep"
        if keep or self._space.has_levels:
            lost = self._space.lost(X, self._before_steps(inner))
        return inner, (X, lost if keep else None)

    def _before_steps(self, rows):
        return inverse_rows(self.steps[:-1], rows)

    def _to_input(self, rows, original=None, lost=None):
        """Map the generator's rows back, with the range and types of the input."""
        library = output_library(self._generator)
        return self._space.restored(self._before_steps(rows), original, lost, library)
