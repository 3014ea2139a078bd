"""The torch side of the graph generator: one mechanism per column, and its noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pad_sequence

from .._training.mapped import MappedRows
from .._training.reservoir import renewed
from .._training.seeds import torch_stream
from ..mechanisms import DataLayout, GaussianLikelihood
from ._column_module import (
    LEAST_VARIANCE,
    UNIT_SCALE,
    CategoricalReader,
    ColumnBank,
    NumericReader,
    numeric_loss,
    profiled_loss,
    scale_of,
)
from ._energy_module import PreAdditiveBank
from ._hidden_module import NoiseEncoder, Posterior, VectorReader
from ._noise_module import KernelNoise, is_clear
from ._structure_module import KINDS, column_graph

MOST_POINTS = 4096
# Held-out rows on which noise is chosen.
MOST_CHOOSING = 512
CHUNK = 4096


class ExactLikelihood(GaussianLikelihood):
    """The data node is the data: there is no observation noise."""

    is_exact = True

    def observe(self, mean: Tensor, draw: Tensor) -> Tensor:
        return mean

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        return torch.empty(n, 0)


class GraphModule(nn.Module):
    """A graph with one node per column, and the noise behind it.

    Parameters
    ----------
    layout : DataLayout
    parents : dict of str to tuple of str
        Of every column and unobserved node, in topological order.
    kinds : dict of str to tuple of str
        Mechanisms that each column may have, in the order of the columns.
    n_levels : dict of str to int
        Of the categorical columns.
    n_units : int
    hidden : dict of str to int
        Dimensions of the unobserved nodes.
    """

    sized_by_fit = any_number = ("residuals",)

    def __init__(
        self,
        layout: DataLayout,
        parents: Mapping[str, Sequence[str]],
        kinds: Mapping[str, Sequence[str]],
        n_levels: Mapping[str, int],
        n_units: int,
        hidden: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.layout, self.names = layout, list(kinds)
        self.parents, self.kinds, self.hidden = dict(parents), dict(kinds), dict(hidden)
        readers = {
            name: CategoricalReader(n_levels[name])
            if name in n_levels
            else NumericReader()
            for name in self.names
        }
        self.readers, self.is_numeric = nn.ModuleList(readers.values()), not n_levels
        readers |= {name: VectorReader(n_dims) for name, n_dims in hidden.items()}
        self.graph = column_graph(self.parents, readers, self.kinds, n_units)
        self.banks = self._make_banks(n_units, n_levels, readers)
        self._make_inference(n_units)
        self.register_buffer("chosen", torch.zeros(len(kinds), dtype=torch.long))
        allowed = [[kind in own for own in kinds.values()] for kind in KINDS]
        self.register_buffer("allowed", torch.tensor(allowed).float())
        n_noise = len(kinds) + sum(hidden.values())
        self.noise = KernelNoise(n_noise)
        self.register_buffer("residuals", torch.full((1, n_noise), torch.nan))
        self.register_buffer("renewals", torch.zeros((), dtype=torch.long))
        self.likelihood = ExactLikelihood(layout.node_shape)
        self.likelihood.variance.fill_(LEAST_VARIANCE)

    def _make_banks(
        self,
        n_units: int,
        n_levels: Mapping[str, int],
        readers: Mapping[str, nn.Module],
    ) -> nn.ModuleDict:
        owners = [name for name, r in readers.items() for _ in range(r.width)]
        reads = [[p in self.parents[k] for p in owners] for k in self.names]
        reads = torch.tensor(reads)
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

    def _make_inference(self, n_units: int) -> None:
        """What tells of unobserved nodes, and what their effects need in training."""
        with_hidden = [
            not self.hidden.keys().isdisjoint(self.parents[k]) for k in self.names
        ]
        self.register_buffer("confounded", torch.tensor(with_hidden))
        if not self.hidden:
            return
        widths = [reader.width for reader in self.readers]
        self.encoder = NoiseEncoder(widths, n_units, sum(self.hidden.values()))
        self.noise_scale = nn.Parameter(torch.full((len(self.names),), UNIT_SCALE))
        for bank in self.banks.values():
            if isinstance(bank, ColumnBank):
                bank.disturb(self.confounded)

    def train(self, mode: bool = True) -> GraphModule:
        """Change the mode of the whole alone: it has many parts, and none differs."""
        self.training = mode
        return self

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
        if self.is_numeric:
            read = self.likelihood.standardised(x)
            return read, read
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
        of all kinds that "auto" compares. With unobserved nodes also "kl", (n, 1): the
        divergence of their noise from the prior.
        """
        x, changed = self.split(x)
        inputs, targets = self._read_rows(x)
        found = {}
        if self.hidden:
            posterior = self.posterior(x, changed)
            draw = torch.randn(posterior.mean.shape, generator=generator).to(x)
            hidden = self._hidden_values(x, posterior.at(draw))
            inputs = torch.cat([inputs, *hidden.values()], 1)
            found["kl"] = posterior.divergence()[:, None]
        missing = x.isnan() | changed
        is_complete = not bool(missing.any())
        absent = inputs.isnan().to(x)
        # Filled, not masked afterwards: a NaN would pass through zero gradients.
        inputs, targets = inputs.nan_to_num(), targets.nan_to_num()
        for kind, bank in self.banks.items():
            known = ~missing
            if not is_complete:
                known &= absent @ bank.reads.T == 0
            if kind == "energy":
                loss = bank.losses(inputs, targets, generator)
            elif kind == "categorical":
                loss = self._cross_entropy(bank(inputs), targets)
            else:
                loss = numeric_loss(bank(inputs), targets)
                if kind != "location-scale":
                    loss = self._with_scale(loss, known, profiled=profiled)
            found[kind] = loss if is_complete else torch.where(known, loss, torch.nan)
        return found

    def _with_scale(self, loss: Tensor, known: Tensor, *, profiled: bool) -> Tensor:
        """Half squared errors as negative log likelihoods, where these are needed."""
        if profiled:
            return profiled_loss(loss, known)
        if not self.hidden:
            return loss
        scale = scale_of(self.noise_scale)
        likelihood = loss / scale.square() + scale.log()
        return torch.where(self.confounded, likelihood, loss)

    def posterior(self, x: Tensor, changed: Tensor | None = None) -> Posterior:
        """Noise behind the unobserved nodes, given the columns that tell of it.

        Values that other mechanisms made tell nothing.
        """
        read, _ = self._read_rows(x)
        unknown = x.isnan() if changed is None else x.isnan() | changed
        return self.encoder(read, unknown)

    def _hidden_values(self, x: Tensor, own: Tensor) -> dict[str, Tensor]:
        """Values of the unobserved nodes for their noise, (n, n_dims) each."""
        noise = torch.cat([torch.zeros_like(x), own], 1)
        values = self._columns_of(x)
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
            if n_dims > 1 and self.parents[name]:
                effects = [k for k, ps in self.parents.items() if name in ps]
                read = [self._reading(effect, name) for effect in effects]
                found[name] = torch.cat(read).detach().double().cpu()
        return found

    def _reading(self, effect: str, name: str) -> Tensor:
        mechanism = self.graph.mechanism(effect)
        widths = [reader.width for reader in mechanism.parents]
        place = self.parents[effect].index(name)
        return mechanism.weight.split(widths, 1)[place]

    def _columns_of(self, x: Tensor) -> dict[str, Tensor]:
        """Values of the columns; unknown ones are the mean, or no level."""
        values = {}
        for k, reader in enumerate(self.readers):
            numeric = isinstance(reader, NumericReader)
            usual = self.likelihood.link.offset[k] if numeric else -torch.ones(()).to(x)
            column = x[:, k, None]
            values[self.names[k]] = torch.where(column.isnan(), usual, column)
        return values

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
        losses, terms = self.losses(x, generator), {}
        if self.hidden:
            terms["kl"] = losses.pop("kl").mean()
        for kind, loss in losses.items():
            known = ~loss.isnan()
            total = torch.where(known, loss, 0.0).sum(0)
            terms[kind] = (total / known.sum(0).clamp(min=1)) @ self.allowed[
                KINDS.index(kind)
            ]
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
        own, others = (
            self._residuals(rows, torch_stream(entropy, "residuals"))
            for rows in (x, held_out)
        )
        for k, other in enumerate(others):
            if len(own[k]) > 1:
                self.noise.choose(k, own[k], other[:MOST_CHOOSING])

    @torch.no_grad()
    def finish(
        self, x: Tensor | MappedRows, entropy: int, *, renew: bool = False
    ) -> None:
        """Give every column its mechanism, and its residuals as noise.

        To renew it is to keep earlier residuals, and let them fade.
        """
        self._place_mechanisms()
        self.renewals = self.renewals + 1 if renew else torch.zeros_like(self.renewals)
        # Another stream each time, so that none of the old residuals is safe.
        name = f"residuals {int(self.renewals)}" if renew else "residuals"
        stream = torch_stream(entropy, name)
        residuals = self._residuals(x, stream)
        if renew:
            residuals = [
                renewed(kept[~kept.isnan()], new, MOST_POINTS, stream)
                for kept, new in zip(self.residuals.T, residuals, strict=True)
            ]
        self.residuals = pad_sequence(residuals, padding_value=torch.nan)
        self.noise.clear(len(self.residuals) or 1)
        for k, known in enumerate(residuals):
            if len(known) > 1:
                self.noise.set(k, known)

    def _place_mechanisms(self) -> None:
        for k, name in enumerate(self.names):
            kind = KINDS[int(self.chosen[k])]
            if kind not in self.kinds[name]:
                kind = self.kinds[name][0]
                self.chosen[k] = KINDS.index(kind)
            mechanism = self.graph.mechanism(name)
            self.banks[kind].copy_to(mechanism, k)
            if self.confounded[k] and kind in ("linear", "additive"):
                mechanism.function.bias[1] = self.noise_scale[k]

    def _residuals(
        self, x: Tensor | MappedRows, stream: torch.Generator
    ) -> list[Tensor]:
        """Known noise of each column in some of the rows; none of categorical ones."""
        order = torch.randperm(len(x), generator=stream)[:MOST_POINTS]
        noise = torch.cat(
            [self._own_noise(chunk, stream) for chunk in x[order].split(CHUNK)]
        )
        known = [own[~own.isnan()] for own in noise.T]
        for k, reader in enumerate(self.readers):
            if isinstance(reader, CategoricalReader):
                known[k] = known[k][:0]
        return known

    def _own_noise(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Noise behind rows; NaN where another mechanism made a value."""
        x, changed = self.split(x)
        noise = self.explain(x, self._draw(x, generator), changed)[0]
        noise[:, : x.shape[1]][changed] = torch.nan
        return noise

    def _draw(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Standard normal draws for the noise of the unobserved nodes."""
        shape = (len(x), sum(self.hidden.values()))
        return torch.randn(shape, generator=generator).to(x)

    def abduct(
        self,
        x: Tensor,
        generator: torch.Generator | None = None,
        places: Tensor | None = None,
    ) -> Tensor:
        """Noise behind given rows, (n, n_noise).

        Exact given that of unobserved nodes (its posterior mean, or a draw), and up to
        its places in the intervals of levels, (n, n_columns): without any, the middle.
        """
        draw = None if generator is None else self._draw(x, generator)
        return self.explain(x, draw, places=places)[0]

    def log_prob(self, x: Tensor, draw: Tensor | None = None) -> Tensor:
        """Log density of each row and noise variable given the parents, (n, n_noise).

        A standard normal draw for unobserved nodes gives that of the row with them. It
        is 0 where a column or one of its parents is missing.
        """
        noise, slopes = self.explain(x, draw)
        counts = ~noise.isnan() & (self.noise.width > 0)
        densities = self.noise.log_probs(noise)
        for k, reader in enumerate(self.readers):
            if isinstance(reader, CategoricalReader):
                densities[:, k] = 0
        return torch.where(counts, densities + slopes, 0.0)

    def log_weight(self, x: Tensor, draw: Tensor) -> Tensor:
        """log p(x, e) - log q(e | x) of each row, for noise e of unobserved nodes."""
        joint = self.log_prob(x, draw).sum(1)
        log_variance = self.posterior(x).log_variance
        log_q = -0.5 * (draw.square() + log_variance + math.log(2 * math.pi)).sum(1)
        return joint - log_q

    def explain(
        self,
        x: Tensor,
        draw: Tensor | None = None,
        changed: Tensor | None = None,
        places: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Noise behind rows, and the log of d noise / d value of the columns."""
        noise = x.new_zeros(len(x), len(self.noise.width))
        slopes = torch.zeros_like(noise)
        values = {name: x[:, k, None] for k, name in enumerate(self.names)}
        if self.hidden:
            posterior = self.posterior(x, changed)
            own = posterior.mean if draw is None else posterior.at(draw)
            noise[:, x.shape[1] :] = own
            values |= self._hidden_values(x, own)
        for name, parents in self.parents.items():
            if name in self.hidden:
                continue
            mechanism = self.graph.mechanism(name)
            given = [values[p] for p in parents]
            place = None if places is None else places[:, mechanism.index, None]
            found = mechanism.explain(values[name], given, place)
            noise[:, mechanism.index], slopes[:, mechanism.index] = (
                part[:, 0] for part in found
            )
        return noise, slopes
