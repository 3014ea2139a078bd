"""The torch side of the graph generator: one mechanism per column, and its noise."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .._training.mapped import MappedRows
from .._training.seeds import torch_stream
from ..mechanisms import DataLayout, GaussianLikelihood, MechanismGraph
from ._column_module import (
    UNIT_SCALE,
    CategoricalColumn,
    CategoricalReader,
    ColumnBank,
    NumericColumn,
    NumericReader,
    scale_of,
)
from ._energy_module import PreAdditiveBank, PreAdditiveColumn
from ._noise_module import KernelNoise, is_clear

# From simple to rich: an earlier one is kept unless a later one is clearly better.
AUTO = ("linear", "additive", "location-scale")
NUMERIC = (*AUTO, "energy")
KINDS = (*AUTO, "categorical", "energy")
MOST_POINTS = 4096
# Held-out rows on which noise is chosen.
MOST_CHOOSING = 512
CHUNK = 4096
LEAST_VARIANCE = 1e-6


class ExactLikelihood(GaussianLikelihood):
    """The data node is the data: there is no observation noise."""

    def observe(self, mean: Tensor, draw: Tensor) -> Tensor:
        return mean

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.empty(n, 0)


class Columns(nn.Module):
    """The data node: the columns side by side."""

    def forward(self, *columns: Tensor) -> Tensor:
        return torch.cat(columns, 1)


class GraphModule(nn.Module):
    """A graph with one node per column, and the noise behind it.

    Parameters
    ----------
    layout : DataLayout
    parents : dict of str to tuple of str
        Of every column, in topological order.
    kinds : dict of str to tuple of str
        Mechanisms that each column may have, in the order of the columns.
    n_levels : dict of str to int
        Of the categorical columns.
    n_units : int
    """

    def __init__(
        self,
        layout: DataLayout,
        parents: Mapping[str, Sequence[str]],
        kinds: Mapping[str, Sequence[str]],
        n_levels: Mapping[str, int],
        n_units: int,
    ) -> None:
        super().__init__()
        self.layout, self.names = layout, list(kinds)
        self.parents, self.kinds = dict(parents), dict(kinds)
        readers = {
            name: CategoricalReader(n_levels[name])
            if name in n_levels
            else NumericReader()
            for name in self.names
        }
        self.readers = nn.ModuleList(readers.values())
        self.graph = _column_graph(self.parents, readers, self.kinds, n_units)
        self.banks = self._make_banks(n_units, n_levels)
        self.register_buffer("chosen", torch.zeros(len(kinds), dtype=torch.long))
        self.noise = KernelNoise(len(kinds))
        self.likelihood = ExactLikelihood(layout.node_shape)
        self.likelihood.variance.fill_(LEAST_VARIANCE)

    def _make_banks(self, n_units: int, n_levels: Mapping[str, int]) -> nn.ModuleDict:
        reads = torch.tensor(
            [
                [p in self.parents[k] for p, r in self._read() for _ in range(r.width)]
                for k in self.names
            ]
        )
        n_heads = {
            "location-scale": 2,
            "categorical": max(n_levels.values(), default=0),
        }
        banks = nn.ModuleDict()
        for kind in KINDS:
            if not any(kind in ks for ks in self.kinds.values()):
                continue
            if kind == "energy":
                banks[kind] = PreAdditiveBank(reads, n_units)
            else:
                units = 0 if kind == "linear" else n_units
                banks[kind] = ColumnBank(reads, units, n_heads.get(kind, 1))
        if "location-scale" in banks:
            nn.init.constant_(banks["location-scale"].bias[:, 1], UNIT_SCALE)
        return banks

    def _read(self) -> zip:
        return zip(self.names, self.readers, strict=True)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Values of rows, and which of them come from other mechanisms.

        The latter stand beside the values, where there are any.
        """
        n_columns = len(self.names)
        if x.shape[1] == n_columns:
            return x, torch.zeros_like(x, dtype=torch.bool)
        return x[:, :n_columns], x[:, n_columns:] > 0

    def prepare(self, x: Tensor | MappedRows) -> None:
        """Take the units of the columns, and start linear mechanisms well."""
        if isinstance(x, Tensor):
            x, _ = self.split(x)
        self._set_units(x)
        started = [k for k in ("linear", "energy") if k in self.banks]
        if not started:
            return
        n_inputs = sum(reader.width for reader in self.readers)
        moments = torch.zeros(n_inputs + 1, n_inputs + 1 + len(self.names)).double()
        for chunk in x.split(CHUNK):
            inputs, targets = self._read_rows(chunk.to(self.likelihood.variance))
            one = torch.ones(len(inputs), 1)
            left = torch.cat([one, inputs], 1).nan_to_num().double()
            right = torch.cat([left, targets.nan_to_num().double()], 1)
            moments += left.T @ right / len(x)
        centred = moments[1:, 1:] - moments[1:, :1] * moments[:1, 1:]
        for kind in started:
            self.banks[kind].solve(centred[:, :n_inputs], centred[:, n_inputs:])

    def _set_units(self, x: Tensor | MappedRows) -> None:
        link = self.likelihood.link
        if isinstance(x, Tensor) and bool(x.isnan().any()):
            # The mean of a column stands for what is missing of it in other ones' sums.
            for k in range(x.shape[1]):
                column = GaussianLikelihood((1,))
                column.set_units(x[~x[:, k].isnan(), k, None])
                link.offset[k], link.scale[k] = column.link.offset, column.link.scale
        else:
            self.likelihood.set_units(x)
        for k, reader in enumerate(self.readers):
            if isinstance(reader, NumericReader):
                reader.units.offset.copy_(link.offset[k])
                reader.units.scale.copy_(link.scale[k])

    def _read_rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What mechanisms read of rows, and what they explain."""
        read = [reader(x[:, k, None]) for k, reader in enumerate(self.readers)]
        targets = [
            r if isinstance(reader, NumericReader) else x[:, k, None]
            for k, (r, reader) in enumerate(zip(read, self.readers, strict=True))
        ]
        return torch.cat(read, 1), torch.cat(targets, 1)

    def losses(
        self, x: Tensor, generator: torch.Generator, *, profiled: bool = False
    ) -> dict[str, Tensor]:
        """Loss of each row and column by kind, (n, n_columns); NaN where unknown.

        Squared errors, energy scores or negative log likelihoods: where ``profiled``,
        of all kinds that "auto" compares.
        """
        x, changed = self.split(x)
        inputs, targets = self._read_rows(x)
        hidden, missing = inputs.isnan().to(x), targets.isnan() | changed
        # Filled, not masked afterwards: a NaN would pass through zero gradients.
        inputs, targets, found = inputs.nan_to_num(), targets.nan_to_num(), {}
        for kind, bank in self.banks.items():
            known = ~missing & (hidden @ bank.reads.T == 0)
            if kind == "energy":
                loss = bank.losses(inputs, targets, generator)
            elif kind == "categorical":
                loss = self._cross_entropy(bank(inputs), targets)
            else:
                loss = _numeric_loss(bank(inputs), targets)
                if profiled and kind != "location-scale":
                    loss = _profiled(loss, known)
            found[kind] = torch.where(known, loss, torch.nan)
        return found

    def _cross_entropy(self, logits: Tensor, codes: Tensor) -> Tensor:
        loss = torch.full_like(codes, torch.nan)
        for k, reader in enumerate(self.readers):
            if isinstance(reader, CategoricalReader):
                own = logits[:, k, : reader.width]
                level = codes[:, k].long()
                loss[:, k] = functional.cross_entropy(own, level, reduction="none")
        return loss

    def loss_terms(
        self, x: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], None]:
        """Loss of each kind of mechanism, summed over the columns that allow it."""
        terms = {}
        for kind, loss in self.losses(x, generator).items():
            allowed = [k for k, n in enumerate(self.names) if kind in self.kinds[n]]
            loss = loss[:, allowed]
            known = ~loss.isnan()
            total = torch.where(known, loss, 0.0).sum(0)
            terms[kind] = (total / known.sum(0).clamp(min=1)).sum()
        return terms, None

    @torch.no_grad()
    def choose(self, x: Tensor | MappedRows) -> None:
        """Choose each column's kind by its losses of held-out rows."""
        fixed = torch.Generator().manual_seed(0)
        parts = [self.losses(c, fixed, profiled=True) for c in x.split(CHUNK)]
        losses = {k: torch.cat([p[k] for p in parts]) for k in self.banks}
        for k, name in enumerate(self.names):
            best, *others = self.kinds[name]
            for kind in others:
                gain = (losses[best] - losses[kind])[:, k]
                if is_clear(gain[~gain.isnan()]):
                    best = kind
            self.chosen[k] = KINDS.index(best)

    @torch.no_grad()
    def choose_noise(
        self, x: Tensor | MappedRows, held_out: Tensor | MappedRows, entropy: int
    ) -> None:
        """Choose each column's noise by its density at held-out rows."""
        self._place_mechanisms()
        own = self._residuals(x, entropy)
        for k, other in enumerate(self._residuals(held_out, entropy)):
            if len(own[k]) > 1:
                self.noise.choose(k, own[k], other[:MOST_CHOOSING])

    @torch.no_grad()
    def finish(self, x: Tensor | MappedRows, entropy: int) -> None:
        """Give every column its mechanism, and its residuals as noise."""
        self._place_mechanisms()
        residuals = self._residuals(x, entropy)
        self.noise.clear(max(map(len, residuals), default=0) or 1)
        for k, known in enumerate(residuals):
            if len(known) > 1:
                self.noise.set(k, known)

    def _place_mechanisms(self) -> None:
        for k, name in enumerate(self.names):
            kind = KINDS[int(self.chosen[k])]
            if kind not in self.kinds[name]:
                kind = self.kinds[name][0]
                self.chosen[k] = KINDS.index(kind)
            self.banks[kind].copy_to(self.graph.mechanism(name), k)

    def _residuals(self, x: Tensor | MappedRows, entropy: int) -> list[Tensor]:
        """Known noise of each column in some of the rows; none of categorical ones."""
        stream = torch_stream(entropy, "residuals")
        order = torch.randperm(len(x), generator=stream)[:MOST_POINTS]
        noise = torch.cat([self._own_noise(chunk) for chunk in x[order].split(CHUNK)])
        columns = zip(noise.T, self.readers, strict=True)
        return [
            own[~own.isnan()] if isinstance(reader, NumericReader) else own[:0]
            for own, reader in columns
        ]

    def _own_noise(self, x: Tensor) -> Tensor:
        """Noise behind rows; NaN where another mechanism made a value."""
        x, changed = self.split(x)
        return torch.where(changed, torch.nan, self.abduct(x))

    def abduct(self, x: Tensor) -> Tensor:
        """Noise behind given rows: exact."""
        return self._explain(x)[0]

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of each row and column given its parents, (n, n_columns)."""
        noise, slopes = self._explain(x)
        densities = self.noise.log_probs(noise)
        for k, reader in enumerate(self.readers):
            if isinstance(reader, CategoricalReader):
                densities[:, k] = 0
        return torch.where(self.noise.width > 0, densities + slopes, 0.0)

    def _explain(self, x: Tensor) -> tuple[Tensor, Tensor]:
        values = {name: x[:, k, None] for k, name in enumerate(self.names)}
        noise, slopes = torch.empty_like(x), torch.empty_like(x)
        for name, parents in self.parents.items():
            mechanism = self.graph.mechanism(name)
            given = [values[p] for p in parents]
            found = mechanism.explain(values[name], given)
            noise[:, mechanism.index], slopes[:, mechanism.index] = (
                part[:, 0] for part in found
            )
        return noise, slopes


def _numeric_loss(heads: Tensor, targets: Tensor) -> Tensor:
    squared = 0.5 * (targets - heads[..., 0]).square()
    if heads.shape[2] == 1:
        return squared
    scale = scale_of(heads[..., 1])
    return squared / scale.square() + scale.log()


def _profiled(loss: Tensor, known: Tensor) -> Tensor:
    """Negative log likelihood of half squared errors, at their own variance."""
    half = torch.where(known, loss, 0.0).sum(0) / known.sum(0).clamp(min=1)
    variance = (2 * half).clamp(min=LEAST_VARIANCE)
    return loss / variance + 0.5 * variance.log()


CLASSES = {"categorical": CategoricalColumn, "energy": PreAdditiveColumn}


def _column_graph(
    parents: Mapping[str, Sequence[str]],
    readers: Mapping[str, nn.Module],
    kinds: Mapping[str, Sequence[str]],
    n_units: int,
) -> MechanismGraph:
    names = list(readers)
    noise, data = unused_names(names)
    mechanisms = {}
    for name, read in parents.items():
        made = CLASSES.get(kinds[name][0], NumericColumn)
        column = made(
            names.index(name), readers[name], [readers[p] for p in read], n_units
        )
        mechanisms[name] = ((*read, noise), column)
    mechanisms[data] = (names, Columns())
    return MechanismGraph({noise: (len(names),)}, mechanisms)


def allowed_kinds(
    mechanism: str | Mapping[str, str],
    parents: Mapping[str, Sequence[str]],
    names: Sequence[str],
    categorical: Collection[str],
) -> dict[str, tuple[str, ...]]:
    """Kinds of mechanism that each column may have, or say what is allowed."""
    given = mechanism
    if isinstance(mechanism, str):
        given = dict.fromkeys(names, mechanism)
    for name, kind in given.items():
        if name not in names or kind not in ("auto", *NUMERIC):
            raise ValueError(
                f"mechanism must map columns to one of {['auto', *NUMERIC]}, got "
                f"{name!r}: {kind!r}; the columns are {list(names)}."
            )
    kinds = {name: given.get(name, "auto") for name in names}
    allowed = {k: AUTO if v == "auto" else (v,) for k, v in kinds.items()}
    allowed.update(dict.fromkeys(categorical, ("categorical",)))
    # Without parents there is only noise, which all kinds describe alike.
    for name, kinds in allowed.items():
        if not parents[name]:
            allowed[name] = ("linear",) if kinds == ("energy",) else kinds[:1]
    return allowed


def unused_names(names: Sequence[str]) -> tuple[str, str]:
    """Names of the noise and the data node: underscored where a column has them."""
    made = []
    for name in ("noise", "data"):
        while name in names:
            name += "_"
        made.append(name)
    return tuple(made)
