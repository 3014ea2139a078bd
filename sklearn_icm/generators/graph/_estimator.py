"""Tables over a causal graph: one mechanism per column."""

from dataclasses import replace
from numbers import Integral

import numpy as np
import torch

from ..._fitting import CONSTRAINTS
from ...base import BaseGenerator
from ...rows._batches import renewed
from ...rows._columns import plain_columns, plain_rows
from ...rows._frames import plain_array
from ...rows._space import Space
from ...utils._sklearn import Interval, StrOptions
from ...utils.environments import find_rows, resolve_environments
from ...utils.streams import torch_stream
from ...utils.support import MOST_FITTED
from ._edges import check_unobserved, parse_graph, targeted_entries
from ._model import GraphModule
from ._queries import GraphQueriesMixin
from ._table import check_known, refuse_missing
from .columns._structure import MECHANISMS, allowed_kinds
from .kinds._given import NestedMechanisms, given_mechanisms

__all__ = ["GraphGenerator"]

ADVICE = (
    "Set missing='available' to fit each mechanism to the rows in which its column and "
    "its parents are known, or fill them in before."
)
ADVICE_OF_QUERIES = (
    "Fit with missing='available', so that questions to rows draw what is missing from "
    "what the rest of the row tells of it, or fill them in."
)
ADVICE_OF_TESTS = (
    "Leave out these rows: what would be drawn for them is as the model has it."
)


class GraphGenerator(NestedMechanisms, GraphQueriesMixin, BaseGenerator):
    """Structural causal model of a table: one mechanism per column of a known graph.

    Parameters
    ----------
    graph : list of (cause, effect), dict, array, DataFrame or DiGraph, default=None
        Edges between columns, by name or position: a list of pairs; a dict of each
        effect's cause or causes; an adjacency matrix whose entry (i, j) is nonzero if i
        causes j (a DataFrame with the same index and columns, or an array); or a
        networkx.DiGraph (its ``to_dict_of_lists`` maps causes to effects, the other way
        round: `edges_` shows what was read). Columns that it does not name have no
        parents. None: no edges.
    unobserved : dict of str to int, default=None
        Unobserved nodes of the graph, and their dimensions: causes of columns that are
        not in the table, or what lies between columns. An adjacency array counts them
        after the columns.
    mechanism : {"auto", "linear", "polynomial", "additive", "location-scale", \
            "energy", "mixture", "categorical"} or dict, default="auto"
        How a numeric column depends on its parents: linearly, by a polynomial of degree
        two (revenue = price * units), both by least squares, or by small networks, plus
        noise; "location-scale" also scales the noise by networks (its mean is the
        simplest of the three that does); "energy" is an increasing curve of a linear
        function plus noise, trained by the energy score: if that is what the column is,
        it holds far from the data, and otherwise fails there. "auto" takes the simplest
        of the first four that does (see Notes), and is "additive" for effects of hidden
        nodes. "mixture" is one of three normal densities whose weights, means and
        scales are small networks, for a column with several modes given its parents.
        "categorical" gives the probability of each level, of numbers too; columns of
        levels need no such word. A dict gives some columns' own, by name or position;
        the others are "auto". In it a regressor, a classifier (for levels) or a
        ``torch.nn.Module`` may stand for a kind: see the Notes.
    noise : {"kernel", "normal"}, default="kernel"
        Density of each numeric mechanism's noise: a mixture of kernels that are as
        narrow as its residuals are close, or a normal one.
    n_units : int, default=16
        Of each network, tanh: far from the data a network is constant. Networks are
        trained four times, each without a quarter of the rows, and averaged. Of a curve
        of "energy", hinges: far from the data it is a line. The encoder of hidden nodes
        has two layers of four times as many.
    categorical_features : {"auto", "from_dtype"} or list of str or int, default="auto"
        Columns of levels; "from_dtype" takes those of strings, categories or truth
        values (objects that are all numbers are numbers); "auto" also those of two
        whole numbers, such as 0 and 1, unless `mechanism` gives them one of numbers.
        Their mechanism gives the probability of each level. All levels that a
        categorical type declares are kept: one that no row has weighs half a row.
    missing : {"raise", "available"}, default="raise"
        What is done with missing values: refuse them, or fit each mechanism to the rows
        in which its column and its parents are known (right if values are missing at
        random given the parents; fewer than 30 such rows are warned of, fewer than 2
        refused). `score_samples` then goes by the same mechanisms, and questions to
        rows draw what is missing in them: see Notes.
    targets : dict of label to str or list of str, default=None
        Columns whose mechanisms an environment changes. All fitted rows share the other
        mechanisms, and these are fitted without its rows; `fit` then needs the
        environment labels.
    icm_penalty : str, callable or None, default="auto"
        "noise", which is "auto", or a penalty of the values of the nodes.
    icm_weight : float, default=0.0
        Weight of the penalty beside the losses, which are summed over the columns.
    icm_warmup : int, default=0
        Epochs over which the weight rises from 0.
    observational : label or list of labels, default=None
        Environment label(s) of the rows that are fitted; None fits all rows.
    bounds : {"data"}, (low, high) or None, default=None
        Samples of numeric columns are clipped to the observed range of each, to a given
        range, or not at all.
    max_epochs : int or "auto", default="auto"
        "auto" is 60, but of many rows no more than take 3,000 steps (25 of 60,000 rows,
        1 of a million), and at least 1. One is made if all mechanisms are linear, and
        there is no penalty: then there is nothing to train.
    batch_size : int or "auto", default="auto"
        "auto" is 128 up to 6,400 rows, and then a fiftieth of the rows, up to 512.
    lr : float, default=2e-2
        Learning rate; the highest one of the one-cycle schedule.
    lr_schedule : {"one-cycle", "constant"}, default="one-cycle"
    validation_fraction : float, default=0
        Part of the rows that is held out to watch training (lines are solved on all).
    callbacks : list of skorch callbacks, default=None
        As in :class:`VAEGenerator`, such as `EarlyStopping`; here batches have no
        output, ``y_pred`` is None.
    device : str, default="auto"
        "auto" is CUDA, else MPS, else CPU; or the name of a torch device.
    warm_start : bool, default=False
        Go on at the next `fit`: `max_epochs` more, or to the end of one that was
        stopped.
    random_state : int, RandomState or None, default=None
    verbose : int, default=0
        1 shows one line of progress.

    Attributes
    ----------
    graph_ : MechanismGraph
        The fitted graph: a node per column, bearing its name (x0, x1, ... without
        names), between the noise and the data.
    edges_ : list of str
        Edges as they were read from `graph`, each "cause -> effect".
    nodes_ : dict of str to tuple
        Nodes that can be intervened on, with their shapes.
    mechanisms_ : dict of str to tuple of str
        Mechanisms, which bear the names of their nodes, with the nodes they read.
    mechanism_kinds_ : dict of str to str
        What each column's mechanism is, chosen or given, "own" of a regressor,
        classifier or module; of a column without parents, which has only noise, the
        first that was allowed ("linear" for "energy", "mixture" and "own").
    categories_ : dict of str to ndarray
        Levels of the categorical columns.
    history_ : DataFrame
        Losses summed over the columns by kind of mechanism, one row per epoch; those of
        lines change only under a penalty.
    n_iter_ : int
        Epochs trained.
    bounds_ : ndarray of shape (2, n_features), or None
    random_state_ : RandomState
        Where unseeded draws come from.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Only if X has string column names.

    Notes
    -----
    Interventions act in the units of the columns. Those on a column of levels speak of
    its levels: a level, ``Do(level)``, ``Resample([[level], ...])``, or a callable that
    maps levels (a tensor of numbers or truth values, an array of strings) to levels.
    `node_values` gives codes of it, positions in `categories_`, and an intervention on
    the data node may not change it. Rows of columns with levels that no floats
    hold are arrays of objects (DataFrames under `set_output`).

    Columns of whole numbers (by their type, not by their values) come out whole and
    within their range; `ClippedInterventionWarning` says if that took back much. Only
    what comes out is rounded: mechanisms, densities and `node_values` know the values
    before. Draws are rounded to the nearest number; counterfactuals up or down by a
    draw that belongs to the row, so that averages over rows are those of the model,
    where the range does not bind. An intervention on such a column is given whole
    numbers, and what it sets is kept, 2.5 too. For values that are not rounded, make it
    a column of floats.

    A linear mechanism, a polynomial, and a column without parents, have nothing to
    train: they are solved from sums over all rows in float64, so that no seed matters;
    parents that determine each other are warned of, and share their effect by the
    smallest weights. A polynomial has all squares and products of its numeric parents,
    and products of these with each level (a slope per level), at most 1,000
    coefficients, and is tried by "auto" up to 80.

    "auto" asks two tests whether a line will do. All rows: are its errors bent, by a
    score test of saturating functions, squares and products that holds whatever the
    noise is (a line that is right fails it in at most 2 % of the columns)? If so, a
    network is taken that is better at left-out rows, or a polynomial that is so by two
    standard errors, of the network too, where that is as clear. If not, a network must
    be better by three.

    **Beyond the rows of its parents** a mechanism goes on as the function that it is: a
    line as a line, a polynomial as a polynomial (far outside its squares rule), a curve
    of "energy" as a line, and a network, also that of a scale or of levels, levels off
    within about a standard deviation. No row tells whether that is right: `support`
    says where it matters.

    A mean is always fitted to squared errors: the scale of the noise is fitted to what
    it leaves, so that rows with much noise (such as those of a rare level) are not
    given up. No left-out row counts for more than 3 nats in a choice of kind or noise,
    so that a tail decides neither.

    Chances of levels are trained on the rows and, everywhere, on six more with the
    levels of all rows, so that few rows make no level sure.

    With an `icm_weight` lines are trained as well, from least squares on, in copies as
    networks are; constants of columns without parents stay solved, and polynomials,
    which "auto" does not take then. The penalty, such as
    :class:`~sklearn_icm.independence.NoisePenalty`, is given the values of the nodes in
    a batch: columns as they are, and as noise what the mechanisms leave of them, NaN
    where that is not known, and for columns of levels, "polynomial" and "energy". Where
    a column may have a line or a network, the penalty is the mean of a table with all
    lines and one with all networks; the noise of these is in units of their scale where
    "location-scale" is allowed. Kinds are chosen by left-out rows then as before. The
    mechanisms of ``step.graph`` are put together after training alone. If noise is
    dependent in truth, by causes that are no columns, a penalty makes the fit worse.

    Noise is drawn from a density of each mechanism's residuals, independent of the
    other columns: confounders that are not in the table are not modelled. It is normal
    unless a mixture with more detail is better, by two standard errors, at left-out
    residuals. A value that many residuals have is drawn as it is. Residuals below the
    resolution of float32 are none: a column that is a sum of others has no noise. Noise
    is added, so that draws of a positive column can be negative (`bounds` clips them);
    but where its noise grows with its mean, as a factor of the mean explains it,
    "location-scale" makes it one, and no draw is negative. The noise behind given rows
    is exact, so counterfactuals are too, as far as the mechanisms are right. So the
    units of another environment keep their own noise under ``intervene(..., X=X_env)``,
    while ``n_samples`` draws the noise of the fitted rows; for more draws of that
    environment resample the rows of ``X_env``. For a categorical column they depend on
    how noise is coupled to levels, which no data can tell: here levels are cut, in
    their order, from normal noise, and the noise behind a level is drawn from its
    interval, so that the average over rows is right. What is drawn for a row
    depends on what it holds and on how many equal rows stand before it, whatever else
    is given with it (`transform` gives the middle of the interval).

    With ``missing="available"`` questions to incomplete rows are those to the rows with
    draws of what is missing from its distribution given all that is known of them
    (`transform` gives the mean over draws): that of lines with normal noise exactly,
    else one of 256 or 4,096 candidates by weight, and rows of which few candidates fit
    are warned of. The draw belongs to the row, as the noise behind a level does;
    ``intervene(X=X, n_draws=...)`` gives several, and
    :func:`~sklearn_icm.metrics.average_effect` is a mean over them. It is right if what
    is missing depends on what is known alone. Whole numbers are drawn whole, and all
    within the `bounds`. `independence` needs complete rows.

    Up to 1,000 rows of the fit are kept (and saved) for `support`.

    `partial_fit` trains the mechanisms that the last `fit` or the first batch chose,
    and renews their noise: lines are those of all rows so far, residuals of earlier
    rows are kept, and fade once there are 4096.

    Hidden nodes are inferred by a variational autoencoder: each is a location, a small
    network of its parents, plus scaled normal noise (without parents, the noise alone),
    and an encoder of all columns approximates the posterior of this noise. It is
    trained with the mechanisms of its effects, by the evidence lower bound. What is
    found is one of many models that fit alike: a hidden node is known at best up to
    rotations and scales, and an effect that hidden causes share with their own effects
    is not identified by observation. `score_samples` then is an importance-weighted
    lower bound, and what is missing in a row is unknown to the encoder.

    Mechanisms of one's own are copied, and never changed. Regressors, and classifiers
    with ``predict_proba``, are given the parents in the order of the columns, numbers
    in their units and levels as indicators, and predict a number in its units, or codes
    of levels. They are fitted to all rows after training, regressors four times more
    without a quarter of them: what these leave of the rows that they did not see is the
    density of the noise. The noise of a row is what the regressor leaves of it, so that
    counterfactuals are exact; one that repeats its rows leaves too little, and is
    warned of. Every level has half a row more than a classifier says, so that each can
    be explained. A module is called with standardised numbers and indicators,
    (n, n_inputs), and returns a standardised number, (n, 1), or logits, (n, n_levels).
    It is trained with the others from the weights that it has, by squared error or
    cross-entropy, and its noise is what it leaves of the fitted rows. Parameters are
    reached as ``mechanism__column`` and ``mechanism__column__name``; seeds that are
    None come from `random_state`. An estimator has no gradient: where one is needed
    (``abduction="optimise"``) it is refused, and no penalty sees its noise;
    `partial_fit` asks for its own. Effects of hidden nodes have none of these, nor
    mixtures. The noise of a mixture is the quantile of a value, as a normal number, so
    that a row keeps its place in the order when its parents change.

    There is no observation noise beside that of the columns, so that
    ``observation_noise`` and ``residual`` change nothing.

    References
    ----------
    Pearl (2009), *Causality*. Hoyer, Janzing, Mooij, Peters, Schölkopf (2008),
    *Nonlinear causal discovery with additive noise models*, NIPS. Immer, Schultheiss,
    Vogt, Schölkopf, Bühlmann, Marx (2023), *On the identifiability and estimation of
    causal location-scale noise models*, arXiv 2210.09054. Seitzer, Tavakoli, Antic,
    Martius (2022), *On the pitfalls of heteroscedastic uncertainty estimation with
    probabilistic neural networks*, arXiv 2203.09168 (why means are not fitted to
    likelihoods). Chernozhukov et al. (2018), *Double/debiased machine learning*, arXiv
    1608.00060 (cross-fitting). Wooldridge (1991), *On the application of robust,
    regression-based diagnostics to models of conditional means and conditional
    variances*, Journal of Econometrics 47 (the test of bends). Clogg, Rubin, Schenker,
    Schultz, Weidman (1991), *Multiple imputation of industry and occupation codes in
    census public-use samples using Bayesian logistic regression*, JASA 86 (rows of a
    prior). Shen, Meinshausen
    (2023), *Engression: extrapolation through the lens of distributional regression*,
    arXiv 2307.00835 (energy; here the curve is increasing, so that abduction is exact).
    Bishop (1994), *Mixture density networks*.
    Louizos, Shalit, Mooij, Sontag, Zemel, Welling (2017), *Causal effect inference with
    deep latent-variable models*, arXiv 1705.08821 (hidden nodes).

    Examples
    --------
    >>> from sklearn_icm.datasets import make_scm
    >>> from sklearn_icm.generators import GraphGenerator
    >>> scm = make_scm(200, n_nodes=3, random_state=0)
    >>> est = GraphGenerator(scm.graph, max_epochs=2, random_state=0).fit(scm.data)
    >>> est.intervene({"x0": 1.0}, n_samples=2).shape
    (2, 3)

    A column with a regressor:

    >>> from sklearn.neighbors import KNeighborsRegressor
    >>> own = GraphGenerator(scm.graph, mechanism={"x1": KNeighborsRegressor(20)})
    >>> own = own.set_params(mechanism__x1__n_neighbors=30).fit(scm.data)
    >>> own.mechanism_kinds_["x1"]
    'own'
    """

    model_class = GraphModule

    _architecture_names = ("unobserved", "mechanism", "noise", "n_units")

    _parameter_constraints = {
        **CONSTRAINTS,
        "graph": "no_validation",
        "unobserved": [dict, None],
        "mechanism": [StrOptions(set(MECHANISMS)), dict],
        "noise": [StrOptions({"kernel", "normal"})],
        "n_units": [Interval(Integral, 1, None, closed="left")],
        "categorical_features": [StrOptions({"auto", "from_dtype"}), list, tuple],
        "missing": [StrOptions({"raise", "available"})],
        "targets": [dict, None],
        **{
            name: [StrOptions({"auto"}), *CONSTRAINTS[name]]
            for name in ("max_epochs", "batch_size")
        },
    }

    def __init__(
        self,
        graph=None,
        *,
        unobserved=None,
        mechanism="auto",
        noise="kernel",
        n_units=16,
        categorical_features="auto",
        missing="raise",
        targets=None,
        icm_penalty="auto",
        icm_weight=0.0,
        icm_warmup=0,
        observational=None,
        bounds=None,
        max_epochs="auto",
        batch_size="auto",
        lr=2e-2,
        lr_schedule="one-cycle",
        validation_fraction=0,
        callbacks=None,
        device="auto",
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        self.graph = graph
        self.unobserved = unobserved
        self.mechanism = mechanism
        self.noise = noise
        self.n_units = n_units
        self.categorical_features = categorical_features
        self.missing = missing
        self.targets = targets
        self.icm_penalty = icm_penalty
        self.icm_weight = icm_weight
        self.icm_warmup = icm_warmup
        self.observational = observational
        self.bounds = bounds
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.validation_fraction = validation_fraction
        self.callbacks = callbacks
        self.device = device
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "available"
        return tags

    # --------------------------------------------------------------------- fit
    def _build(self, space):
        names, parents = self._column_names(), self._parents()
        hidden = check_unobserved(self.unobserved, names)
        levels = {names[k]: len(v) for k, v in space.levels.items()}
        kinds = allowed_kinds(self.mechanism, parents, names, levels, set(hidden))
        given = given_mechanisms(self.mechanism, names, levels)
        options = int(self.n_units), hidden, given
        module = GraphModule(space.layout, parents, kinds, levels, *options)
        if self.noise == "normal":
            module.noise.options = (1,)
        module.fit.penalise(self._is_penalised())
        return module

    def _is_penalised(self):
        return self.icm_penalty is not None and bool(self.icm_weight > 0)

    def _parents(self):
        """Parents of every column and hidden node."""
        names = self._column_names()
        return parse_graph(
            self.graph, names, list(check_unobserved(self.unobserved, names))
        )

    def _shaping(self):
        # A graph has many forms, its parents one.
        return {**super()._shaping(), "graph": self._parents()}

    def _make_space(self, rows, space):
        return super()._make_space(rows, space).ranged(rows.x)

    def _adapt(self, model):
        model.fit.penalise(self._is_penalised())

    def _column_names(self):
        names = getattr(self, "feature_names_in_", None)
        if names is None:
            return [f"x{k}" for k in range(self.n_features_in_)]
        if len(set(names)) < len(names):
            raise ValueError(f"The columns of X must have unique names, got {names}.")
        return list(names)

    def _columns_of(self, X):
        X = plain_columns(plain_rows(X))
        return Space.of_table(X, self.categorical_features, self.mechanism)

    def _check_rows(self, X, space=None, *, reset=False, **options):
        X, space = plain_columns(plain_rows(X)), space or self._fitted.space
        # Names first, as levels are looked up by position.
        named = self._check_names(X, reset)
        X = plain_array(space.coded(X))
        fitting = "ensure_min_samples" in options
        if fitting and self.missing == "available":
            options["ensure_all_finite"] = "allow-nan"
        elif "ensure_all_finite" not in options:
            takes = (
                ADVICE_OF_TESTS if self.missing == "available" else ADVICE_OF_QUERIES
            )
            refuse_missing(X, ADVICE if fitting else takes)
        return self._check_numbers(X, named, reset=reset, **options)

    def _rows_to_fit(self, X, y, environments, before):
        rows, space = super()._rows_to_fit(X, y, environments, before)
        changed = self._changed_entries(X, y, environments)
        if changed is None and self.missing == "raise":
            return rows, space
        known = ~np.isnan(rows.x)
        if changed is not None:
            known &= ~changed
        if before is None and self.missing == "available":
            check_known(rows.x, known, self._parents(), self._column_names())
        if not known.all():
            rows = replace(rows, known=torch.from_numpy(known))
        return rows, space

    def _changed_entries(self, X, y, environments):
        """Which entries of fitted rows come from changed mechanisms, if any do."""
        if self.targets is None:
            return None
        labels = resolve_environments(
            X, y, environments, required_by=f"targets={self.targets!r}"
        )
        if self.observational is not None:
            labels = labels[find_rows(labels, self.observational)]
        names, hidden = self._column_names(), self.unobserved or ()
        return targeted_entries(labels, self.targets, names, hidden)

    def _some_rows(self, rows, fitted, renew):
        """Rows that `support` compares with; beside them which entries are unknown."""
        n_epochs = len(fitted.progress.history)
        stream = torch_stream(fitted.entropy, f"support {n_epochs}")
        some = torch.randperm(len(rows), generator=stream)[:MOST_FITTED].numpy()
        values = rows.x[some]
        unknown = np.zeros_like(values) if rows.known is None else ~rows.known[some]
        values = np.hstack([values, unknown], dtype=values.dtype)
        if not renew:
            return values
        kept, values = map(torch.from_numpy, (fitted.rows, values))
        return renewed(kept, values, MOST_FITTED, stream).numpy()
