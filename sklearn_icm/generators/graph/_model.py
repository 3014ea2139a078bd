"""The torch side of the graph generator: one mechanism per column, and its noise."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from ...interventions._affine import affine_map
from ...interventions._base import Intervention, replaces_mechanism, steps_of
from ...interventions._places import EachRow
from ...interventions._policies import Policy
from ...models import (
    ExactLikelihood,
    Explains,
    GaussianLikelihood,
    GenerativeModel,
    Scores,
)
from ...models._noise import KernelNoise
from ...rows._batches import Batch, Rows, renewed
from ...rows._layout import DataLayout
from ...utils.streams import Streams
from .columns._fit import FittedBanks
from .columns._hidden import NoiseEncoder, Posterior, VectorReader
from .columns._lines import N_FOLDS, copies
from .columns._mechanisms import CategoricalReader, NumericReader
from .columns._structure import ChangedColumn, column_graph
from .kinds._banks import OwnBank, more_banks
from .kinds._own import GivenInputs, check_renewable, fit_given

# Residuals that are kept of a stream; rows that choose kinds and noise.
MOST_POINTS, MOST_RESIDUALS = 4096, 2**18
CHUNK = 4096
# Draws of hidden nodes for the bound of a density.
N_IMPORTANCE = 64


class GraphModule(GenerativeModel, Explains, Scores):
    """A graph with one node per column, and the noise behind it.

    ``parents`` are those of every column and unobserved node, in topological order;
    ``kinds`` the mechanisms that each column may have, in the order of the columns;
    ``n_levels`` and ``hidden`` the levels and dimensions of those that have some;
    ``given`` the mechanisms of their own that columns were given.
    """

    sized_by_fit = any_number = ("residuals",)
    for_training = ("fit",)

    def __init__(
        self,
        layout: DataLayout,
        parents: Mapping[str, Sequence[str]],
        kinds: Mapping[str, Sequence[str]],
        n_levels: Mapping[str, int],
        n_units: int,
        hidden: Mapping[str, int],
        given: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.names = list(kinds)
        self.parents, self.hidden = dict(parents), dict(hidden)
        readers = {
            name: CategoricalReader(n_levels[name])
            if name in n_levels
            else NumericReader()
            for name in self.names
        }
        self.readers, self.is_numeric = nn.ModuleList(readers.values()), not n_levels
        readers |= {name: VectorReader(n_dims) for name, n_dims in hidden.items()}
        self.graph = column_graph(self.parents, readers, kinds, n_units, given)
        self.graph.keeps_rows = True
        widths = [reader.width for reader in self.readers]
        owners = [name for name, r in readers.items() for _ in range(r.width)]
        reads = torch.tensor([[p in self.parents[k] for p in owners] for k in kinds])
        self.fit = FittedBanks(kinds, reads, widths, n_levels, n_units)
        banks = more_banks(kinds, reads, n_units, self._functions(), self.fit.seen)
        self.fit.banks.update(banks)
        if hidden:
            self.encoder = NoiseEncoder(widths, n_units, sum(hidden.values()))
        n_noise = len(kinds) + sum(hidden.values())
        self.noise = KernelNoise(n_noise)
        self.register_buffer("residuals", torch.full((1, n_noise, 2), torch.nan))
        self.register_buffer("renewals", torch.zeros((), dtype=torch.long))
        self.likelihood = ExactLikelihood(layout.node_shape)

    @property
    def stacks(self) -> bool:
        """Whether it draws nothing in training, so that several are trained as one."""
        banks = self.fit.banks
        own = any(isinstance(bank, OwnBank) for bank in banks.values())
        return not (self.hidden or own or "energy" in banks)

    def _functions(self) -> dict[int, nn.Module]:
        """What is in the place of mechanisms' functions, by column."""
        return {
            k: self.graph.mechanism(name).function for k, name in enumerate(self.names)
        }

    def _predicted(self) -> dict[int, tuple[nn.Module, list[int]]]:
        """Mechanisms by a regressor or classifier, and the places of their parents."""
        mechanisms = map(self.graph.mechanism, self.names)
        return {
            k: (own, [self.names.index(p) for p in self.parents[self.names[k]]])
            for k, own in enumerate(mechanisms)
            if isinstance(own, GivenInputs)
        }

    def train(self, mode: bool = True) -> GraphModule:
        """Change the mode of the whole, and of modules of one's own.

        It has many parts, and no other differs.
        """
        self.training = mode
        for bank in self.fit.banks.values():
            if isinstance(bank, OwnBank):
                bank.train(mode)
        return self

    def prepare(self, rows: Rows, streams: Streams) -> Rows:
        """Take the units of the columns, and solve what is linear."""
        self._set_units(rows)
        return self._solved(rows, streams, add=False, start=True)

    def resume(self, rows: Rows, streams: Streams, *, renew: bool) -> Rows:
        """Solve what is linear for the rows, to `renew` also for earlier ones."""
        if renew:
            check_renewable(self._predicted())
        return self._solved(rows, streams, add=renew, start=False)

    def _solved(self, rows: Rows, streams: Streams, *, add: bool, start: bool) -> Rows:
        """The rows in folds, of which levels are counted and lines solved."""
        for k, reader in enumerate(self.readers):
            if isinstance(reader, CategoricalReader):
                mechanism = self.graph.mechanism(self.names[k])
                parts = (part[:, k] for part in rows.x.split(CHUNK))
                mechanism.count(parts, add=add)
        chunks = (self._known_rows(batch)[:3] for batch in rows.chunks(CHUNK))
        self.fit.solve(chunks, add=add, start=start)
        return replace(rows, fold=_folds(rows, streams.torch("folds")))

    def _known_rows(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """What mechanisms read and explain of rows, which of it is known, and folds."""
        known = batch.known
        if known is None:
            known = torch.ones_like(batch.x, dtype=torch.bool)
        return *self._read_rows(batch.x), known, batch.fold

    def _set_units(self, rows: Rows) -> None:
        link = self.likelihood.link
        chunks = [] if rows.known is None else rows.x.split(CHUNK)
        if any(bool(chunk.isnan().any()) for chunk in chunks):
            # The mean of a column stands for what is missing of it in other ones' sums.
            moments = []
            for k in range(len(self.names)):
                parts = (chunk[:, k, None] for chunk in rows.x.split(CHUNK))
                known = torch.cat([p[~p[:, 0].isnan()] for p in parts])
                moments.append(GaussianLikelihood.moments(known))
            self.likelihood.take_units(*map(torch.cat, zip(*moments, strict=True)))
        else:
            self.likelihood.set_units(rows.x)
        for k, reader in enumerate(self.readers):
            if isinstance(reader, NumericReader):
                reader.units.offset.copy_(link.offset[k])
                reader.units.scale.copy_(link.scale[k])

    def _read_rows(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What mechanisms read of rows, and what they explain."""
        if self.is_numeric:
            read = self.likelihood.standardised(x)
            return read, read
        read = [reader(x[..., k, None]) for k, reader in enumerate(self.readers)]
        targets = [
            r if isinstance(reader, NumericReader) else x[..., k, None]
            for k, (r, reader) in enumerate(zip(read, self.readers, strict=True))
        ]
        return torch.cat(read, -1), torch.cat(targets, -1)

    def posterior(self, x: Tensor, known: Tensor | None = None) -> Posterior:
        """Noise behind the unobserved nodes, given the columns that tell of it.

        Values that other mechanisms made are not `known`, and tell nothing.
        """
        read, _ = self._read_rows(x)
        return self.encoder(read, x.isnan() if known is None else ~known)

    def _hidden_values(self, x: Tensor, own: Tensor) -> dict[str, Tensor]:
        """Values of the unobserved nodes for their noise, (n, n_dims) each."""
        noise, values = torch.cat([torch.zeros_like(x), own], 1), {}
        for k, (name, reader) in enumerate(zip(self.names, self.readers, strict=True)):
            # An unknown value is the mean, or no level.
            numeric = isinstance(reader, NumericReader)
            usual = self.likelihood.link.offset[k] if numeric else -torch.ones(()).to(x)
            column = x[:, k, None]
            values[name] = torch.where(column.isnan(), usual, column)
        for name, parents in self.parents.items():
            if name in self.hidden:
                given = [values[p] for p in parents]
                values[name] = self.graph.mechanism(name)(*given, noise)
        return {name: values[name] for name in self.hidden}

    def readings(self) -> dict[str, Tensor]:
        """First weights of all that reads an unobserved vector, (n_weights, n_dims).

        Of those that are not noise alone, by name.
        """
        found = {}
        for name, n_dims in self.hidden.items():
            if n_dims == 1 or not self.parents[name]:
                continue
            read = []
            for effect, causes in self.parents.items():
                if name in causes:
                    mechanism = self.graph.mechanism(effect)
                    widths = [reader.width for reader in mechanism.parents]
                    read.append(mechanism.weight.split(widths, 1)[causes.index(name)])
            found[name] = torch.cat(read).detach().double().cpu()
        return found

    def loss_terms(
        self, batch: Batch
    ) -> tuple[dict[str, Tensor], list[dict[str, Tensor]] | None]:
        """Loss of each kind of mechanism, summed over the columns that allow it.

        With unobserved nodes also "kl", the divergence of their noise from the prior.
        With a penalty also the values of the nodes, which are those of the rows: noise
        is what is left of them, in each version of the mechanisms that is trained.
        """
        inputs, targets = self._read_rows(batch.x)
        terms, hidden, drawn = {}, {}, batch.x[:, :0]
        if self.hidden:
            posterior = self.posterior(batch.x, batch.known)
            drawn = posterior.at(batch.randn(*posterior.mean.shape))
            hidden = self._hidden_values(batch.x, drawn)
            inputs = torch.cat([inputs, *hidden.values()], 1)
            terms["kl"] = batch.mean(posterior.divergence())
        losses, noises = self.fit.loss_terms(inputs, targets, batch)
        if not noises:
            return terms | losses, None
        values = dict(zip(self.names, batch.x.split(1, 1), strict=True))
        values |= hidden | {self.graph.data_node: batch.x}
        (root,) = self.graph.roots
        return terms | losses, [
            {root: torch.cat([noise, drawn], 1)}
            | {name: values[name] for name in self.graph.parents}
            for noise in noises
        ]

    @torch.no_grad()
    def finish(self, rows: Rows, streams: Streams, *, renew: bool = False) -> list:
        """Give every column its mechanism, and its residuals as noise.

        To renew it is to keep kinds and earlier residuals, and let these fade. Returns
        what makes the mechanisms doubtful.
        """
        if not renew:
            some = rows
            if len(rows) > MOST_RESIDUALS:
                stream = streams.torch("choosing")
                order = torch.randperm(len(rows), generator=stream)
                some = rows[order[:MOST_RESIDUALS]]
            link = self.likelihood.link
            zeros = -link.offset / link.scale
            self.fit.choose(lambda: map(self._known_rows, some.chunks(CHUNK)), zeros)
        self.fit.place(self.graph)
        given = self._predicted(), rows.chunks(CHUNK), streams.entropy
        left_out, doubts = fit_given(*given, renew=renew)
        self.renewals = self.renewals + 1 if renew else torch.zeros_like(self.renewals)
        # Another stream each time, so that none of the old residuals is safe.
        name = f"residuals {int(self.renewals)}" if renew else "residuals"
        stream = streams.torch(name)
        residuals = self._residuals(rows, stream)
        for k, left in left_out.items():
            order = torch.randperm(len(left), generator=stream).to(left.device)
            own = left[order[:MOST_RESIDUALS], None]
            residuals[k] = torch.cat([own, torch.ones_like(own)], 1)
        kept = [own[:MOST_POINTS] for own in residuals]
        if renew:
            kept = residuals = [
                renewed(old[~old[:, 0].isnan()], new, MOST_POINTS, stream)
                for old, new in zip(self.residuals.unbind(1), residuals, strict=True)
            ]
        self.residuals = pad_sequence(kept, padding_value=torch.nan)
        self.noise.set(residuals, choose=not renew)
        return self.fit.doubts() + doubts

    def _residuals(self, rows: Rows, stream: torch.Generator) -> list[Tensor]:
        """Known noise of each column in some of the rows; none of categorical ones."""
        order = torch.randperm(len(rows), generator=stream)[:MOST_RESIDUALS]
        chunks = rows[order].chunks(CHUNK, stream)
        noise = torch.cat([self._own_noise(batch) for batch in chunks])
        known = [own[~own[:, 0].isnan()] for own in noise.unbind(1)]
        for k, reader in enumerate(self.readers):
            if isinstance(reader, CategoricalReader):
                known[k] = known[k][:0]
        return known

    def _own_noise(self, batch: Batch) -> Tensor:
        """Noise behind rows and its scale, (n, n_noise, 2).

        NaN where another mechanism made a value.
        """
        x, known = batch.x, batch.known
        noise, slopes = self.explain(x, self._draw(x, batch.generator), known)
        if known is not None:
            noise[:, : x.shape[1]][~known] = torch.nan
        scales = torch.ones_like(noise)
        for k in self.fit.scaled():
            scales[:, k] = (-slopes[:, k]).exp() / self.likelihood.link.scale[k]
        return torch.stack([noise, scales], 2)

    def _draw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Standard normal draws for the noise of the unobserved nodes."""
        shape = (len(x), sum(self.hidden.values()))
        return torch.randn(shape, generator=generator).to(x)

    def abduct(
        self,
        x: Tensor,
        draw: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Noise behind given rows, (n, n_noise).

        Exact given that of unobserved nodes (its posterior mean, or by a standard
        normal draw), and up to its places in the intervals of levels, (n, n_columns):
        without any, the middle.
        """
        return self.explain(x, draw, places=places)[0]

    def factual(self, roots: Tensor, x: Tensor) -> dict[str, Tensor]:
        """Values of the nodes for the noise behind rows: the rows themselves.

        What rounding made of them would be on another side of a step of a mechanism.
        """
        values = dict(zip(self.names, x.split(1, 1), strict=True))
        if self.hidden:
            values |= self._hidden_values(x, roots[:, x.shape[1] :])
        nodes = {name: values[name] for name in self.parents}
        (root,) = self.graph.roots
        return {root: roots, **nodes, self.graph.data_node: x}

    def under(self, interventions: Mapping[str, Callable]) -> GraphModule:
        """A copy whose columns are explained as what interventions made of them.

        Raises
        ------
        ValueError
            For interventions that are not known to be affine, or replace a mechanism by
            one of another family or column.
        """
        made = copy.deepcopy(self)
        for name, change in interventions.items():
            mechanism = own = made.graph.mechanism(name)
            if replaces_mechanism(change):
                mechanism = copy.deepcopy(change.mechanism(own))
                # It reads its own noise alone, else two columns would share one.
                if getattr(mechanism, "index", None) != own.index:
                    raise ValueError(
                        f"There is no density with the mechanism that {change!r} gives "
                        f"node {name!r}: take that of a GraphGenerator for a column in "
                        "the same place."
                    )
            last = steps_of(change)[-1]
            sets = isinstance(last, EachRow)
            sets |= isinstance(last, Policy) and last.strength == 1
            # What is set leaves nothing to explain, whatever it is set to.
            known = (0.0, 0.0) if sets else affine_map(change, (1,), name)
            slope, offset = map(float, known)
            place = list(made.parents).index(name)
            made.graph.mechanisms[place] = ChangedColumn(mechanism, slope, offset)
        return made

    def log_prob(
        self, x: Tensor, changes: Mapping[str, Intervention], streams: Streams
    ) -> Tensor:
        """Log density of each row, or with unobserved nodes a bound of it, (n,)."""
        others = [name for name in changes if self.hidden or name not in self.names]
        if others and self.hidden:
            raise ValueError(
                f"There is no density under interventions on {others} in a graph with "
                "unobserved nodes, whose encoder knows the unchanged mechanisms alone: "
                f"those on {self.graph.data_node!r} have one. Compare samples by a "
                "distance (make_extrapolation_scorer)."
            )
        if others:
            raise ValueError(
                f"There is no density under interventions on {others}: those on the "
                f"columns {self.names} and on {self.graph.data_node!r} have one."
            )
        if not self.hidden:
            model = self.under(changes).to(x) if changes else self
            return model.log_probs(x).sum(1)
        shape = N_IMPORTANCE, 1, sum(self.hidden.values())
        draws = torch.randn(
            shape, generator=streams.torch("bound"), dtype=torch.float64
        )
        weights = torch.stack([self._log_weight(x, d) for d in draws.to(x)])
        return weights.logsumexp(0) - math.log(N_IMPORTANCE)

    def log_probs(self, x: Tensor, draw: Tensor | None = None) -> Tensor:
        """Log density of each row and noise variable given the parents, (n, n_noise).

        A standard normal draw for unobserved nodes gives that of the row with them. It
        is 0 where a column or one of its parents is missing, and for columns that are
        set.
        """
        noise, slopes = self.explain(x, draw)
        counts = ~noise.isnan() & self.noise.varies
        densities = self.noise.log_probs(noise)
        for k, reader in enumerate(self.readers):
            if isinstance(reader, CategoricalReader):
                densities[:, k] = 0
        return torch.where(counts, densities + slopes, 0.0)

    def _log_weight(self, x: Tensor, draw: Tensor) -> Tensor:
        """log p(x, e) - log q(e | x) of each row, for noise e of unobserved nodes."""
        joint = self.log_probs(x, draw).sum(1)
        log_variance = self.posterior(x).log_variance
        log_q = -0.5 * (draw.square() + log_variance + math.log(2 * math.pi)).sum(1)
        return joint - log_q

    def explain(
        self,
        x: Tensor,
        draw: Tensor | None = None,
        known: Tensor | None = None,
        places: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Noise behind rows, and the log of d noise / d value of the columns."""
        values = {name: x[:, k, None] for k, name in enumerate(self.names)}
        if self.hidden:
            posterior = self.posterior(x, known)
            own = posterior.mean if draw is None else posterior.at(draw)
            values |= self._hidden_values(x, own)
        found = {}
        for (name, parents), mechanism in zip(
            self.parents.items(), self.graph.mechanisms, strict=False
        ):
            if name in self.hidden:
                continue
            given = [values[p] for p in parents]
            place = None if places is None else places[:, mechanism.index, None]
            found[mechanism.index] = mechanism.explain(values[name], given, place)
        columns = [found[k] for k in range(x.shape[1])]
        noise, slopes = (torch.cat(parts, 1) for parts in zip(*columns, strict=True))
        if self.hidden:
            noise = torch.cat([noise, own], 1)
            slopes = functional.pad(slopes, (0, own.shape[1]))
        return noise, slopes


def _folds(rows: Rows, stream: torch.Generator) -> Tensor:
    """Fold of each row; copies share one, so that none is left out by itself."""
    place = copies(rows.x.split(CHUNK))
    if place is None:
        return torch.randperm(len(rows), generator=stream) % N_FOLDS
    return torch.randperm(int(place.max()) + 1, generator=stream)[place] % N_FOLDS
