"""Regressors, classifiers and modules of one's own as functions of columns."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn

from ....exceptions import FewRowsWarning, PoorFitWarning
from ....rows._batches import Batch
from ....utils.pipelines import seeds_of
from ....utils.streams import stream_seed
from ..columns._mechanisms import (
    UNIT_SCALE,
    CategoricalColumn,
    NumericColumn,
    NumericReader,
)

# Rows that a module is tried on.
N_PROBED = 8
# Rows that a classifier's chances count as one more of each level, and least chance.
UNSEEN, LEAST_CHANCE = 0.5, 1e-5
# Of rows below it residuals are those of the rows themselves.
FEWEST_ROWS = 8
# Part of the squared error at left-out rows that a regressor leaves of its own rows,
# below which it repeats these.
REPEATS = 0.25
# Decimal digits that float32 surely holds, and what it loses of larger numbers.
DIGITS, LOST = 5, 5e-7


class GivenFunction(nn.Module):
    """What stands in the place of a `ColumnFunction`: (n, n_inputs) -> (n, n_heads)."""

    def __init__(self, name: str, reader: nn.Module) -> None:
        super().__init__()
        self.name, self.n_heads, self.reader = name, reader.width, reader
        # Of a column of numbers: its noise has a scale of its own.
        self.register_buffer("bias", torch.tensor([0.0, UNIT_SCALE]))

    @property
    def has_levels(self) -> bool:
        """Whether it gives chances of levels."""
        return not _is_numeric(self.reader)

    def become(self, parts: Sequence[Any]) -> None:
        """Take the outputs of banks: nothing, as it is given."""

    def is_constant(self, head: int) -> bool:
        """Whether an output does not depend on the inputs: no other than the first."""
        return True

    def size(self, sizes: Tensor) -> Tensor:
        """How large the terms of the output are: as large as the value."""
        return sizes.new_zeros(len(sizes), 1)


class ModuleFunction(GivenFunction):
    """A module, trained with the other mechanisms."""

    def __init__(self, name: str, module: nn.Module, reader: nn.Module) -> None:
        super().__init__(name, reader)
        self.module = module

    def forward(self, inputs: Tensor, n_heads: int | None = None) -> Tensor:
        try:
            made = self.module(inputs)
        except Exception as error:
            raise ValueError(
                f"mechanism of the column {self.name!r} fails on rows of shape "
                f"{tuple(inputs.shape)}, {inputs.dtype}: {error} (It is given one "
                "entry per numeric parent and one per level of others; rows are "
                "scored in double precision, so constants should be buffers.)"
            ) from error
        wanted = len(inputs), self.n_heads
        if not isinstance(made, Tensor) or made.shape != wanted:
            raise ValueError(
                f"mechanism of the column {self.name!r} must return a tensor of shape "
                f"{wanted}, a number or one per level for each row, got "
                f"{type(made).__name__} of shape {tuple(getattr(made, 'shape', ()))}."
            )
        if not self.training:
            self._check_finite(made, inputs)
        return made

    def _check_finite(self, made: Tensor, inputs: Tensor) -> None:
        strange = ~made.isfinite().all(1) & inputs.isfinite().all(1)
        if strange.any():
            raise ValueError(
                f"mechanism of the column {self.name!r} returned NaN or infinite "
                f"values for {int(strange.sum())} of {len(made)} rows."
            )

    @torch.no_grad()
    def probe(self, n_inputs: int) -> None:
        """Refuse a module that would fail once it is trained."""
        fixed = torch.Generator().manual_seed(0)
        inputs = torch.randn(N_PROBED, n_inputs, generator=fixed, dtype=torch.double)
        probed = copy.deepcopy(self).eval()
        probed(inputs.float())
        probed.double()(inputs)


class GivenInputs:
    """Columns whose function reads its parents as they are, and indicators of levels.

    Standardised numbers would differ by rounding from those that it was fitted to.
    """

    def inputs(
        self, parents: Sequence[Tensor], like: Tensor, *, sizes: bool = False
    ) -> Tensor:
        """What is read of the parents, (n, n_inputs)."""
        pairs = zip(self.parents, parents, strict=True)
        read = [v if _is_numeric(reader) else reader(v) for reader, v in pairs]
        return torch.cat(read, 1)


class PredictedColumn(GivenInputs, NumericColumn):
    """A column of numbers, by a regressor."""

    # It is not fitted while penalties ask.
    own_noise = None


class PredictedLevels(GivenInputs, CategoricalColumn):
    """A column of levels, by a classifier."""


def own_column(
    name: str,
    own: Any,
    made: type,
    index: int,
    reader: nn.Module,
    parents: Sequence[nn.Module],
) -> NumericColumn | CategoricalColumn:
    """Mechanism of a column that is given one; of a module, of the usual type."""
    if isinstance(own, nn.Module):
        mechanism = made(index, reader, parents)
        mechanism.function = ModuleFunction(name, own, reader)
        mechanism.function.probe(sum(parent.width for parent in parents))
        return mechanism
    made = PredictedColumn if _is_numeric(reader) else PredictedLevels
    mechanism = made(index, reader, parents)
    mechanism.function = PredictorFunction(name, own, reader, parents)
    return mechanism


def _is_numeric(reader: nn.Module) -> bool:
    return isinstance(reader, NumericReader)


class _Shared:
    """A fitted estimator, which copies of a model share: nothing writes to it."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __deepcopy__(self, memo: dict) -> _Shared:
        return self


class PredictorFunction(GivenFunction):
    """A regressor or classifier, which is fitted after training.

    It is given numbers in the units of their columns, and indicators of levels, in
    double precision.
    """

    def __init__(
        self,
        name: str,
        template: Any,
        reader: nn.Module,
        parents: Sequence[nn.Module],
    ) -> None:
        super().__init__(name, reader)
        self.template, self.fitted, self.n_rows = template, _Shared(), 0
        self.parents = nn.ModuleList(parents)

    def extra_repr(self) -> str:
        """Class of the estimator."""
        return type(self.template).__name__

    def get_extra_state(self) -> dict[str, Any]:
        return {"fitted": self.fitted.value, "n_rows": self.n_rows}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.fitted, self.n_rows = _Shared(state["fitted"]), state["n_rows"]

    def table(self, inputs: Tensor) -> np.ndarray:
        """What it is given for inputs."""
        widths = [parent.width for parent in self.parents]
        parts = zip(self.parents, inputs.detach().split(widths, 1), strict=True)
        return np.concatenate([_plain(*part) for part in parts], 1)

    def forward(self, inputs: Tensor, n_heads: int | None = None) -> Tensor:
        if inputs.requires_grad and torch.is_grad_enabled():
            raise ValueError(
                f"mechanism of the column {self.name!r}, {self.template!r}, has no "
                "gradient, which is asked for here. Give a torch.nn.Module, or name "
                "a kind. (Abduction needs none: abduction='encode' is exact.)"
            )
        if self.fitted.value is None:
            return inputs.new_zeros(len(inputs), self.n_heads)
        made = np.full((len(inputs), self.n_heads), np.nan)
        table = self.table(inputs)
        known = np.isfinite(table).all(1)
        if known.any():
            made[known] = self._asked(self.fitted.value, table[known])
        if not self.has_levels:
            units = self.reader.units
            made = (made - units.offset.item()) / units.scale.item()
        # (Some devices have no doubles.)
        return torch.from_numpy(made).to(inputs.dtype).to(inputs.device)

    def _asked(self, estimator: Any, table: np.ndarray) -> np.ndarray:
        """Predictions, (n, 1), or logarithms of chances, (n, n_levels)."""
        what = "predict_proba" if self.has_levels else "predict"
        made = np.asarray(self._tried(what, getattr(estimator, what), table))
        n, wanted = len(table), [(len(table),), (len(table), 1)]
        if self.has_levels:
            wanted = [(n, len(estimator.classes_))]
        if made.shape not in wanted or made.dtype.kind not in "biuf":
            raise ValueError(
                f"{self._what(what)} must return numbers of shape {wanted[0]}, got "
                f"{made.dtype} of shape {made.shape}."
            )
        if not np.isfinite(made).all():
            raise ValueError(
                f"{self._what(what)} returned NaN or infinite values for "
                f"{int((~np.isfinite(made.reshape(n, -1))).any(1).sum())} of {n} rows: "
                "make it one that predicts a number for all values of its parents."
            )
        if not self.has_levels:
            return made.reshape(n, 1).astype(float)
        chances = np.zeros((n, self.n_heads))
        chances[:, np.asarray(estimator.classes_).astype(int)] = made
        # So that each row that is asked about has a chance, and can be explained.
        least = max(UNSEEN / max(1, self.n_rows), LEAST_CHANCE)
        return np.log((chances + least) / (1 + self.n_heads * least))

    def _what(self, method: str) -> str:
        template = type(self.template).__name__
        return f"mechanism of the column {self.name!r}: {template}.{method}"

    def _tried(self, method: str, ask: Callable[..., Any], *args: Any) -> Any:
        try:
            return ask(*args)
        except Exception as error:
            raise ValueError(
                f"{self._what(method)} failed for {len(args[0])} rows of "
                f"{args[0].shape[1]} inputs: {error}"
            ) from error

    # ------------------------------------------------------------------- fitting
    def fit(
        self, inputs: Tensor, value: Tensor, fold: Tensor, entropy: int
    ) -> tuple[Tensor | None, list[Warning]]:
        """Fit it to rows, of a column of numbers also without each fold of them.

        Returns what is left of rows that were left out, standardised, and what makes it
        doubtful.
        """
        table, target = self.table(inputs), self._target(value)
        self.n_rows = len(target)
        estimator = self._fitted_to(table, target, entropy)
        self.fitted = _Shared(estimator)
        if self.has_levels:
            # That it can be asked is seen here.
            self._asked(estimator, table)
            return None, []
        own = target - self._asked(estimator, table)[:, 0]
        left, doubts = own.copy(), []
        # Equal rows, as of a resample, in one fold: else they would tell each other.
        both = np.column_stack([table, target])
        _, first, place = np.unique(
            both, axis=0, return_index=True, return_inverse=True
        )
        fold = fold.cpu().numpy()[first][place.ravel()]
        if len(first) < FEWEST_ROWS or len(np.unique(fold)) < 2:
            told = (
                f"{self._what('fit')} saw {len(first)} different rows, too few to "
                "leave some out: its noise is what it leaves of these, too little."
            )
            doubts.append(FewRowsWarning(told))
        else:
            for j in np.unique(fold):
                rows = fold == j
                other = self._fitted_to(table[~rows], target[~rows], entropy)
                left[rows] = target[rows] - self._asked(other, table[rows])[:, 0]
            doubts += self._repeating(own, left)
        scale = self.reader.units.scale.item()
        left = torch.from_numpy(left / scale).to(inputs.dtype)
        return left.to(inputs.device), doubts

    def _repeating(self, own: np.ndarray, left: np.ndarray) -> list[Warning]:
        """A warning of a regressor that knows its own rows much too well."""
        part = np.square(own).mean() / max(np.square(left).mean(), 1e-300)
        spread = self.reader.units.scale.item()
        if part > REPEATS or np.square(left).mean() < (1e-4 * spread) ** 2:
            return []
        told = (
            f"{self._what('predict')} errs at its own rows by {100 * part:.0f} % of "
            "what it does at rows left out (squared): what-ifs about fitted rows "
            "(X=) then carry too little noise. Give one that repeats its rows less "
            "(such as by a larger min_samples_leaf), or ask about other rows."
        )
        return [PoorFitWarning(told)]

    def _fitted_to(self, table: np.ndarray, target: np.ndarray, entropy: int) -> Any:
        estimator = clone(self.template)
        unseeded = [k for k, seed in seeds_of(estimator).items() if seed is None]
        stream = f"mechanism {self.name} "
        seeds = {k: stream_seed(entropy, stream + k) for k in unseeded}
        estimator.set_params(**seeds)
        found = self._tried("fit", estimator.fit, table, target)
        return estimator if found is None else found

    def _target(self, value: Tensor) -> np.ndarray:
        """Values of the column in its units, or codes of its levels."""
        own = _plain(self.reader, value)
        return own.astype(int) if self.has_levels else own

    def renew(self, inputs: Tensor, value: Tensor) -> None:
        """Go on with rows of a stream."""
        table, target = self.table(inputs), self._target(value)
        # A copy: a fit that fails must leave the earlier one as it was.
        estimator = copy.deepcopy(self.fitted.value)
        self._tried("partial_fit", estimator.partial_fit, table, target)
        self.fitted = _Shared(estimator)
        self.n_rows += len(target)


def _plain(reader: nn.Module, values: Tensor) -> np.ndarray:
    """Values in double precision, alike of those that are the same in float32.

    Of numbers those of few digits where float32 left these nearly, so that the steps of
    a mechanism are met.
    """
    values = values.cpu().float().double().numpy()
    if not _is_numeric(reader):
        return values
    offset = abs(reader.units.offset.item())
    size = np.maximum(offset + np.abs(values), np.finfo(float).tiny)
    unit = 10.0 ** np.clip(DIGITS - np.ceil(np.log10(size)), 0, 300)
    near = np.rint(values * unit) / unit
    return np.where(np.abs(near - values) <= LOST * size, near, values)


def fit_given(
    predicted: Mapping[int, tuple[nn.Module, Sequence[int]]],
    chunks: Iterable[Batch],
    entropy: int,
    *,
    renew: bool,
) -> tuple[dict[int, Tensor], list[Warning]]:
    """Fit the regressors and classifiers of columns, or renew them.

    Columns have a mechanism and the places of their parents.

    Returns
    -------
    left : dict of int to Tensor
        Standardised residuals of rows that were left out, by column.
    doubts : list of Warning
    """
    if not predicted:
        return {}, []
    chunks, left, doubts = list(chunks), {}, []
    for k, (mechanism, parents) in predicted.items():
        parts = []
        for batch in chunks:
            x = batch.x
            own = mechanism.inputs([x[:, p, None] for p in parents], x)
            rows = ~(own.isnan().any(1) | x[:, k].isnan())
            if batch.known is not None:
                rows &= batch.known[:, k]
            parts.append([part[rows] for part in (own, x[:, k], batch.fold)])
        own, value, fold = (torch.cat(part) for part in zip(*parts, strict=True))
        if renew:
            mechanism.function.renew(own, value)
            continue
        found, told = mechanism.function.fit(own, value, fold, entropy)
        doubts += told
        if found is not None:
            left[k] = found
    return left, doubts


def check_renewable(predicted: Mapping[int, tuple]) -> None:
    """Refuse to go on with rows of a stream where an estimator cannot."""
    for function in [mechanism.function for mechanism, _ in predicted.values()]:
        if not hasattr(function.template, "partial_fit"):
            raise ValueError(
                f"mechanism of the column {function.name!r}, {function.template!r}, "
                "has no partial_fit, so that it cannot go on with a batch: fit all "
                "rows at once, or give one that has it, such as SGDRegressor."
            )
