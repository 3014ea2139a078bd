"""A generator beside refits of it to resampled rows, which say how sure it is."""

import warnings
from contextlib import suppress
from functools import wraps
from itertools import chain
from numbers import Integral

import numpy as np
import pandas as pd
from joblib import effective_n_jobs
from pandas.api.types import is_numeric_dtype
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone
from sklearn.utils import Bunch, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import check_is_fitted

from ..base import BaseGenerator, is_generator
from ..exceptions import FitDivergedError, FitInterruptedWarning, PoorFitWarning
from ..rows._columns import plain_rows
from ..rows._frames import as_frame
from ..utils._sklearn import Interval, fit_context, is_fold_of_search
from ..utils.checks import check_level, plain, unchanged_on_error
from ..utils.documentation import DocumentedMixin
from ..utils.environments import resolve_environments
from ..utils.pipelines import last_step, seeded_clone, seeds_of
from ..utils.rows import take_rows
from ..utils.streams import new_entropy, stream_seed
from ._trust import TrustMixin
from ._wrap import in_input_space, over_refits, widened

LEAST_REFITS = 2
# To draw rows among which is each level.
MOST_TRIES = 20
# Refits that are trained as one, and numbers in their rows: of large tables fewer, so
# that memory is bounded, and Ctrl-C keeps some.
MOST_TOGETHER, MOST_NUMBERS = 20, 2**20
# Parameters by which rows of some environments count otherwise than others.
OF_ENVIRONMENTS = ("observational", "targets")


def _verb(name):
    """A verb that the fit to all rows answers, where its generator has it."""

    @wraps(getattr(BaseGenerator, name))
    def ask(self, *args, **params):
        check_is_fitted(self)
        return getattr(in_input_space(self.estimator_), name)(*args, **params)

    def has(self):
        return hasattr(last_step(getattr(self, "estimator_", self.estimator)), name)

    return available_if(has)(ask)


class BootstrapGenerator(
    TrustMixin, DocumentedMixin, MetaEstimatorMixin, BaseEstimator
):
    """A generator, beside refits of it to resampled rows that make intervals honest.

    Intervals of a single fit count what is drawn, as if the fit were the truth. Those
    of this one count estimation too, wherever the package gives one.

    Parameters
    ----------
    estimator : generator, or pipeline or search that ends in one
        Put this around a pipeline, not into it, so that its other steps are refitted.
    n_estimators : int, default=20
        Refits, at least 2.
    n_jobs : int, default=None
        Processes, as joblib takes it. They take seconds to start, more than small
        tables take to fit.
    random_state : int, RandomState or None, default=None
        Of what is resampled and of the seeds of the refits, of the first fit only where
        its own are None. More refits leave the first ones as they are.

    Attributes
    ----------
    estimator_ : estimator
        Fitted to all rows. It answers every verb, as do all its fitted attributes, such
        as ``nodes_``, from here too.
    estimators_ : list of estimators
        Refits to as many rows, drawn with replacement within each environment. They
        answer nothing, and give intervals alone.
    n_diverged_ : int
        Refits that diverged, and are not among these.

    Notes
    -----
    An interval is that of the t distribution with one degree of freedom less than
    refits, about the answer of ``estimator_``, by the root of the mean squared distance
    of the refits' answers from it (not from their mean: what a fit to fewer distinct
    rows is biased by, counts too). :func:`~sklearn_icm.metrics.\
average_effect`, the reports of :func:`~sklearn_icm.metrics.make_extrapolation_scorer`,
    :func:`~sklearn_icm.metrics.compare_models`, :func:`~sklearn_icm.metrics.evaluate`,
    :func:`~sklearn_icm.metrics.mechanism_shift`, :func:`~sklearn_icm.model_selection.\
fit_intervention` and the displays of these take it and say so; `interval` gives that of
    any other number. Refits are asked with the same draws, and what these or the choice
    of rows add is joined to it.

    **What no interval covers** is what all refits have in common: a wrong graph, a
    cause that is not in the table, the kinds of functions that are fitted (networks are
    too smooth where rows are few, and ``mechanism="auto"`` takes a line where a bend
    cannot be seen), and what these do beyond the range of the rows.

    Rows are resampled within environments (labels) if `environments` are given, or if
    the estimator reads labels (`observational`, `targets`); else all together. Rows
    that belong together, such as repeated measurements, are resampled as if they did
    not: intervals are then too narrow.

    All is fitted afresh, with other seeds, and kinds of mechanisms are chosen anew, so
    that an unsure choice counts: some refits then have a line, others a curve. Copies
    of a row are left out together, and count as one where a line is tested. By
    ``mechanism="auto"`` intervals of a line of 100 rows were 1.17 times as wide as
    least squares' own (200 data sets), 1.07 because there are 20 refits.

    The units of a hidden node have no identity across refits, which find them in
    another order. So intervals are refused of interventions on hidden nodes that do not
    treat all units alike, such as ``Units(3, Do(0.0))``; `interval` does not look. (A
    unit may also come with the other sign, which makes the interval of a shift wide.)

    Refits of a :class:`~sklearn_icm.generators.GraphGenerator` are trained as one on
    the CPU, twenty in the time of about five fits, unless it has unobserved nodes,
    mechanism "energy" or a ``torch.nn.Module`` as one, a penalty, callbacks or held-out
    rows, or prints. Others, and those of pipelines, are fitted one by one.

    Ctrl-C keeps the refits that are finished, if there are two; else the earlier fit.
    Those that are trained as one are finished together.

    References
    ----------
    Efron (1979), *Bootstrap methods: another look at the jackknife*, Annals of
    Statistics 7. Efron, Tibshirani (1993), *An introduction to the bootstrap*.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_icm.generators import GraphGenerator
    >>> from sklearn_icm.metrics import average_effect
    >>> rng = np.random.RandomState(0)
    >>> cause = rng.randn(100)
    >>> X = np.column_stack([cause, 0.8 * cause + 0.6 * rng.randn(100)])
    >>> graph = GraphGenerator([(0, 1)], mechanism="linear")
    >>> model = BootstrapGenerator(graph, random_state=0).fit(X)
    >>> found = average_effect(model, "x0", 1.0, 0.0, 1, random_state=0)
    >>> bool(found.low < 0.8 < found.high)
    True
    >>> found.counts
    'the draws and 20 refits, not of a wrong graph, a hidden cause or values beyond the
    range of the rows'
    """

    __metadata_request__fit = {"environments": True}
    __metadata_request__score = {"environments": True}

    _parameter_constraints = {
        "estimator": "no_validation",
        "n_estimators": [Interval(Integral, LEAST_REFITS, None, closed="left")],
        "n_jobs": [Integral, None],
        "random_state": ["random_state"],
    }

    def __init__(self, estimator, *, n_estimators=20, n_jobs=None, random_state=None):
        self.estimator = estimator
        self.n_estimators = n_estimators
        self.n_jobs = n_jobs
        self.random_state = random_state

    def __sklearn_tags__(self):
        return get_tags(self.estimator)

    def __sklearn_is_fitted__(self):
        return "estimators_" in vars(self)

    def __getattr__(self, name):
        is_fitted = name.endswith("_") and not name.startswith("_")
        if is_fitted and "estimator_" in vars(self) and name != "estimators_":
            return getattr(in_input_space(self.estimator_), name)
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}."
        )

    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X, y=None, environments=None):
        """Fit the estimator to all rows, and its refits to resampled ones.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y, environments : array-like of shape (n_samples,), optional
            Environment labels.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError
            If the estimator is no generator.
        ValueError
            If an environment has a single row, if a refit fails, or if fewer than two
            do not diverge.

        Warns
        -----
        PoorFitWarning
            If some refits diverged, which are left out.
        FitInterruptedWarning
            If Ctrl-C ended the refits early.
        """
        if not is_generator(self.estimator):
            raise TypeError(
                "estimator must be a generator, or a pipeline that ends in one, got "
                f"{self.estimator!r}."
            )
        with unchanged_on_error(self):
            self._fit(X, y, environments)
        return self

    def _fit(self, X, y, environments):
        entropy, _ = new_entropy(self.random_state)
        first = clone(self.estimator)
        if self.random_state is not None:
            unseeded = [k for k, seed in seeds_of(first).items() if seed is None]
            first.set_params(**{k: stream_seed(entropy, k) for k in unseeded})
        labels = y
        if environments is not None:
            labels = resolve_environments(plain_rows(X), y, environments)
        self.estimator_ = _finished(first, X, labels)
        X = plain_rows(X)
        X = X if hasattr(X, "shape") else np.asarray(X)
        reads = environments is not None or _reads_labels(first)
        of_rows = _group_of_rows(len(X), labels if reads else None), _levels_of_rows(X)
        size = self._n_together(first, X)
        places = range(self.n_estimators)
        jobs = (
            delayed(_refits)(first, entropy, places[k : k + size], X, labels, *of_rows)
            for k in places[::size]
        )
        self._keep(Parallel(n_jobs=self.n_jobs, return_as="generator")(jobs))

    def _n_together(self, first, X):
        """How many refits are trained as one: a single one where that cannot be."""
        is_plain = getattr(type(first), "fit", None) is BaseGenerator.fit
        if not (is_plain and first.__refits_train_together__):
            return 1
        most = MOST_NUMBERS // max(1, np.size(X))
        share = -(-self.n_estimators // effective_n_jobs(self.n_jobs))
        return max(1, min(MOST_TOGETHER, most, share))

    def _keep(self, refits):
        """Keep the refits, which come a few at a time."""
        kept, diverged = [], []
        try:
            for k, refit in enumerate(chain.from_iterable(refits)):
                if refit is None:
                    diverged.append(k)
                else:
                    kept.append(refit)
        except (KeyboardInterrupt, FitInterruptedWarning) as error:
            done = len(kept) + len(diverged)
            unfinished = FitInterruptedWarning(done, self.n_estimators, "refits")
            if is_fold_of_search():
                raise unfinished from error
            if len(kept) < LEAST_REFITS:
                raise KeyboardInterrupt from error
            warnings.warn(unfinished, stacklevel=5)
        self.estimators_, self.n_diverged_ = kept, len(diverged)
        if not diverged:
            return
        told = f"{len(diverged)} of {len(kept) + len(diverged)} refits diverged"
        if len(kept) < LEAST_REFITS:
            raise ValueError(
                f"{told}, so that too few are left for an interval. Lower lr, or give "
                "more rows."
            )
        warnings.warn(
            f"{told} (places {diverged}) and count for nothing: intervals may be too "
            "narrow. Lower lr.",
            PoorFitWarning,
            stacklevel=5,
        )

    def interval(self, ask, *, level=0.95, limits=(-np.inf, np.inf)):
        """A number that the model is asked for, with its interval over the refits.

        Parameters
        ----------
        ask : callable
            ``ask(model)`` is a number or an array of a fitted model. For an interval of
            estimation alone it draws with a fixed seed.
        level : float, default=0.95
            Coverage, between 0 and 1.
        limits : (low, high)
            What the number cannot leave, so that its interval does not either: (0, 1)
            of the chance of a level, (-1, 1) of a difference of chances.

        Returns
        -------
        Bunch
            ``estimate``, the answer of ``estimator_``, and the ends ``low`` and
            ``high``: ndarrays of the shape of the answer.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from sklearn_icm.generators import GraphGenerator
        >>> X = load_iris().data
        >>> model = BootstrapGenerator(GraphGenerator([(2, 3)], max_epochs=1))
        >>> found = model.fit(X).interval(lambda fitted: fitted.score(X))
        >>> bool(found.low < found.estimate < found.high)
        True
        """
        check_is_fitted(self)
        check_level(level)
        estimate, half, _ = over_refits(self, ask, level=level)
        if np.any(np.clip(estimate, *limits) != estimate):
            raise ValueError(
                f"limits must be (low, high) between which the answer is, {estimate}, "
                f"got {limits!r}."
            )
        low, high = widened(estimate, estimate, estimate, half, limits)
        return Bunch(estimate=estimate, low=low, high=high)

    def set_output(self, *, transform=None):
        """Set the container of rows, as the estimator's `set_output`.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"}, default=None

        Returns
        -------
        self : object
        """
        for estimator in (self.estimator, vars(self).get("estimator_")):
            if estimator is not None:
                estimator.set_output(transform=transform)
        return self

    def fit_transform(self, X, y=None, environments=None):
        """Fit, and transform the rows.

        Parameters
        ----------
        X, y, environments
            As in `fit`.

        Returns
        -------
        array-like of shape (n_samples, n_latents)
        """
        return self.fit(X, y, environments).transform(X)

    sample = _verb("sample")
    intervene = _verb("intervene")
    abduct = _verb("abduct")
    node_values = _verb("node_values")
    hybridise = _verb("hybridise")
    influence_map = _verb("influence_map")
    transform = _verb("transform")
    inverse_transform = _verb("inverse_transform")
    get_feature_names_out = _verb("get_feature_names_out")
    score_samples = _verb("score_samples")
    score = _verb("score")
    independence = _verb("independence")
    was_fitted_on = _verb("was_fitted_on")


def _reads_labels(estimator):
    """Whether a generator, or one inside, treats environments in different ways."""
    return any(
        name.rpartition("__")[2] in OF_ENVIRONMENTS and value is not None
        for name, value in estimator.get_params().items()
    )


def _finished(first, X, labels):
    """Fit an estimator; Ctrl-C, which would leave it unfinished, is for the whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FitInterruptedWarning)
        try:
            return first.fit(X, labels)
        except FitInterruptedWarning as error:
            if is_fold_of_search():
                raise
            raise KeyboardInterrupt from error


def _group_of_rows(n_rows, labels):
    """Number of the environment of each row."""
    if labels is None:
        return np.zeros(n_rows, int)
    group, known = pd.factorize(np.asarray(labels))
    sizes = np.bincount(group)
    if sizes.min() < 2:
        raise ValueError(
            f"The environment {plain(known[sizes.argmin()])!r} has 1 row, which is "
            "resampled to itself: give at least 2, or leave it out."
        )
    return group


def _levels_of_rows(X):
    """Codes of the columns that hold levels, or two numbers that may be levels."""
    frame = as_frame(X).infer_objects()
    found = [
        pd.factorize(frame.iloc[:, k])[0]
        for k, kind in enumerate(frame.dtypes)
        if not is_numeric_dtype(kind) or frame.iloc[:, k].nunique() == 2
    ]
    return np.reshape(found, (len(found), len(frame)))


def _drawn(group, levels, stream):
    """Rows drawn with replacement within groups, so that each level is among them."""
    drawn = np.arange(len(group))
    for k in range(group.max() + 1):
        own = np.flatnonzero(group == k)
        drawn[own] = stream.choice(own, len(own))
    for _ in range(MOST_TRIES):
        lacking = [(own, k) for own in levels for k in np.setdiff1d(own, own[drawn])]
        if not lacking:
            break
        for own, level in lacking:
            row = stream.choice(np.flatnonzero(own == level))
            drawn[stream.choice(np.flatnonzero(group == group[row]))] = row
    return drawn


def _refits(first, entropy, places, X, labels, *of_rows):
    """Refits to resampled rows; None stands for one that diverges."""
    samples = [_sample(X, labels, entropy, k, *of_rows) for k in places]
    if len(places) > 1:
        refits = [seeded_clone(first, entropy, k) for k in places]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # What fails together is told, and counted, one by one.
            with suppress(FitDivergedError, ValueError):
                if first.__fit_together__(refits, samples):
                    return refits
    pairs = zip(places, samples, strict=True)
    return [_refit(first, entropy, k, *sample) for k, sample in pairs]


def _sample(X, labels, entropy, k, *of_rows):
    """Resampled rows and their labels."""
    drawn = _drawn(*of_rows, np.random.RandomState(stream_seed(entropy, "rows", k)))
    return take_rows(X, drawn), None if labels is None else take_rows(labels, drawn)


def _refit(first, entropy, k, X, labels):
    """A refit to a sample of rows, or None if it diverges."""
    refit = seeded_clone(first, entropy, k)
    with warnings.catch_warnings():
        # Of these rows the first fit has warned.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", FitInterruptedWarning)
        try:
            return refit.fit(X, labels)
        except FitDivergedError:
            return None
        except ValueError as error:
            raise ValueError(
                f"Refit {k} fails, to rows drawn with replacement from {len(X)}: "
                f"{error} If the fit to all rows does not, these are too few for a "
                "bootstrap."
            ) from error
