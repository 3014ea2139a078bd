"""Whether the mechanisms of a generator are independent."""

from numbers import Integral

import torch
from sklearn.utils.validation import check_is_fitted

from .independence._table import independence_table
from .mechanisms._modules import tensor_of
from .models._query import RowQueries
from .utils.checks import check_scalar
from .utils.streams import Streams, query_entropy

__all__ = ["IndependenceMixin"]


class IndependenceMixin:
    """The verb that measures pairs of mechanisms."""

    def independence(
        self,
        X=None,
        *,
        measure="weights",
        network="decoder",
        n_draws=None,
        n_samples=256,
        random_state=0,
    ):
        """Measure by how much a random change between two mechanisms changes the power.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), optional
            Rows whose hidden values are used for the response and measures of values;
            None draws `n_samples` from the model.
        measure : {"weights", "triplet", "full", "activation"}, Measure, or list of them
            The first that applies to a pair is taken. The names are forms of
            :func:`~sklearn_icm.independence.spectral_ratio` at hidden maps ("weights"
            is the pooled one), and at hidden vectors the trace condition, of values
            for "activation", else of weights. Others are
            :class:`~sklearn_icm.independence.GenericMeasure`, and a
            :class:`~sklearn_icm.independence.Measure` of your own.
        network : {"decoder", "encoder"}
            The causal direction, or the anticausal one where the model has an encoder.
        n_draws : int, optional
            Random group elements per pair for the null band and the p-value. None takes
            199, and 0 (no band) of the full form, of which they are slow.
        n_samples : int
        random_state : int, RandomState or None
            Of all draws.

        Returns
        -------
        DataFrame
            One row per pair of successive mechanisms: ``pair``, ``measure``,
            ``power_change`` (``1 / rho - 1``, the share of the output's power that a
            random change of the hidden node gains, or loses if negative; 0 means
            independent), its null band ``low`` to ``high`` (95 % of what random
            rotations of these weights have), ``rho`` (mean over hidden channels),
            ``anisotropy_in`` and ``anisotropy_out`` at the hidden node, ``response``
            (relative change of the later mechanism's output when its input is rotated),
            two-sided ``p_value``, ``p_adjusted`` (Benjamini-Hochberg over the pairs),
            ``degenerate``.

        Warns
        -----
        DegenerateMechanismWarning
            If nothing could have moved rho away from 1: an isotropic mechanism, or
            one that ignores its input.
        UnreadMechanismWarning
            If pairs have no row: no measure applies, as where a mechanism has not just
            one linear operator.

        Notes
        -----
        Bands and p-values are of this fit as it is: they do not count estimation.
        Resizing before the later mechanism's kernel is a fixed part of it, and smooths:
        kernels with generic taps then have a mean ratio other than 1 (about 1.7 was
        seen with linear resizing), and a null band that is not about 0. Of wide dense
        mechanisms the band is narrow, and any training leads far out of it: read how
        large the change is, not whether it is outside.
        """
        check_is_fitted(self)
        if n_draws is not None:
            check_scalar(n_draws, "n_draws", Integral, min_val=0)
        check_scalar(n_samples, "n_samples", Integral, min_val=2)
        entropy = query_entropy(self, random_state)
        graphs = {"decoder": self._fitted.model.graph}
        if hasattr(self._fitted.model, "encoder"):
            graphs["encoder"] = self._fitted.model.encoder
        if network not in graphs:
            raise ValueError(f"network must be one of {list(graphs)}, got {network!r}.")
        queries, chosen = RowQueries(self._fitted.model, self.bounds_), graphs[network]
        if X is None and network == "encoder":
            X = self.space_.named(self.sample(n_samples, random_state=entropy))
        if X is None:
            nodes = queries.nodes_of_prior(n_samples, Streams(entropy))
        else:
            asked = "nodes_of_rows" if network == "decoder" else "encoder_nodes"
            nodes = getattr(queries, asked)(self._rows_to_explain(X))
        device = tensor_of(chosen).device
        nodes = {k: torch.from_numpy(v).to(device) for k, v in nodes.items()}
        return independence_table(
            chosen, nodes, measure=measure, n_draws=n_draws, seed=int(entropy)
        )
