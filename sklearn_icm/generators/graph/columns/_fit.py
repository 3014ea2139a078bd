"""How the mechanisms of columns are fitted: lines are solved, networks are trained.

Polynomials are lines in products of what is read. With a penalty lines are trained
too, from where they are solved.

Networks are trained in copies, each without the rows of one fold. So every row was left
out by a copy, which tells what kind a column has, and the mean of the copies, which is
the mechanism, depends on the rows much more than on the start of its training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from ....exceptions import FewRowsWarning, PoorFitWarning, UntoldEffectsWarning
from ....mechanisms import MechanismGraph
from ....models._noise import is_clear
from ....rows._batches import Batch
from ..kinds._banks import LOSSES
from ._energy import PreAdditiveBank
from ._lines import (
    MEANS,
    MOST_TERMS,
    MOST_TRIED,
    N_FOLDS,
    Line,
    choose_kind,
    cross_entropies,
    least_squares,
    left_out,
    levels_of_prior,
    lost_directions,
    moments,
    of_line,
    products,
    with_products,
)
from ._mechanisms import UNIT_SCALE, ColumnBank, Part, scale_of
from ._structure import AUTO, KINDS

# Rows of a level that has none.
LEAST_COUNT = 0.5
# Of what a line leaves of a standardised column: less is rounding.
LEAST_VARIANCE = 1e-10


class FittedBanks(nn.Module):
    """The functions of all columns while they are fitted.

    Every column has the ``kinds`` of mechanism that it may have, and ``reads``,
    (n_columns, n_inputs), says which inputs it sees: as many of a column as its
    ``widths`` say, and last those of unobserved nodes. Columns of levels have
    ``n_levels``.
    """

    def __init__(
        self,
        kinds: Mapping[str, Sequence[str]],
        reads: Tensor,
        widths: Sequence[int],
        n_levels: Mapping[str, int],
        n_units: int,
    ) -> None:
        super().__init__()
        self.kinds, self.names = list(kinds.values()), list(kinds)
        self.widths = list(widths)
        observed, unobserved = reads.tensor_split([sum(widths)], 1)
        # Which columns have unobserved causes.
        self.confounded = unobserved.any(1).tolist()
        self.seen = [own.nonzero()[:, 0] for own in observed]
        self.lines = {k for k in self._allowing("linear") if not self.confounded[k]}
        self.polynomials = {k for k, v in enumerate(self.kinds) if v == ("polynomial",)}
        self.pairs = [self._pairs_of(k, n_levels) for k in range(len(self.names))]
        self.register_buffer("reads", reads.float(), persistent=False)
        self.banks = nn.ModuleDict()
        self._make_banks(reads, [n_levels.get(name, 0) for name in kinds], n_units)
        self.line_bank = self._make_lines(reads)
        self.register_buffer("lines_trained", torch.zeros((), dtype=torch.bool))
        # Lines that leave something to be independent; the others are solved alone.
        self.register_buffer("uncertain", torch.zeros(len(kinds), dtype=torch.bool))
        self.register_buffer("chosen", torch.zeros(len(kinds), dtype=torch.long))
        # Places in `MEANS`, and whether noise is a factor of the mean.
        self.register_buffer("means", torch.zeros(len(kinds), dtype=torch.long))
        self.register_buffer("tied", torch.zeros(len(kinds), dtype=torch.bool))
        # Columns whose network is worse than a line.
        self.worse: list[str] = []
        # What lines and polynomials leave. A parameter: optimisers need one, even with
        # none to train.
        self.left = nn.Parameter(torch.zeros(2), requires_grad=False)
        for k, name in enumerate(kinds):
            # Bits of doubles: some devices have none, and precision is never changed.
            size = len(self.seen[k]) + self.pairs[k].shape[1] + 2
            shape = (n_levels[name],) if name in n_levels else (size, size)
            self.register_buffer(f"sums{k}", torch.zeros(shape, dtype=torch.long))

    def _pairs_of(self, k: int, n_levels: Mapping[str, int]) -> Tensor:
        """Products of inputs that a column's polynomial has, if it may have one."""
        widths = zip(self.names, self.widths, strict=True)
        owners = [name for name, width in widths for _ in range(width)]
        pairs = products([owners[i] for i in self.seen[k].tolist()], n_levels)
        n_terms, asked = len(self.seen[k]) + pairs.shape[1], k in self.polynomials
        if asked and n_terms > MOST_TERMS:
            raise ValueError(
                f"mechanism of the column {self.names[k]!r} cannot be 'polynomial': of "
                f"its parents it would have {n_terms} terms, of at most {MOST_TERMS}. "
                "Choose 'linear' or 'additive', or leave out some parents."
            )
        may = {"polynomial", "location-scale"}.intersection(self.kinds[k])
        has = may and not self.confounded[k] and (asked or n_terms <= MOST_TRIED)
        return pairs if has else pairs[:, :0]

    def _make_banks(self, reads: Tensor, n_levels: list[int], n_units: int) -> None:
        hidden = {k for k, own in enumerate(self.confounded) if own}
        scaled = self._allowing("location-scale") - hidden
        folded = {
            "additive": (self._allowing("additive") - hidden) | scaled,
            "location-scale": scaled,
        }
        single = {f"{kind} hidden": self._allowing(kind) & hidden for kind in AUTO}
        single["categorical"] = self._allowing("categorical")
        for name, own in (folded | single).items():
            columns = [k for k in sorted(own) if bool(reads[k].any())]
            if not columns:
                continue
            heads = [2 if name == "location-scale hidden" else 1] * len(columns)
            if name == "categorical":
                heads = [n_levels[k] for k in columns]
            units = 0 if name == "linear hidden" else n_units
            n_copies = N_FOLDS if name in folded else 1
            bank = ColumnBank(columns, reads, units, heads, n_copies)
            bank.disturb(sorted(hidden))
            if name == "location-scale":
                nn.init.constant_(bank.bias, UNIT_SCALE)
            elif name == "location-scale hidden":
                nn.init.constant_(bank.bias[:, 1::2], UNIT_SCALE)
            self.banks[name] = bank
        levels = self.banks["categorical"].heads if "categorical" in self.banks else []
        self.register_buffer("levels_of_prior", torch.zeros(sum(levels)))
        energy = sorted(self._allowing("energy"))
        if energy:
            self.banks["energy"] = PreAdditiveBank(energy, reads, n_units)
        if hidden:
            self.noise_scale = nn.Parameter(torch.full((len(self.names),), UNIT_SCALE))

    def _make_lines(self, reads: Tensor) -> ColumnBank:
        """Lines of all columns that may end with one, as they were solved last.

        A penalty trains them, but for constants and lines that leave rounding alone.
        """
        columns = [
            k
            for k, kinds in enumerate(self.kinds)
            if "categorical" not in kinds and not self.confounded[k]
            if "linear" in kinds or "location-scale" in kinds or not reads[k].any()
        ]
        bank = ColumnBank(columns, reads, 0, n_copies=N_FOLDS)
        return bank.requires_grad_(False)

    def penalise(self, on: bool) -> None:
        """Whether a penalty asks for noise, so that lines are trained too."""
        self.line_bank.requires_grad_(on)

    @property
    def is_penalised(self) -> bool:
        """Whether `loss_terms` returns noise."""
        return self.line_bank.bias.requires_grad

    def _allowing(self, kind: str) -> set[int]:
        return {k for k, kinds in enumerate(self.kinds) if kind in kinds}

    # ------------------------------------------------------------------- solving
    @torch.no_grad()
    def solve(
        self, rows: Iterable[Sequence[Tensor]], *, add: bool, start: bool
    ) -> None:
        """Take sums over rows, which say what lines and shares of levels are.

        Rows come in chunks of inputs, targets and which of these are known, and are
        added to earlier ones or replace them. What is trained is started from the
        lines, or left as it is.
        """
        sums = [self._sums(k) if add else 0.0 for k in range(len(self.names))]
        for chunk in rows:
            for k, own in enumerate(self.sums_of(*chunk)):
                sums[k] = sums[k] + own
        left = [0.0, 0.0]
        for k, total in enumerate(sums):
            self.register_buffer(f"sums{k}", total.view(torch.long))
            if total.ndim == 2:
                line = least_squares(of_line(total, len(self.seen[k])))
                if k in self.lines:
                    left[0] += 0.5 * line.variance
                elif k in self.polynomials:
                    left[1] += 0.5 * least_squares(total).variance
                if start:
                    self._start(k, line)
                self._keep_line(k, line, start)
        self.left.copy_(torch.tensor(left))
        if "categorical" in self.banks:
            own = [levels_of_prior(sums[k]) for k in self.banks["categorical"].places]
            self.levels_of_prior.copy_(torch.cat(own))

    def _sums(self, k: int) -> Tensor:
        return self.get_buffer(f"sums{k}").cpu().view(torch.double)

    def sums_of(
        self, inputs: Tensor, targets: Tensor, known: Tensor
    ) -> Iterator[Tensor]:
        """Sums of every column over the rows where it and what it reads are known."""
        joint = self.joint(inputs, known)
        for k, seen in enumerate(self.seen):
            shape, rows = self.get_buffer(f"sums{k}").shape, joint[:, k]
            target = targets[rows, k]
            if len(shape) == 2:
                yield moments(
                    with_products(inputs[:, seen][rows], self.pairs[k]), target
                )
            else:
                yield target.long().bincount(minlength=shape[0]).double()

    def joint(self, inputs: Tensor, known: Tensor) -> Tensor:
        """In which rows columns and all that they read are known, (n, n_columns)."""
        absent = inputs.isnan().to(self.reads)
        return known & (absent @ self.reads[:, : inputs.shape[1]].T == 0)

    def _keep_line(self, k: int, line: Line, start: bool) -> None:
        trained = self.is_penalised and bool(self.lines_trained) and not start
        self.uncertain[k] = len(self.seen[k]) > 0 and line.variance > LEAST_VARIANCE
        if k not in self.line_bank.places or (trained and self.uncertain[k]):
            return
        bank = self.line_bank
        bank.bias[:, bank.places.index(k)] = line.bias.to(bank.bias)
        bank.weights_of(k)[:] = line.weight.to(bank.weight)

    def _start(self, k: int, line: Line) -> None:
        kind = self.kinds[k][0]
        if kind == "energy":
            self.banks["energy"].start(k, line)
        elif kind == "linear" and self._trains("linear hidden", k):
            # Those of unobserved nodes come last.
            weights = self.banks["linear hidden"].weights_of(k)
            weights[..., : len(line.weight)] = line.weight.to(weights)

    def lost(self) -> dict[str, list[str]]:
        """Which parents of numeric columns their other parents determine."""
        widths, found = dict(zip(self.names, self.widths, strict=True)), {}
        owners = [name for name, width in widths.items() for _ in range(width)]
        for k, name in enumerate(self.names):
            parents = list(dict.fromkeys(owners[i] for i in self.seen[k].tolist()))
            sums = self._sums(k)
            if sums.ndim == 2 and len(parents) > 1:
                sums = of_line(sums, len(self.seen[k]))
                lost = lost_directions(sums, [widths[parent] for parent in parents])
                found[name] = [parents[i] for i in lost]
        return {name: parents for name, parents in found.items() if parents}

    def doubts(self) -> list[Warning]:
        """Warnings of what the rows do not tell, or the fit did not find."""
        told = [UntoldEffectsWarning(*lost) for lost in self.lost().items()]
        told += [
            FewRowsWarning(
                f"The polynomial of column {self.names[k]!r} has {n_terms} "
                f"coefficients for {n_rows} rows, which do not tell them: the smallest "
                "that fit are taken. Choose 'linear', fewer parents, or more rows."
            )
            for k, n_terms, n_rows in self._undetermined()
        ]
        return told + [
            PoorFitWarning(
                f"The network of column {name!r} predicts left-out rows clearly worse "
                "than a line. Train it longer (max_epochs), or choose mechanism='auto'."
            )
            for name in self.worse
        ]

    def _undetermined(self) -> Iterator[tuple[int, int, int]]:
        """Columns with a polynomial of more coefficients than they have rows."""
        for k in (self.means == MEANS.index("polynomial")).nonzero()[:, 0].tolist():
            sums = self._sums(k)
            n_terms, n_rows = len(sums) - 1, int(sums[0, 0])
            if n_rows < n_terms:
                yield k, n_terms, n_rows

    # ------------------------------------------------------------------ training
    def loss_terms(
        self, inputs: Tensor, targets: Tensor, batch: Batch
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """Loss of each kind of mechanism, summed over the columns that allow it.

        And, with a penalty, the noise of the columns, see `_noise`.
        """
        joint = None if batch.known is None else self.joint(inputs, batch.known)
        drawn, counted = _counts(batch)
        # Filled, not masked afterwards: a NaN would pass through zero gradients.
        inputs, targets = inputs.nan_to_num(), targets.nan_to_num()
        banks, heads = dict(self.banks), {}
        kinds = {"linear": self.lines, "polynomial": self.polynomials}
        terms = {
            k: v for k, v in zip(kinds, self.left.unbind(-1), strict=True) if kinds[k]
        }
        if not (terms or banks):
            terms = {"linear": self.left[..., 0]}
        if self.is_penalised:
            banks, terms = {"linear": self.line_bank, **banks}, {}
        for name, bank in banks.items():
            own = targets[..., bank.columns]
            if name == "energy":
                loss = bank.losses(inputs, own, batch)[:, None]
            else:
                heads[name] = bank(inputs)
                if name == "linear":
                    trains = self.uncertain[bank.columns]
                    heads[name] = heads[name].where(trains, heads[name].detach())
                loss = self._losses(name, own, heads, drawn)
            counts = counted if bank.n_copies > 1 else drawn
            if joint is not None:
                counts = counts * joint[..., None, bank.columns]
            tiny = torch.finfo(loss.dtype).tiny
            total = (loss * counts).sum(-3) / counts.sum(-3).clamp(min=tiny)
            kind = name.split()[0]
            terms[kind] = terms.get(kind, 0.0) + total.mean(-2).sum(-1)
        if not self.is_penalised:
            return terms, []
        return terms, self._noise(heads, targets, batch.fold, joint)

    def _losses(
        self, name: str, targets: Tensor, heads: dict[str, Tensor], drawn: Tensor
    ) -> Tensor:
        """Losses of rows in a bank, (n, n_copies, n_columns)."""
        own = heads[name]
        if name in LOSSES:
            return LOSSES[name](own, targets, self.banks[name].heads)
        if name == "categorical":
            widths, prior = self.banks[name].heads, self.levels_of_prior
            return cross_entropies(own[..., 0, :], targets, prior, widths)[..., None, :]
        if name in ("linear", "additive", "own"):
            return 0.5 * (targets[..., None, :] - own).square()
        if name == "location-scale":
            means, columns = (self.banks[k].columns for k in ("additive", name))
            # Of the means of networks, which do not know of it; both are in order.
            places = torch.searchsorted(means, columns)
            means = heads["additive"].detach()[..., places]
            size = (targets[..., None, :] - means).abs()
            scale = scale_of(own)
            tiny = torch.finfo(size.dtype).tiny
            mean = (size * drawn).sum(-3, keepdim=True) / drawn.sum(-3, keepdim=True)
            return size / mean.clamp(min=tiny) / scale + scale.log()
        location, scale = self._hidden_moments(name, own)
        return 0.5 * ((targets[:, None] - location) / scale).square() + scale.log()

    def _hidden_moments(self, name: str, heads: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of effects of unobserved nodes."""
        if name == "location-scale hidden":
            return heads[..., ::2], scale_of(heads[..., 1::2])
        return heads, scale_of(self.noise_scale[self.banks[name].columns])

    def _noise(
        self,
        heads: dict[str, Tensor],
        targets: Tensor,
        fold: Tensor,
        joint: Tensor | None,
    ) -> list[Tensor]:
        """Noise of the columns by what is trained, (n, n_columns).

        Where columns have both, once that of lines and once that of networks, which is
        in units of their scale. That of a row is by the copies that are trained on it.
        NaN where a column or what it reads is not known, of columns of levels, and of
        mechanisms that are no location.
        """
        means = {
            name: _of_others(own, fold)
            for name, own in heads.items()
            if name not in ("categorical", *LOSSES)
        }
        lines, networks, scales = {}, {}, {}
        if "location-scale" in means:
            columns = self.banks["location-scale"].places
            own = scale_of(means.pop("location-scale"))
            scales = dict(zip(columns, own.unbind(1), strict=True))
        for name, own in means.items():
            scale = torch.ones_like(own)
            if name.endswith("hidden"):
                own, scale = self._hidden_moments(name, own)
            found = lines if name == "linear" else networks
            bank = self.line_bank if name == "linear" else self.banks[name]
            left = (targets[:, bank.columns] - own) / scale
            found |= zip(bank.places, left.unbind(1), strict=True)
        for k in scales:
            networks[k] = networks[k] / scales[k]
            if "linear" not in self.kinds[k]:
                lines[k] = lines[k] / scales[k]
        versions = [networks | lines, lines | networks]
        unknown = targets.new_full((len(targets),), torch.nan)
        noise = [
            torch.stack([own.get(k, unknown) for k in range(len(self.names))], 1)
            for own in versions[lines.keys().isdisjoint(networks) :]
        ]
        return (
            noise if joint is None else [own.where(joint, torch.nan) for own in noise]
        )

    # ------------------------------------------------------------------ choosing
    @torch.no_grad()
    def choose(
        self, rows: Callable[[], Iterable[Sequence[Tensor]]], zeros: Tensor
    ) -> None:
        """Choose each column's kind by rows that were left out.

        ``rows()`` gives them in chunks of inputs, targets, which of these are known,
        and folds; ``zeros`` are the targets that stand for 0. ``worse`` has the names
        of columns whose network predicts clearly worse than a line, and had to be
        taken.
        """
        found, self.worse = left_out(self, rows, zeros), []
        for k, kinds in enumerate(self.kinds):
            kind, self.means[k], self.tied[k] = kinds[0], k in self.polynomials, False
            if k in found:
                kind, self.means[k], self.tied[k] = choose_kind(kinds, *found[k])
                line, _, network = found[k][0][:3].square()
                if kinds == ("additive",) and is_clear(network - line):
                    self.worse.append(self.names[k])
            self.chosen[k] = KINDS.index(kind)

    # ------------------------------------------------------------------- placing
    @torch.no_grad()
    def place(self, graph: MechanismGraph) -> None:
        """Give every column its mechanism."""
        self.lines_trained.fill_(self.is_penalised)
        for k, name in enumerate(self.names):
            mechanism, kind = graph.mechanism(name), KINDS[int(self.chosen[k])]
            mechanism.function.become(self._parts(k, kind))
            mechanism.tied.fill_(self.tied[k])
            if kind == "energy":
                self.banks[kind].copy_curve(k, mechanism.curve)

    def _parts(self, k: int, kind: str) -> list[Part]:
        """Location and scale (if it is fitted) of a column, or chances of levels."""
        if self.confounded[k] and kind != "categorical":
            part = self.banks[f"{kind} hidden"].part(k)
            is_whole = kind == "location-scale"
            return [part] if is_whole else [part, Part(self.noise_scale[k, None])]
        trains = self._trains(kind, k)
        if trains and kind in ("energy", "mixture", "categorical"):
            return [self.banks[kind].part(k)]
        mean = MEANS[int(self.means[k])]
        if mean == "additive":
            location = self.banks[mean].part(k)
        else:
            location = self._solved(k) if mean == "linear" else self._polynomial(k)
        if trains and kind == "location-scale" and not self.tied[k]:
            return [location, self.banks[kind].part(k)]
        return [location]

    def scaled(self) -> list[int]:
        """Columns whose noise has a scale that varies."""
        kind = KINDS.index("location-scale")
        return (self.chosen == kind).nonzero()[:, 0].tolist()

    def _trains(self, name: str, k: int) -> bool:
        return name in self.banks and k in self.banks[name].places

    def _solved(self, k: int) -> Part:
        """Line of a column, or shares of its levels."""
        if k in self.line_bank.places:
            return self.line_bank.part(k)
        return Part(self._sums(k).clamp(min=LEAST_COUNT).log().to(self.left))

    def _polynomial(self, k: int) -> Part:
        """Polynomial of a column, a line in products."""
        n, pairs = len(self.seen[k]), self.pairs[k]
        line = least_squares(self._sums(k))
        products = self.left.new_zeros(n, n)
        products[tuple(pairs)] = line.weight[n:].to(products)
        bias, linear = (v.to(products)[None] for v in (line.bias, line.weight[:n]))
        return Part(bias, linear, products=products)


def _counts(batch: Batch) -> tuple[Tensor, Tensor | None]:
    """How much rows count, (..., n, 1, 1), and for copies without a fold of them."""
    weights = batch.x.new_ones(len(batch.x)) if batch.weights is None else batch.weights
    if batch.fold is None:
        return weights[:, None, None], None
    fold = batch.fold
    if fold.ndim == 1:
        fold = weights[:, None] * (fold[:, None] == torch.arange(N_FOLDS).to(fold))
    drawn = fold.sum(-1, keepdim=True)
    return drawn[..., None], (drawn - fold)[..., None]


def _of_others(heads: Tensor, fold: Tensor) -> Tensor:
    """Mean of the copies that are trained on a row, (n, n_heads)."""
    n_copies = heads.shape[1]
    if n_copies == 1:
        return heads[:, 0]
    trained = (fold[:, None] != torch.arange(n_copies).to(fold)).to(heads)
    return (heads * (trained / trained.sum(1, keepdim=True))[:, :, None]).sum(1)
