"""A generator behind preprocessing that samples and intervenes in input space."""

import numpy as np
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if

from ..base import is_generator
from ..utils.environments import find_rows, resolve_environments

__all__ = ["GenerativePipeline"]


class GenerativePipeline(Pipeline):
    """Transformers, then a generator whose rows are mapped back to input space.

    Parameters
    ----------
    steps : list of (str, estimator)
        As in :class:`~sklearn.pipeline.Pipeline`. The last one is a generator, the
        others have `transform` and `inverse_transform`.
    transform_input, memory, verbose
        As in :class:`~sklearn.pipeline.Pipeline`.

    Notes
    -----
    With ``observational`` set on the generator, the transformers too are fitted on the
    observational rows alone. (A plain `Pipeline` fits its transformers on all rows.)
    Interventions act on the generator's nodes; only rows are mapped.

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
        environments = params.pop("environments", None)
        labels = environments if y is None else y
        observational = getattr(self._generator, "observational", None)
        if observational is not None:
            labels = resolve_environments(
                X, y, environments, required_by=f"observational={observational!r}"
            )
            rows = np.flatnonzero(find_rows(labels, observational))
            X = X.iloc[rows] if hasattr(X, "iloc") else np.asarray(X)[rows]
            labels = labels[rows]
        return super().fit(X, labels, **params)

    def sample(self, n_samples=1, random_state=None, **params):
        """Draw rows in input space.

        Parameters
        ----------
        n_samples, random_state, **params
            As the generator's `sample` takes them.

        Returns
        -------
        array-like of shape (n_samples, n_features)
        """
        return self._to_input(
            self._generator.sample(n_samples, random_state=random_state, **params)
        )

    def intervene(self, interventions, X=None, **params):
        """Draw rows with some nodes changed, or change rows given in input space.

        Parameters
        ----------
        interventions, **params
            As the generator's `intervene` takes them.
        X : array-like of shape (n_samples, n_features), optional
            In input space.

        Returns
        -------
        array-like of shape (n_samples, n_features), or (factual, intervened)
        """
        if X is not None:
            X = self._to_generator(X)
        rows = self._generator.intervene(interventions, X=X, **params)
        if isinstance(rows, tuple):
            return tuple(self._to_input(part) for part in rows)
        return self._to_input(rows)

    @available_if(lambda self: hasattr(self._generator, "score"))
    def score(self, X, y=None, environments=None):
        """Score of the generator on the transformed (observational) rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y, environments : array-like of shape (n_samples,), optional
            Environment labels.

        Returns
        -------
        float
        """
        return self._generator.score(
            self._to_generator(X), y, environments=environments
        )

    def independence(self, **params):
        """Independence table of the generator.

        Parameters
        ----------
        **params
            As the generator's `independence` takes them.

        Returns
        -------
        DataFrame
        """
        return self._generator.independence(**params)

    @property
    def nodes_(self):
        """Nodes of the generator that can be intervened on."""
        return self._generator.nodes_

    @property
    def mechanisms_(self):
        """Mechanisms of the generator."""
        return self._generator.mechanisms_

    def was_fitted_on(self, X):
        """Whether the generator was last fitted on exactly these rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        bool
        """
        return self._generator.was_fitted_on(self._to_generator(X))

    @property
    def _generator(self):
        return self.steps[-1][1]

    def _transformers(self):
        return [s for _, s in self.steps[:-1] if s is not None and s != "passthrough"]

    def _check_steps(self):
        name, last = self.steps[-1]
        if not is_generator(last):
            raise TypeError(
                "The last step of a GenerativePipeline must be a generator, got "
                f"{type(last).__name__} in step {name!r}."
            )
        for name, step in self.steps[:-1]:
            passed = step is None or step == "passthrough"
            if not passed and not hasattr(step, "inverse_transform"):
                raise TypeError(
                    f"The step {name!r} ({type(step).__name__}) has no "
                    "inverse_transform, so rows cannot be mapped back to input space. "
                    "Use a transformer that has one, or a plain Pipeline."
                )

    def _to_generator(self, X):
        for step in self._transformers():
            X = step.transform(X)
        return X

    def _to_input(self, rows):
        for step in reversed(self._transformers()):
            rows = step.inverse_transform(rows)
        return rows
