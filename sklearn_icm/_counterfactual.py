"""Questions about hidden nodes: abduction, their values, and their support."""

import math
from numbers import Integral, Real

import numpy as np
import torch
from scipy.special import ndtri
from sklearn.base import TransformerMixin
from sklearn.utils import Bunch, check_array
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from ._hybrids import HybridMixin
from ._support import SupportMixin
from .interventions._per_row import each_row
from .models import Explains, GenerativeModel
from .models._abduction import most_probable_noise
from .models._query import ABDUCTIONS, RowQueries, check_rows_or_number
from .models._state import in_double
from .rows._columns import plain_rows
from .utils._sklearn import in_output_container
from .utils.checks import check_scalar
from .utils.rows import draws_by_content
from .utils.streams import query_streams, stream_seed

__all__ = ["CounterfactualMixin"]

# Draws of what is missing in a row, over which its noise is averaged.
N_MEAN = 32


def explains(estimator):
    """Whether the model of a family explains given rows; a TypeError if not."""
    if not issubclass(estimator.model_class, Explains):
        raise TypeError(
            f"{type(estimator).__name__} cannot explain given rows, since its model "
            "finds no noise behind them: leave X out, so that rows are drawn, or take "
            "a family that has `abduct`."
        )
    return True


class CounterfactualMixin(SupportMixin, HybridMixin):
    """Verbs on hidden nodes; some are for models that explain given rows alone.

    What a model can is said by its class, `model_class`.
    """

    model_class = GenerativeModel

    @available_if(explains)
    def abduct(
        self, X, *, method="encode", max_steps=500, tol=1e-4, return_unexplained=False
    ):
        """Infer the noise that explains given rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        method : {"encode", "optimise"}
            "encode" is the family's own answer (an encoder's mean); "optimise" starts
            there and climbs to the most probable noise, the maximum of
            ``log p(x | z) + log p(z)``.
        max_steps : int
            Of the optimiser, Adam.
        tol : float
            The step size of a row falls when ten steps together raised its log density
            by less than this part of it; after some such falls it has converged.
        return_unexplained : bool
            Also return the share of each row that the model does not explain.

        Returns
        -------
        Bunch
            ``noise`` of shape (n_samples, n_latents); ``residual`` (n_samples,), the
            root of the mean squared part of each row that the model does not explain,
            in the units of X; ``n_steps`` and ``converged`` of each row; and
            ``unexplained`` (`return_unexplained`): the mean square of this part, each
            column of a table in units of its own, over the mean squared deviation of
            the fitted rows from their mean. It is 0 for a row that the model explains,
            about 1 for one of which it knows no more than the mean row, and not
            bounded. Tables and chains, whose noise explains every row, have 0.
            `intervene` takes the Bunch as `abduction`, so that many questions to the
            same rows cost one abduction.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_icm.generators import VAEGenerator
        >>> X = load_iris().data
        >>> model = VAEGenerator(n_latents=2, lr=0.02, max_epochs=60, random_state=0)
        >>> found = model.fit(X).abduct(X, return_unexplained=True)
        >>> bool(found.unexplained.mean() < 0.2)
        True
        """
        check_is_fitted(self)
        check_scalar(max_steps, "max_steps", Integral, min_val=1)
        check_scalar(tol, "tol", Real, min_val=0)
        if method not in ABDUCTIONS:
            raise ValueError(
                f"method must be one of {list(ABDUCTIONS)}, got {method!r}."
            )
        found = self._abducted(self._rows_to_explain(X), method, max_steps, tol)
        if not return_unexplained:
            del found["unexplained"]
        return found

    @property
    def _n_features_out(self):
        return math.prod(next(iter(self._fitted.model.graph.roots.values())))

    @available_if(explains)
    def transform(self, X):
        """Noise behind rows, in double precision: no row depends on its neighbours.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_latents)
            Where many values explain a row, the mean of their distribution; of a column
            of levels, the middle of the normal noise that gives the level.
        """
        check_is_fitted(self)
        versions = self._versions(X, N_MEAN)

        def encode(model, x):
            return model.abduct(model.layout.to_node(x))

        noise = np.mean([self._in_double(encode, rows) for rows in versions], axis=0)
        noise = noise.astype(versions.dtype, copy=False)
        return in_output_container(self, noise, X, self.get_feature_names_out())

    fit_transform = available_if(explains)(TransformerMixin.fit_transform)

    @available_if(explains)
    def inverse_transform(self, X):
        """Mean rows of given noise.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_latents)
            As `transform` gives it.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        noise = check_array(plain_rows(X), dtype=[np.float64, np.float32])
        if noise.shape[1] != self._n_features_out:
            raise ValueError(
                f"inverse_transform needs {self._n_features_out} latents per row, got "
                f"{noise.shape[1]}."
            )
        rows = RowQueries(self._fitted.model, self._bounds_under({})).decode(noise)
        whole = list(self._fitted.space.whole)
        rows[:, whole] = np.rint(rows[:, whole])
        return self._fitted.space.to_rows(rows.astype(noise.dtype, copy=False))

    def _in_double(self, ask, *arrays):
        """Answers about rows in float64, so that none depends on its neighbours."""
        model = in_double(self._fitted.model)
        # Convolutions of larger chunks of doubles take twice the time.
        size = RowQueries(model, None).chunk // 8
        parts = [torch.from_numpy(a.astype(np.float64)).split(size) for a in arrays]
        with torch.no_grad():
            answers = [ask(model, *part).numpy() for part in zip(*parts, strict=True)]
        return np.concatenate(answers)

    def _rows_to_explain(self, X):
        """Checked rows, of a model that can explain them."""
        explains(self)
        return self._check_rows(X)

    def _draws_behind(self, X, n_draws):
        """For each of several draws: rows, and noise that explains them."""
        rows = self._rows_to_explain(X)
        if self.model_class.posterior_draw is Explains.posterior_draw:
            raise TypeError(
                f"{type(self).__name__} finds one noise behind each row, and knows no "
                "distribution of it (posterior_draw) to draw from: leave out n_draws."
            )
        queries = RowQueries(self._fitted.model, self.bounds_)
        for k in range(n_draws):
            seed = stream_seed(self._fitted.entropy, "behind", k)
            normal = ndtri(draws_by_content(rows, self._n_features_out, seed))
            yield rows, queries.noise_of_draw(rows, normal)

    def _versions(self, X, n_draws):
        """Checked rows with draws of what is missing: here nothing may be."""
        return self._rows_to_explain(X)[None]

    def _abducted(self, rows, method, max_steps=500, tol=1e-4):
        """Answer of `abduct` for rows that are checked."""
        queries, parts = RowQueries(self._fitted.model, self.bounds_), []
        for start in range(0, len(rows), queries.chunk):
            x = rows[start : start + queries.chunk]
            parts.append(_explained(queries, x, method, max_steps, tol))
        names = ("noise", "residual", "n_steps", "converged", "unexplained")
        values = map(np.concatenate, zip(*parts, strict=True))
        return Bunch(**dict(zip(names, values, strict=True)))

    def _resolve_abduction(self, abduction, X):
        """Noise of the rows, or None where the family's own answer is wanted."""
        if isinstance(abduction, str):
            if abduction == "encode":
                return None
            return self._abducted(X, abduction).noise
        noise = np.asarray(abduction.noise)
        if len(noise) != len(X):
            raise ValueError(
                f"abduction holds the noise of {len(noise)} rows, but X has {len(X)}: "
                "give what abduct(X) returned for these rows."
            )
        shape = next(iter(self._fitted.model.graph.roots.values()))
        if noise.shape[1:] != shape:
            raise ValueError(
                f"abduction holds noise of shape {noise.shape[1:]} per row, but this "
                f"model's has shape {shape}: give what its own abduct(X) returned."
            )
        return noise

    def node_values(self, X=None, *, n_samples=None, random_state=None):
        """Values of every node, for given rows or draws from the prior.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), optional
        n_samples : int, optional
            Exactly one of it and X is given.
        random_state : int, RandomState or None
            As in `sample`.

        Returns
        -------
        dict of str to ndarray of shape (n_samples,) + node shape
            In topological order, in the precision of the model; the data node holds
            means.
        """
        check_is_fitted(self)
        queries = RowQueries(self._fitted.model, self.bounds_)
        check_rows_or_number(X, n_samples, "node_values")
        if X is not None:
            return queries.nodes_of_rows(self._rows_to_explain(X))
        return queries.nodes_of_prior(n_samples, query_streams(self, random_state))

    def _each_row(self, interventions, X, n_samples):
        """Interventions in which arrays of a value for each row are marked."""
        check_is_fitted(self)
        return each_row(interventions, X, n_samples, self.nodes_, self._codes())

    def _codes(self):
        """By node with levels: a function of levels, one per row, to their codes."""
        return {}


def _explained(queries, x, method, max_steps, tol):
    """Noise, residual, steps, convergence and unexplained share of a chunk of rows."""
    module, node = queries.module, queries.to_node(x).to(queries.device)
    with torch.no_grad():
        noise = module.abduct(node)
    n_steps, converged = np.zeros(len(x), int), np.ones(len(x), bool)
    if method == "optimise":
        refined = most_probable_noise(module, node, noise, max_steps=max_steps, tol=tol)
        noise = refined.noise
        n_steps, converged = refined.n_steps.cpu(), refined.converged.cpu()
    with torch.no_grad():
        mean = queries.to_rows(module.graph(noise)[queries.data_node])
    residual = np.sqrt(np.square(x - mean).mean(1))
    shares = queries.unexplained(x, mean)
    steps = np.asarray(n_steps), np.asarray(converged)
    return noise.cpu().numpy(), residual, *steps, shares
