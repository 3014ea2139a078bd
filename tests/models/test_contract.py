"""What every model has by default, and what it must write."""

import pytest
import torch
from torch import nn

from sklearn_icm.mechanisms import MechanismGraph
from sklearn_icm.models import ExactLikelihood, GenerativeModel
from sklearn_icm.utils.streams import Streams


class TwoRoots(GenerativeModel):
    def __init__(self):
        super().__init__()
        self.likelihood = ExactLikelihood((4,))
        self.graph = MechanismGraph(
            {"left": (2,), "right": (3,)},
            {"data": (("left", "right"), nn.Bilinear(2, 3, 4))},
        )

    def loss_terms(self, batch):
        return {}, None


def test_roots_are_independent_standard_normal_and_chunks_change_nothing():
    model, streams, parts = TwoRoots(), Streams(3), Streams(3)
    whole = model.draw(3200, streams, noisy=False).roots
    chunks = [model.draw(n, parts, noisy=False).roots for n in (1600, 16, 1584)]
    for name, value in whole.items():
        assert torch.equal(value, torch.cat([chunk[name] for chunk in chunks]))
    normal = torch.cat(list(whole.values()), 1)
    assert torch.allclose(normal.T.cov(), torch.eye(5), atol=0.1)
    expected = torch.distributions.Normal(0, 1).log_prob(normal).sum(1)
    assert torch.allclose(model.log_prior(normal), expected, atol=1e-5)


def test_draws_are_as_exact_as_the_model_and_scatter_as_its_likelihood():
    model = TwoRoots().double()
    drawn = model.draw(5, Streams(0))
    mean = model.graph(drawn.roots)["data"]
    assert mean.dtype == torch.float64
    assert torch.equal(drawn.scatter(mean), mean)
    assert model.draw(5, Streams(0), noisy=False).scatter is None


def test_a_model_has_a_loss():
    with pytest.raises(TypeError, match="abstract.* loss_terms"):
        type("Lossless", (GenerativeModel,), {})()
