"""Linear chains of mechanisms: the models whose theory is exact."""

from dataclasses import replace
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils import check_array, check_consistent_length

from ..._fitting import CONSTRAINTS
from ..._training.trainer import Trainer
from ...base import BaseGenerator
from ...rows._columns import plain_rows
from ...utils._sklearn import Interval, StrOptions, fit_context
from ...utils.environments import find_rows, resolve_environments
from ._model import ChainModule
from ._weights import conv_shapes, dense_shapes, given_weights

__all__ = ["ChainGenerator"]


class ChainGenerator(BaseGenerator):
    """Linear chain of dense or convolutional mechanisms, with exact answers.

    Rows are ``offset + W_K ... W_1 z + e`` with standard normal noise z and isotropic
    normal e. Any invertible matrix between two mechanisms leaves the fit as it is, but
    changes what an intervention on the node between them does.

    Parameters
    ----------
    kind : {"dense", "conv"}, default="dense"
        Matrices, or kernels of one channel.
    data_shape : tuple of int, default=None
        With "conv": ``(length,)`` of a signal or ``(height, width)`` of a grey image;
        None means a signal.
    n_layers : int, default=2
        Number K of mechanisms, at least 2.
    kernel_size : int or sequence of int, default=None
        With "conv": support of the kernels, one int for all axes or one for each; None
        is the whole signal. Kernels of several sizes are given by `init`.
    padding : {"circular", "zeros"}, default="circular"
        With "conv": whether signals are circles, or surrounded by zeros.
    init : {"small", "identity", "xavier"} or list of arrays, default="xavier"
        Where training starts: 0.01 N(0, 1), half the identity, or normal with variance
        ``2 / (fan_in + fan_out)`` (times what keeps the data's scale, without
        `inputs`); or one array per mechanism, input side first.
    optimizer : {"gd", "sgd", "adam"}, default="adam"
        "gd" always uses all rows.
    lr : float, default=0.01
        Learning rate: in the units of the data with `inputs`, else relative to them.
    batch_size : int, default=None
        Rows per step, drawn with replacement; None takes the exact second-order
        statistics of all rows.
    max_iter : int, default=1000
        Number of steps.
    label_noise : float, default=0.0
        Standard deviation of normal noise that is added to the rows anew in every
        step. It needs `inputs`; over all rows it averages out, and is left out.
    icm_penalty : str, callable or None, default="auto"
        "spectral", "trace", "auto" (whichever fits the kind), or a penalty such as
        :class:`~sklearn_icm.independence.TracePenalty`.
    icm_weight : float, default=0.0
        Weight of the penalty.
    observational : label or list of labels, default=None
        Environment label(s) of the rows that are fitted; None fits all rows.
    warm_start : bool, default=False
        Go on at the next `fit`: `max_iter` steps more, or to the end of one that was
        stopped; the same as all steps at once.
    random_state : int, RandomState or None, default=None

    Attributes
    ----------
    weights_ : list of ndarray
        Matrices (out, in) or kernels (1, 1, ``*kernel``) in float64, input side first.
        Index ``n // 2`` of a kernel's axis of n taps is lag 0.
    offset_ : float or ndarray of shape (n_features,)
        Mean of the rows at z = 0; one for all entries on a circle.
    noise_variance_ : float
        Of e: what the chain leaves of the rows' variance, at least a millionth of it.
    graph_ : MechanismGraph
        ``noise -> dense1 -> ... -> data``, or ``conv1``...; in float64.
    nodes_ : dict of str to tuple
        Nodes that can be intervened on, with their shapes.
    mechanisms_ : dict of str to tuple of str
        Mechanisms, which bear the names of their nodes, with the nodes they read.
    history_ : DataFrame
        Loss and fit term before each step, and the penalty if it has a weight.
    n_iter_ : int
        Steps made.
    bounds_ : None
        Samples are not clipped.
    random_state_ : RandomState
        Where unseeded draws come from.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if X has string column names.

    Notes
    -----
    With `inputs` the fit term is the mean squared error of ``W_K ... W_1 z``; without
    them, ``||S - C||^2 / n_features`` relative to the squared mean variance, where S
    is the chain's and C the rows' covariance. On a circle S and C are power spectra.
    The optimum has one value for any number of rows: with fewer rows than dimensions
    C is singular, and `noise_variance_` alone makes the density exist.

    From samples alone the whole chain is identified up to a rotation of the noise (on
    a circle, up to phases). Even with `inputs` single mechanisms are not: gradient
    descent from small weights gives ``W_1 W_1^T = W_2^T W_2``, which is dependent.
    An independence penalty selects mechanisms with the right power under random
    interventions; it does not identify them. From a random start free kernels end far
    from the true ones whatever its weight.

    Densities are exact, under affine interventions and mechanisms of other chains too.
    Behind a hidden node that is set to a value the noise of later nodes is left, which
    is scored.

    Weights are measured as they are, without the scaling of hidden units that networks
    with activations need. Spectral ratios are taken at linear lags, which
    is exact as long as two kernels together are no longer than the signal. Two equal
    kernels stay equal under their common gradient, so that no penalty can part them:
    start "conv" elsewhere than at "identity".

    References
    ----------
    Besserve, Sun, Janzing, Schölkopf (2021), *A theory of independent mechanisms for
    extrapolation in generative models*, arXiv 2004.00184.

    Examples
    --------
    >>> from sklearn_icm.datasets import make_linear_chain
    >>> from sklearn_icm.generators import ChainGenerator
    >>> chain = make_linear_chain(100, n_features=5, random_state=0)
    >>> X, Z = chain.data[:100], chain.noise
    >>> model = ChainGenerator(random_state=0).fit(X, inputs=Z)
    >>> model.nodes_
    {'noise': (5,), 'dense1': (5,), 'data': (5,)}
    >>> model.intervene({"dense1": 0.0}, n_samples=2, observation_noise=False).shape
    (2, 5)
    """

    model_class = ChainModule

    _architecture_names = (
        "kind",
        "data_shape",
        "n_layers",
        "kernel_size",
        "padding",
        "init",
        "label_noise",
    )

    _parameter_constraints = {
        **CONSTRAINTS,
        "kind": [StrOptions({"dense", "conv"})],
        "n_layers": [Interval(Integral, 2, None, closed="left")],
        "kernel_size": [Interval(Integral, 1, None, closed="left"), tuple, list, None],
        "padding": [StrOptions({"circular", "zeros"})],
        "init": [StrOptions({"small", "identity", "xavier"}), tuple, list],
        "optimizer": [StrOptions({"gd", "sgd", "adam"})],
        "batch_size": [Interval(Integral, 1, None, closed="left"), None],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "label_noise": [Interval(Real, 0, None, closed="left")],
    }

    # Not parameters: float64 has no place on some devices, normal rows no bounds.
    device, bounds = "cpu", None

    def __init__(
        self,
        kind="dense",
        *,
        data_shape=None,
        n_layers=2,
        kernel_size=None,
        padding="circular",
        init="xavier",
        optimizer="adam",
        lr=0.01,
        batch_size=None,
        max_iter=1000,
        label_noise=0.0,
        icm_penalty="auto",
        icm_weight=0.0,
        observational=None,
        warm_start=False,
        random_state=None,
    ):
        self.kind = kind
        self.data_shape = data_shape
        self.n_layers = n_layers
        self.kernel_size = kernel_size
        self.padding = padding
        self.init = init
        self.optimizer = optimizer
        self.lr = lr
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.label_noise = label_noise
        self.icm_penalty = icm_penalty
        self.icm_weight = icm_weight
        self.observational = observational
        self.warm_start = warm_start
        self.random_state = random_state

    # ----------------------------------------------------------------- fitting
    @fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, environments=None, inputs=None):
        """Fit the chain to the rows of X, or to pairs of inputs and rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least two rows of finite numbers, in C order with a `data_shape`.
        y, environments : array-like of shape (n_samples,), optional
            Environment labels. Only the rows labelled `observational` are fitted;
            without `observational` the labels are ignored.
        inputs : array-like of shape (n_samples, n_inputs), optional
            Values of the noise node behind each row. None fits the second-order
            statistics of X.

        Returns
        -------
        self : object

        Raises
        ------
        FitDivergedError
            If a loss term becomes infinite or NaN ("epoch" in its message is the
            step); the last finite model is kept.

        Warns
        -----
        FitInterruptedWarning
            If Ctrl-C ended the fit early; the model is usable.
        """
        return self._fit(X, y, environments, inputs=inputs)

    @fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, environments=None, inputs=None):
        """Make as many steps as one pass over the rows takes, from where training is.

        Parameters are those of `fit`, and so are the errors.

        Returns
        -------
        self : object
        """
        return self._fit(X, y, environments, one_pass=True, inputs=inputs)

    def _rows_to_fit(self, X, y, environments, before, inputs=None):
        rows, space = super()._rows_to_fit(X, y, environments, before)
        if inputs is None:
            if self.label_noise:
                raise ValueError(
                    f"label_noise={self.label_noise} needs the inputs behind the rows: "
                    "fit(X, inputs=Z). It would add to the variance of X otherwise."
                )
            return rows, space
        Z = check_array(plain_rows(inputs), dtype=np.float64, input_name="inputs")
        check_consistent_length(X, Z)
        if self.observational is not None:
            labels = resolve_environments(X, y, environments)
            Z = Z[find_rows(labels, self.observational)]
        wanted = None if before is None else before.model.n_inputs
        if wanted not in {None, Z.shape[1]}:
            raise ValueError(
                f"inputs must have {wanted} columns, as in the fit that continues, got "
                f"{Z.shape[1]}."
            )
        return replace(rows, inputs=torch.tensor(Z)), space

    def _trainer(self, rows, one_pass):
        whole = self.batch_size is None or self.optimizer == "gd"
        size, n_steps = None if whole else int(self.batch_size), int(self.max_iter)
        if one_pass:
            n_steps = 1 if whole else -(-len(rows) // size)
        return replace(
            Trainer.of(self),
            max_epochs=n_steps,
            batch_size=size,
            lr_schedule="constant",
            optimizer="adam" if self.optimizer == "adam" else "sgd",
        )

    # ---------------------------------------------------- what a family writes
    def _make_space(self, rows, space):
        shape, n_inputs = None, None
        if self.kind == "conv":
            own = (self.n_features_in_,)
            shape = own if self.data_shape is None else self.data_shape
        elif self.data_shape is not None:
            raise ValueError(
                'data_shape is for kind="conv"; kind="dense" sees rows as vectors: '
                f"set it to None, got {self.data_shape!r}."
            )
        space = space.of(rows.x, shape, "auto", None)
        if self.kind == "conv" and space.layout.node_shape[0] > 1:
            raise ValueError(
                'data_shape must be (length,) or (height, width) with kind="conv", '
                f"whose maps have one channel, got {self.data_shape!r}."
            )
        if rows.inputs is not None:
            n_inputs = rows.inputs.shape[1]
        return replace(space, n_inputs=n_inputs)

    def _build(self, space):
        n_features, n_inputs = space.n_features, space.n_inputs
        given = given_weights(self.init, self.n_layers)
        if self.kind == "dense":
            if n_inputs is None and given is None:
                n_inputs = n_features
            shapes = dense_shapes(n_features, n_inputs, self.n_layers, given)
        else:
            if n_inputs not in {None, n_features}:
                raise ValueError(
                    'inputs must have as many columns as X with kind="conv", '
                    f"{n_features}, got {n_inputs}."
                )
            grid = space.layout.node_shape[1:]
            shapes = conv_shapes(grid, self.kernel_size, self.n_layers, given)
        return ChainModule(
            space.layout,
            shapes,
            self.init,
            circular=self.padding == "circular",
            label_noise=float(self.label_noise),
        )

    # ----------------------------------------------------------------- queries
    @property
    def weights_(self):
        """Weights of the mechanisms as float64 arrays, input side first."""
        weights = self._fitted_module("weights_").weights
        return [weight.detach().numpy().copy() for weight in weights]

    @property
    def offset_(self):
        """Mean of the rows at z = 0: per column, or one number on a circle."""
        module = self._fitted_module("offset_")
        offset = module.likelihood.link.offset.flatten().numpy().copy()
        return float(offset[0]) if module.on_circle else offset

    @property
    def noise_variance_(self):
        """Variance of the observation noise."""
        return float(self._fitted_module("noise_variance_").likelihood.variance)

    @property
    def history_(self):
        """DataFrame with one row per step: loss and fit term (and penalty) before."""
        history = super().history_.rename_axis(index="step")
        return history.drop(columns=["icm_weight", "duration"])
