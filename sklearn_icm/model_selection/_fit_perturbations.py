"""What perturbations do at a node, learnt to ask for combinations and doses unseen."""

import warnings
from dataclasses import dataclass
from numbers import Real

import numpy as np
import pandas as pd

from ..base import is_generator
from ..exceptions import OutOfSpanWarning
from ..interventions import Shift
from ..utils.designs import design_matrix, names_of, span_weights
from ..utils.environments import resolve_environments
from ..utils.pipelines import before_last, last_step
from ..utils.reports import Report

__all__ = ["fit_perturbations"]

# Weights of seen rows, and parts of a query, that are rounding.
ROUNDING = 1e-6


@dataclass(frozen=True)
class SpanVerdict:
    """Whether seen rows determine a query, see `FittedPerturbations.span`."""

    label: str
    in_span: bool
    weights: pd.Series
    why: str

    def __str__(self):
        return self.why


@dataclass(frozen=True, repr=False)
class FittedPerturbations(Report):
    """What :func:`fit_perturbations` found; it documents the attributes."""

    node: str
    shape: tuple
    design_: pd.DataFrame
    effects_: np.ndarray

    def span(self, label):
        """Whether the rows that were seen determine what a label does.

        Parameters
        ----------
        label : str or dict of str to float
            Such as ``"A+B"`` or ``"A:0.5"``, or doses by perturbation.

        Returns
        -------
        SpanVerdict
            ``in_span``; ``weights`` of the labels that carry it, whose means make its
            mean at the node; ``why`` in words, with what is assumed.
        """
        query = self._doses(label)
        weights = span_weights(self.design_.to_numpy(), query)
        if weights is None:
            return SpanVerdict(
                str(label), False, pd.Series(dtype=float), self._lost(query)
            )
        weights = pd.Series(weights, self.design_.index)
        weights = weights[weights.abs() > ROUNDING]
        return SpanVerdict(str(label), True, weights, self._told(query, weights))

    def intervention(self, label):
        """Intervention that a combination or dose is at the node.

        Parameters
        ----------
        label : str or dict of str to float
            As `span` takes it.

        Returns
        -------
        dict of str to intervention
            As `intervene` takes them, on rows of the control.

        Warns
        -----
        OutOfSpanWarning
            If the rows that were seen do not determine it.
        """
        verdict = self.span(label)
        if not verdict.in_span:
            warnings.warn(OutOfSpanWarning(verdict.label, verdict.why), stacklevel=2)
        shift = self._doses(label) @ self.effects_.reshape(len(self.effects_), -1)
        return {self.node: Shift(shift.reshape(self.shape))}

    def _doses(self, label):
        names = list(self.design_.columns)
        if isinstance(label, dict):
            unknown = [name for name in label if name not in names]
            if unknown:
                raise ValueError(
                    f"There is no perturbation {unknown[0]!r}; there are {names}."
                )
            strange = {k: v for k, v in label.items() if not _is_finite(v)}
            if strange:
                raise ValueError(f"Doses must be finite numbers, got {strange}.")
            return np.array([float(label.get(name, 0.0)) for name in names])
        # A label of the design, such as the control, need not be readable.
        if label in self.design_.index:
            return self.design_.loc[label].to_numpy()
        if not isinstance(label, str):
            raise TypeError(
                "label must be a string, such as 'A+B', or doses by perturbation, such "
                f"as {{'A': 0.5}}, got {label!r}."
            )
        return design_matrix([label], names)[0]

    def _lost(self, query):
        """Words for what no seen rows tell."""
        design = self.design_.to_numpy()
        names = np.array(self.design_.columns, dtype=object)
        unseen = names[(query != 0) & ~design.any(axis=0)].tolist()
        if unseen:
            return f"No row that was seen has {' or '.join(unseen)}."
        rows = np.column_stack([np.ones(len(design)), design])
        asked = np.concatenate([[1.0], query])
        left = asked - np.linalg.pinv(rows) @ rows @ asked
        mixed = names[np.abs(left[1:]) > ROUNDING].tolist()
        if np.abs(left[0]) > ROUNDING and not mixed:
            mixed = ["the control"]
        return (
            f"The rows that were seen do not tell {', '.join(mixed)} apart: they vary "
            "together there."
        )

    def _told(self, query, weights):
        """Words for what carries a query, and what that assumes."""
        parts = ", ".join(
            f"{label} ({weight:+.3g})" for label, weight in weights.items()
        )
        text = f"In the span of what was seen: {parts}."
        assumed = []
        if np.count_nonzero(query) > 1 and len(weights) > 1:
            assumed.append("effects add at the node")
        seen = self.design_.to_numpy()
        new = [
            f"{name}:{dose:g}"
            for name, dose, known in zip(
                self.design_.columns, query, seen.T, strict=True
            )
            if dose and dose not in known
        ]
        if new:
            assumed.append(f"they grow in proportion to the dose ({', '.join(new)})")
        return f"{text} That is so if {' and '.join(assumed)}." if assumed else text


def fit_perturbations(
    est, X, y, *, node="noise", control="control", design=None, environments=None
):
    """Learn what perturbations do at a node, to ask for combinations never seen.

    The model is fitted to rows of all environments, or to the control alone; it is not
    changed here. What a perturbation does is a shift of the node, the same at each dose
    times the dose, and those of several perturbations add.

    Parameters
    ----------
    est : fitted generator, or pipeline that ends in one
        One that explains given rows.
    X : array-like of shape (n_samples, n_features)
        Rows of the control and of perturbations.
    y : array-like of shape (n_samples,)
        Label of every row: `control`, ``"A"``, ``"A+B"``, ``"A:0.5"`` (a dose) and so
        on; other labels need a `design`.
    node : str, default="noise"
        Where perturbations act, a node whose values are numbers.
    control : str, default="control"
        Label of the rows without a perturbation. Without any such rows effects are
        known up to what all labels share.
    design : DataFrame of shape (n_labels, n_perturbations), optional
        Doses of every label (the index); those of the control are 0.
    environments : array-like of shape (n_samples,), optional
        In place of y, as scikit-learn routes it.

    Returns
    -------
    FittedPerturbations
        With the attributes

        - ``effects_`` of shape (n_perturbations,) + node shape, shifts at dose 1;
        - ``design_``, DataFrame of the doses of every label;
        - ``table_``, a row per perturbation: ``n_rows`` that have it, the ``length`` of
          its effect in standard deviations of the node within labels (the root of the
          mean square over its entries), the standard error ``se`` of an entry, and
          whether it was seen ``alone``; NaN where the rows do not tell;
        - ``sentences_``, in words;

        and the methods ``span(label)``, a verdict on what the rows determine, and
        ``intervention(label)``, ``{node: Shift}`` for `intervene` on rows of the
        control.

    Raises
    ------
    TypeError
        If the estimator does not explain rows.
    ValueError
        For labels that cannot be read, an unknown node, a design that lacks labels or
        has none but zeros.

    See Also
    --------
    fit_intervention : Which intervention another environment may be.
    sklearn_icm.datasets.make_perturbations : Worlds of known truth.

    Notes
    -----
    With the mean :math:`m_e` of the node over the :math:`n_e` rows of a label, and its
    doses :math:`d_e`, the effects :math:`A` minimise :math:`\\sum_e n_e \\|m_e - m -
    A^\\top d_e\\|^2` (the smallest such ones). That is the arithmetic of latents.

    References
    ----------
    Lotfollahi, Wolf, Theis (2019), *scGen predicts single-cell perturbation responses*,
    Nature Methods (latent arithmetic). von Kügelgen et al. (2025), *Representation
    learning for distributional perturbation extrapolation*, arXiv 2504.18522.

    Examples
    --------
    >>> from sklearn_icm.datasets import make_perturbations
    >>> from sklearn_icm.generators import VAEGenerator
    >>> world = make_perturbations(100, n_perturbations=2, random_state=0)
    >>> vae = VAEGenerator(n_latents=4, max_epochs=2, bounds=None, random_state=0)
    >>> found = fit_perturbations(vae.fit(world.data), world.data, world.environments)
    >>> found.span("A+B").weights.round(6).to_dict()
    {'control': -1.0, 'A': 1.0, 'B': 1.0}
    >>> control = world.data[world.environments == "control"]
    >>> both = vae.intervene(found.intervention("A+B"), X=control)
    """
    if not is_generator(est) or not hasattr(last_step(est), "abduct"):
        raise TypeError(
            "fit_perturbations needs a generator that explains given rows (`abduct`), "
            f"got {type(last_step(est)).__name__}."
        )
    labels = resolve_environments(X, y, environments, required_by="fit_perturbations")
    design = _design_of(pd.unique(np.asarray(labels)).tolist(), control, design)
    values = _node_values(est, X, node)
    shape, values = values.shape[1:], values.reshape(len(values), -1)
    places = design.index.get_indexer(labels)
    counts = np.bincount(places, minlength=len(design))
    means = np.stack([values[places == k].mean(0) for k in range(len(design))])
    rows = np.column_stack([np.ones(len(design)), design.to_numpy()])
    weight = np.sqrt(counts)[:, None]
    solve = np.linalg.pinv(rows * weight)
    effects = (solve @ (means * weight))[1:]
    # Within labels, since their means differ.
    left = values - means[places]
    table = _table(design, counts, effects, solve[1:], left)
    told = pd.Series({name: _sentence(name, row) for name, row in table.iterrows()})
    return FittedPerturbations(
        table, told, node, shape, design, effects.reshape(len(effects), *shape)
    )


def _is_finite(dose):
    return isinstance(dose, Real) and bool(np.isfinite(dose))


def _design_of(labels, control, design):
    """Doses of the labels that rows have, a DataFrame; the control's are 0."""
    if design is not None and not isinstance(design, pd.DataFrame):
        raise TypeError(
            "design must be a DataFrame of doses with a row per label and a column per "
            f"perturbation, got {type(design).__name__}."
        )
    if design is None:
        others = [str(label) for label in labels if label != control]
        names = names_of(others)
        doses = np.zeros((len(labels), len(names)))
        doses[[label != control for label in labels]] = design_matrix(others, names)
        design = pd.DataFrame(doses, labels, names)
    missing = [label for label in labels if label not in design.index]
    if control in missing:
        design = pd.concat([pd.DataFrame(0.0, [control], design.columns), design])
        missing.remove(control)
    if missing:
        raise ValueError(
            f"design must have a row for every label of y, but lacks {missing[:10]}."
        )
    design = design.loc[labels].astype(float)
    if not np.isfinite(design.to_numpy()).all() or not design.to_numpy().any():
        raise ValueError(
            "design must hold finite doses, not all of them 0: the labels "
            f"{labels[:10]} have no perturbation."
        )
    return design


def _node_values(est, X, node):
    values = last_step(est).node_values(before_last(est, X))
    if node not in values:
        raise ValueError(f"node must be one of {list(values)}, got {node!r}.")
    if node in getattr(last_step(est), "categories_", ()):
        raise ValueError(
            f"node must hold numbers, but the column {node!r} has levels, which no "
            "shift changes. Choose another one."
        )
    return values[node].astype(float)


def _table(design, counts, effects, solve, left):
    """Length of each effect with its standard error, in deviations of the node."""
    spread = left.std(axis=0)
    spread[spread == 0] = 1.0
    scaled = effects / spread
    length = np.sqrt(np.mean(scaled**2, axis=1))
    # Of one entry of the effect, in its own deviations.
    error = np.sqrt(np.square(solve).sum(axis=1))
    # Of what these rows do not tell apart nothing is known.
    rows = np.column_stack([np.ones(len(design)), design.to_numpy()])
    left_out = np.eye(rows.shape[1]) - np.linalg.pinv(rows) @ rows
    lost = np.abs(left_out[1:]).max(axis=1) > ROUNDING
    length[lost], error[lost] = np.nan, np.nan
    has = design.to_numpy() != 0
    return pd.DataFrame(
        {
            "n_rows": counts @ has,
            "length": length,
            "se": error,
            "alone": (has & (has.sum(1) == 1)[:, None]).any(axis=0),
        },
        design.columns,
    )


def _sentence(name, row):
    alone = "" if row["alone"] else ", never alone"
    if np.isnan(row["se"]):
        return (
            f"The rows do not tell what {name} does from what others do, or from the "
            f"control ({row['n_rows']:.0f} rows{alone})."
        )
    return (
        f"{name} shifts the node by {row['length']:.2g} of its standard deviations "
        f"(standard error {row['se']:.1g}; {row['n_rows']:.0f} rows{alone})."
    )
