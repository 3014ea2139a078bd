"""Variational autoencoder whose decoder is a graph of mechanisms."""

import copy
from numbers import Integral, Real

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..._fitting import CONSTRAINTS
from ...base import BaseGenerator
from ...mechanisms import (
    MechanismGraph,
    conv_decoder,
    conv_encoder,
    dense_decoder,
    dense_encoder,
)
from ...mechanisms._checks import final_activation, refuse_random
from ...mechanisms._modules import ACTIVATIONS
from ...models import BernoulliLikelihood, GaussianLikelihood
from ...utils._sklearn import Interval, StrOptions
from ...utils.checks import is_count
from ._model import VAEModule, doubts_of_two_values

__all__ = ["VAEGenerator"]

LIKELIHOODS = {"gaussian": GaussianLikelihood, "bernoulli": BernoulliLikelihood}


class VAEGenerator(BaseGenerator):
    """Variational autoencoder with named mechanisms and an independence penalty.

    Parameters
    ----------
    data_shape : tuple of int, default=None
        Shape of one row: ``(length,)`` of a signal, ``(height, width)`` of a grey and
        ``(height, width, channels)`` of a colour image; the decoder is then
        convolutional. None means a table, with a dense decoder.
    data_kind : {"auto", "table", "signal", "image"}, default="auto"
        What a row is. "auto" goes by `data_shape`, as above; only "signal" allows
        ``(length, channels)``, a signal of several channels.
    n_latents : int, default=12
        Dimensions of the noise node.
    hidden : sequence of int, default=None
        Widths of the hidden nodes, from the noise to the data; None is ``(256, 256)``
        units for a table and ``(32, 16)`` channels otherwise, with 16 more for each
        map that it takes to begin with at most 64 places (8 x 8).
    kernel_size : int, default=5
        Of the convolutions.
    activation : {"silu", "relu", "softplus", "tanh", "identity"}, default="silu"
        Of the hidden nodes.
    decoder : callable, default=None
        Your own decoder: ``decoder(n_latents, data_shape)`` returns a
        :class:`~sklearn_icm.mechanisms.MechanismGraph` whose one root has shape
        ``(n_latents,)``; ``data_shape`` is channels first, or ``(n_features,)``. Its
        output is in standardised units (gaussian) or logits (bernoulli).
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        Gaussian noise, its variance a function of an entry's mean that is fitted after
        training, or Bernoulli entries for data in [0, 1].
        Scores of the two are comparable where entries are 0 or 1.
    beta : float, default=1.0
        Weight of the Kullback-Leibler term in training.
    latent_density : {"mixture", "gaussian"}, default="mixture"
        Distribution of the noise node when sampling: a Gaussian mixture that is fitted
        to the latents after training, or the N(0, I) prior.
    icm_penalty : str, callable or None, default="auto"
        "spectral", "trace", "auto" (whichever fits each pair of mechanisms), or a
        penalty such as :class:`~sklearn_icm.independence.SpectralPenalty`.
    icm_weight : float, default=0.0
        Weight of the penalty beside the negative evidence bound per feature.
    icm_warmup : int, default=0
        Epochs over which the weight rises from 0.
    observational : label or list of labels, default=None
        Environment label(s) of the rows that are fitted; None fits all rows.
    bounds : {"data"}, (low, high) or None, default="data"
        Samples are clipped to the observed range (of each column of a table, of all
        entries of an image or signal), to a given range, or not at all.
    max_epochs : int, default=200
    batch_size : int, default=128
    lr : float, default=2e-3
        Learning rate; the highest one of the one-cycle schedule.
    lr_schedule : {"one-cycle", "constant"}, default="one-cycle"
    optimizer : {"adam", "adamw", "sgd"}, default="adam"
    weight_decay : float, default=0.0
    early_stopping : bool, default=False
        Stop when the held-out loss has not improved by `tol` for `n_iter_no_change`
        epochs, and go back to the best epoch.
    validation_fraction : float or "auto", default="auto"
        Part of the rows that is held out and logged; "auto" is 0.1 with
        `early_stopping` and 0 without.
    n_iter_no_change : int, default=10
    tol : float, default=1e-4
    callbacks : list of skorch callbacks, default=None
        They see epochs, batches and gradients, and ``net.history`` holds the columns
        of `history_`, "train_loss", "train_loss_best" and, if rows are held out,
        "valid_loss" and "valid_loss_best". An ``LRScheduler`` needs
        ``lr_schedule="constant"``, or both change the rate.
    device : str, default="auto"
        "auto" is CUDA, else MPS, else CPU; or the name of a torch device.
    warm_start : bool, default=False
        Go on at the next `fit`: `max_epochs` more, with the optimiser as it was, or to
        the end of a fit that was stopped, as if it had not been.
    random_state : int, RandomState or None, default=None
    verbose : int, default=0
        1 shows one line of progress.

    Attributes
    ----------
    graph_ : MechanismGraph
        The fitted decoder.
    encoder_ : MechanismGraph
        The fitted encoder.
    nodes_ : dict of str to tuple
        Nodes that can be intervened on, with their shapes.
    mechanisms_ : dict of str to tuple of str
        Mechanisms, which bear the names of their nodes, with the nodes they read.
    history_ : DataFrame
        Loss terms per feature, penalty and held-out losses, one row per epoch.
    n_iter_ : int
        Epochs trained.
    bounds_ : ndarray of shape (2, 1) or (2, n_features), or None
    random_state_ : RandomState
        Where unseeded draws come from.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if X has string column names.

    Warns
    -----
    CollapsedDecoderWarning
        From `fit`, with a `data_shape`: the decoder's output hardly depends on its
        noise. The most common cause is that too few steps were made.
    PoorFitWarning
        From `fit`, of entries of two values whose mean or standard deviation is another
        one in samples (by a tenth of the latter), since `bounds` clip their noise.

    References
    ----------
    Kingma, Welling (2014), *Auto-encoding variational Bayes*, arXiv 1312.6114.
    Besserve, Sun, Janzing, Schölkopf (2021), *A theory of independent mechanisms for
    extrapolation in generative models*, arXiv 2004.00184.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn_icm.generators import VAEGenerator
    >>> from sklearn_icm.interventions import Stretch
    >>> X = load_digits().data / 16
    >>> vae = VAEGenerator(data_shape=(8, 8), max_epochs=2, random_state=0).fit(X)
    >>> vae.nodes_
    {'noise': (12,), 'conv1': (32, 4, 4), 'conv2': (16, 4, 4), 'data': (1, 8, 8)}
    >>> vae.sample(3).shape
    (3, 64)
    >>> vae.intervene({"conv2": Stretch(1.5, axis="width")}, n_samples=3).shape
    (3, 64)
    """

    model_class = VAEModule
    _parameter_constraints = {
        **CONSTRAINTS,
        "n_latents": [Interval(Integral, 1, None, closed="left")],
        "hidden": ["array-like", None],
        "kernel_size": [Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "decoder": [callable, None],
        "likelihood": [StrOptions(set(LIKELIHOODS))],
        "beta": [Interval(Real, 0, None, closed="left")],
        "latent_density": [StrOptions({"gaussian", "mixture"})],
    }

    def __init__(
        self,
        data_shape=None,
        *,
        data_kind="auto",
        n_latents=12,
        hidden=None,
        kernel_size=5,
        activation="silu",
        decoder=None,
        likelihood="gaussian",
        beta=1.0,
        latent_density="mixture",
        icm_penalty="auto",
        icm_weight=0.0,
        icm_warmup=0,
        observational=None,
        bounds="data",
        max_epochs=200,
        batch_size=128,
        lr=2e-3,
        lr_schedule="one-cycle",
        optimizer="adam",
        weight_decay=0.0,
        early_stopping=False,
        validation_fraction="auto",
        n_iter_no_change=10,
        tol=1e-4,
        callbacks=None,
        device="auto",
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        self.data_shape = data_shape
        self.data_kind = data_kind
        self.n_latents = n_latents
        self.hidden = hidden
        self.kernel_size = kernel_size
        self.activation = activation
        self.decoder = decoder
        self.likelihood = likelihood
        self.beta = beta
        self.latent_density = latent_density
        self.icm_penalty = icm_penalty
        self.icm_weight = icm_weight
        self.icm_warmup = icm_warmup
        self.observational = observational
        self.bounds = bounds
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.device = device
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    # ---------------------------------------------------- what a family writes
    def _build(self, space):
        layout = space.layout
        decoder = self._build_decoder(layout)
        likelihood = LIKELIHOODS[self.likelihood](layout.node_shape)
        return VAEModule(
            layout,
            graph=decoder.with_link(likelihood.link),
            encoder=self._build_encoder(layout),
            likelihood=likelihood,
            beta=self.beta,
            fits_mixture=self.latent_density == "mixture",
        )

    def _hidden_layers(self, layout):
        """What builders of decoders and encoders take."""
        is_table = layout.data_shape is None
        options = {"activation": self.activation}
        if not is_table:
            options["kernel_size"] = int(self.kernel_size)
        if self.hidden is None:
            return options
        widths = tuple(self.hidden)
        whole = all(map(is_count, widths))
        if not whole or (not widths and not is_table):
            raise ValueError(
                "hidden must be None or a sequence of positive ints (not empty with a "
                f"data_shape), got {self.hidden!r}."
            )
        return {"hidden": tuple(map(int, widths)), **options}

    def _build_decoder(self, layout):
        n_latents = int(self.n_latents)
        if self.decoder is None:
            build = dense_decoder if layout.data_shape is None else conv_decoder
            return build(n_latents, layout.node_shape, **self._hidden_layers(layout))
        graph = self.decoder(n_latents, layout.node_shape)
        if not isinstance(graph, MechanismGraph):
            raise TypeError(
                "decoder must return a MechanismGraph, got "
                f"{type(graph).__name__} from decoder({n_latents}, "
                f"{layout.node_shape})."
            )
        if list(graph.roots.values()) != [(n_latents,)]:
            raise ValueError(
                f"The decoder's graph must have one root of shape ({n_latents},), "
                f"got {graph.roots}."
            )
        # A builder may keep a reference to its modules; training must not move them.
        graph = copy.deepcopy(graph)
        self._check_output(graph, layout.node_shape)
        return graph

    def _check_output(self, graph, node_shape):
        """Refuse an own decoder whose output cannot be that of the data node."""
        refuse_random(graph)
        shape = graph.nodes[graph.data_node]
        if shape != node_shape:
            raise ValueError(
                f"The decoder's data node {graph.data_node!r} must have the shape "
                f"{node_shape} (channels first) that decoder is called with, got "
                f"{shape}. End a dense decoder with nn.Unflatten(1, {node_shape})."
            )
        ending = final_activation(graph)
        if ending is not None:
            gaussian = self.likelihood == "gaussian"
            units = "standardised units (mean 0, deviation 1)" if gaussian else "logits"
            raise ValueError(
                f"The decoder's data node {graph.data_node!r} is made by {ending}, "
                f"whose range is limited, but with likelihood={self.likelihood!r} its "
                f"values are taken as {units}, of both signs. Leave out the final "
                f"{ending}: the units of X are restored behind the decoder."
            )

    def _build_encoder(self, layout):
        build = dense_encoder if layout.data_shape is None else conv_encoder
        n_outputs = 2 * int(self.n_latents)
        return build(layout.node_shape, n_outputs, **self._hidden_layers(layout))

    def _own_doubts(self, n_rows):
        names = getattr(self, "feature_names_in_", np.arange(self.n_features_in_))
        fitted = self._fitted
        return doubts_of_two_values(
            fitted.model, fitted.space.bounds, names, n_rows, fitted.entropy
        )

    def _make_space(self, rows, space):
        is_share = self.likelihood == "bernoulli" and self.bounds == "data"
        bounds = (0.0, 1.0) if is_share else self.bounds
        return space.of(rows.x, self.data_shape, self.data_kind, bounds)

    # ----------------------------------------------------------------- queries
    @property
    def encoder_(self):
        """Fitted encoder, data to posterior (means, then log variances)."""
        return self._fitted_module("encoder_").encoder

    def score_samples(self, X, *, interventions=None, n_importance=None):
        """Lower bound of the log density of each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        interventions : dict of str to intervention, optional
            On the data node alone, affine and invertible, such as ``{"data":
            Scale(2.0)}``: the bound is that of ``intervene(interventions,
            n_samples=...)``.
        n_importance : int, optional
            None gives the evidence lower bound at beta = 1; an int the tighter
            importance-weighted bound with that many draws (Burda et al. 2016, arXiv
            1509.00519).

        Returns
        -------
        ndarray of shape (n_samples,)
            Under the density that `sample` uses (before its values are clipped). All
            rows share one fixed set of noise, so that a row's value does not depend
            on the others.

        Raises
        ------
        ValueError
            For interventions on other nodes: the encoder knows what is behind the rows
            of the unchanged decoder alone, so that their bound would say nothing.

        Notes
        -----
        An entry that had two values in the fit (a column of a table; all entries of an
        image or signal) is scored by the mean density over a cell about its value, as
        wide as their gap, since a density would grow without bound. Of zeros and ones
        this is a probability, as that of ``likelihood="bernoulli"``.
        """
        check_is_fitted(self)
        if n_importance is not None and not is_count(n_importance):
            raise ValueError(
                f"n_importance must be None or a positive int, got {n_importance!r}."
            )
        interventions = self._each_row(interventions or {}, X, None)
        X = self._check_rows(X)
        return self._scored(X, interventions, n_importance=n_importance)
