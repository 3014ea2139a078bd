"""Errors and warnings of the package: a class for each cause, for Python's filters.

All warnings are an `ICMWarning`. Some build their own message.
"""

__all__ = [
    "ClippedInterventionWarning",
    "ClippedValuesWarning",
    "CollapsedDecoderWarning",
    "DegenerateMechanismWarning",
    "DoubtfulInputWarning",
    "FarInterventionWarning",
    "FewRowsWarning",
    "FitDivergedError",
    "FitInterruptedWarning",
    "ICMWarning",
    "OutOfSpanWarning",
    "PoorFitWarning",
    "SearchLimitWarning",
    "SupportWarning",
    "UnexplainedRowsWarning",
    "UnreadMechanismWarning",
    "UnseenLevelsWarning",
    "UntoldEffectsWarning",
]


class FitDivergedError(ArithmeticError):
    """A loss term became infinite or NaN during `fit`.

    The estimator keeps the state of the last epoch whose losses were all finite, if
    there was one.

    Parameters
    ----------
    epoch : int
        Epoch, counted from 1, in which it happened.
    term : str
        Name of the first loss term that is not finite; "weights" if these became so
        after the epoch before, in a callback.

    Attributes
    ----------
    keeps_model : bool
        Whether an epoch was finished before, so that there is a model to keep.
    """

    def __init__(self, epoch, term):
        self.epoch, self.term = epoch, term
        self.keeps_model = epoch > 1
        kept = (
            f"The model of epoch {epoch - 1} is kept."
            if self.keeps_model
            else "No epoch was finished, so there is no model to keep."
        )
        if term == "weights":
            what = f"The weights became non-finite after epoch {epoch - 1}"
            advice = "Look at the callbacks."
        else:
            what = f"The loss term {term!r} became non-finite in epoch {epoch}"
            advice = (
                "Try a smaller lr or icm_weight, a longer warm-up of it, or scaled "
                "features."
            )
        super().__init__(f"{what}. {kept} {advice}")

    def __reduce__(self):
        return type(self), (self.epoch, self.term)


class ICMWarning(UserWarning):
    """Any warning of this package.

    Examples
    --------
    Answers about values that the model does not know become errors:

    >>> import warnings
    >>> import numpy as np
    >>> from sklearn_icm.exceptions import SupportWarning
    >>> from sklearn_icm.generators import GraphGenerator
    >>> X = np.random.RandomState(0).randn(100, 2)
    >>> model = GraphGenerator([(0, 1)], max_epochs=1, random_state=0).fit(X)
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("error", SupportWarning)
    ...     model.intervene({"x0": 20.0}, n_samples=2)
    Traceback (most recent call last):
        ...
    sklearn_icm.exceptions.FarInterventionWarning: The intervention on node 'x0' is ...
    """


class DoubtfulInputWarning(ICMWarning):
    """What was given can be meant in another way, or names what is not there."""


class FewRowsWarning(ICMWarning):
    """There are too few rows to tell what is asked of them."""


class UntoldEffectsWarning(ICMWarning):
    """The rows do not tell the effects of some parents apart."""

    def __init__(self, column, parents):
        self.column, self.parents = column, parents
        super().__init__(
            f"The other parents of column {column!r} determine {parents} in these "
            "rows, so that no rows tell their effects apart: a line shares these out "
            "by the smallest weights. Leave out some parents, or give more rows."
        )

    def __reduce__(self):
        return type(self), (self.column, self.parents)


class PoorFitWarning(ICMWarning):
    """A fit did not find what the rows hold, or a part of it diverged."""


class SearchLimitWarning(ICMWarning):
    """The best value lies at the end of the range that was searched."""


class ClippedValuesWarning(ICMWarning):
    """Values were clipped to a range: that of their type, or of the rows."""


class SupportWarning(ICMWarning):
    """The answer is about values that no fitted row had, and is extrapolated."""


class UnseenLevelsWarning(SupportWarning):
    """A level is asked about that no fitted row had."""


class CollapsedDecoderWarning(PoorFitWarning):
    """The decoder of images or signals hardly varies with its noise after `fit`."""

    def __init__(self, share, linear, n_latents):
        self.share, self.linear, self.n_latents = share, linear, n_latents
        super().__init__(
            f"The decoder explains {max(share, 0):.0%} of the variance of the rows; "
            f"{n_latents} principal components explain {linear:.0%} of held-out ones. "
            "Its output is about the mean row whatever the noise is, so that samples "
            "and interventions on hidden nodes say little. Make more steps "
            "(max_epochs, a smaller batch_size), or set a higher lr or a lower beta, "
            "such as batch_size=32, lr=4e-3, beta=0.02."
        )

    def __reduce__(self):
        return type(self), (self.share, self.linear, self.n_latents)


class FitInterruptedWarning(ICMWarning):
    """`fit` was interrupted (Ctrl-C) and leaves a usable model."""

    def __init__(self, done, wanted, unit="epochs"):
        self.done, self.wanted, self.unit = done, wanted, unit
        goes_on = (
            " Set warm_start=True and fit the same rows again to go on to the end, as "
            "if there had been no break."
        )
        super().__init__(
            f"fit was interrupted after {done} of {wanted} {unit}; the model is usable "
            f"as it is.{goes_on * (unit == 'epochs')}"
        )

    def __reduce__(self):
        return type(self), (self.done, self.wanted, self.unit)


class DegenerateMechanismWarning(ICMWarning):
    """Some pairs of mechanisms have rho = 1 whatever they learned."""

    def __init__(self, pairs, reason=None):
        self.pairs, self.reason = list(pairs), reason
        super().__init__(
            reason
            or f"Nothing can be read from rho for the pairs {self.pairs}: one of their "
            "mechanisms is isotropic at the hidden node, so that rho is 1 whatever the "
            "other one does (a kernel no longer than its stride, a single unit, an "
            "identity), or the later one ignores the hidden node."
        )

    def __reduce__(self):
        return type(self), (self.pairs, self.reason)


class UnreadMechanismWarning(ICMWarning):
    """Some pairs of mechanisms are not measured: no measure applies to them."""

    def __init__(self, pairs):
        self.pairs = list(pairs)
        super().__init__(
            f"Pairs of mechanisms that are not measured: {'; '.join(self.pairs)}. A "
            "module of yours may say its kernel by a method operator(), see "
            "sklearn_icm.mechanisms.LinearOperator; or measure values instead of "
            "weights, by measure=GenericMeasure() or a Measure of yours."
        )

    def __reduce__(self):
        return type(self), (self.pairs,)


class FarInterventionWarning(SupportWarning):
    """A node was set far outside the range that its children were fitted in."""

    def __init__(self, node, distance, low, high):
        self.node, self.distance, self.low, self.high = node, distance, low, high
        what = (
            f"is {distance:.1f} standard deviations outside the fitted range, {low:g} "
            f"to {high:g}"
        )
        if distance == float("inf"):
            what = f"gives another value than {low:g}, the only one of the fitted rows"
        super().__init__(
            f"The intervention on node {node!r} {what}: what its children make of it "
            "is extrapolated."
        )

    def __reduce__(self):
        return type(self), (self.node, self.distance, self.low, self.high)


class OutOfSpanWarning(SupportWarning):
    """A combination or dose of perturbations that those seen do not determine."""

    def __init__(self, label, why):
        self.label, self.why = label, why
        super().__init__(
            f"What {label!r} does cannot be told from the fitted rows: {why} The "
            "answer takes the smallest effects that fit."
        )

    def __reduce__(self):
        return type(self), (self.label, self.why)


class ClippedInterventionWarning(ClippedValuesWarning):
    """Intervened values lay outside the bounds, and were clipped to them."""

    def __init__(self, excess):
        self.excess = excess
        super().__init__(
            f"Intervened values left the bounds by {excess:.0%} of their range on "
            "average and were clipped. Fit with bounds=None (or wider ones) to let "
            "interventions leave the range of the data; whole numbers of a table keep "
            "to it even so, unless their column is made one of floats."
        )

    def __reduce__(self):
        return type(self), (self.excess,)


class UnexplainedRowsWarning(ICMWarning):
    """Much of given rows is kept as it is, since the model does not explain it."""

    def __init__(self, share):
        self.share = share
        super().__init__(
            f"The model does not explain {share:.0%} of these rows (squared, relative "
            "to how the fitted rows vary), and residual='keep' returns this part as it "
            "is, whatever the intervention. Set residual='drop' to leave it out, which "
            "is better unless it is noise that has nothing to do with the "
            "intervention; or train the model longer."
        )

    def __reduce__(self):
        return type(self), (self.share,)
