"""A generator whose mechanisms are given answers as its world does."""

import numpy as np
import pytest
import torch
from torch import nn

from sklearn_icm.datasets import make_faces, make_fluohair, make_scm
from sklearn_icm.generators import FixedGenerator
from sklearn_icm.interventions import Do, Reparametrise, Stretch
from sklearn_icm.mechanisms import MechanismGraph
from sklearn_icm.models._abduction import log_joint, most_probable_noise


def generator_of(world, **params):
    shape = world.get("data_shape")
    model = FixedGenerator(world.mechanisms, data_shape=shape, **params)
    return model.fit(world.data)


@pytest.fixture(scope="module")
def faces():
    return make_faces(6, random_state=0)


def test_faces_are_stretched_like_the_world(faces):
    model = generator_of(faces)
    X = faces.render(1.0)
    found = model.abduct(X)
    query = {"X": X, "abduction": found}
    changed = model.intervene({"layout": Stretch(1.3)}, **query)
    # The layout's interpolation, and what abduction leaves.
    assert np.abs(changed - faces.render(1.3)).max() < 0.05
    stretched = model.intervene({"data": Stretch(1.3)}, **query)
    assert np.abs(stretched - changed).max() > 0.1
    assert (found.residual < 1e-3 * X.std()).all()


def test_a_flat_data_node_gives_the_rows_of_an_arranged_one():
    own = nn.Linear(3, 12).requires_grad_(False)
    arranged = nn.Sequential(own, nn.Unflatten(1, (1, 3, 4)))
    X, rows = np.random.RandomState(0).rand(9, 12), []
    for module in (own, arranged):
        graph = MechanismGraph({"noise": (3,)}, {"data": ("noise", module)})
        model = FixedGenerator(graph, data_shape=(3, 4), noise_std=0.1, random_state=0)
        rows.append(model.fit(X).sample(5, 0))
    assert np.allclose(*rows)


def test_hair_is_recoloured_by_its_mixing_matrix():
    hair = make_fluohair(5, random_state=0)
    model = generator_of(hair, random_state=0)
    rotation = hair.rotation
    _, changed = model.intervene(
        {"data": Reparametrise(rotation)},
        n_samples=7,
        random_state=0,
        return_factual=True,
    )
    noise = model.node_values(n_samples=7, random_state=0)["noise"]
    with torch.no_grad():
        cues = hair.mechanisms(torch.from_numpy(noise))["cues"].numpy()
    colours = np.einsum("ck,nkhw->nhwc", rotation @ hair.colours, cues)
    assert np.allclose(changed, colours.reshape(7, -1), atol=1e-5)


def test_a_table_answers_do_like_its_world():
    scm = make_scm(40, random_state=0)
    model = generator_of(scm)
    node = scm.feature_names[1]
    changed = model.intervene({node: Do(1.5)}, X=scm.data[:40])
    assert np.abs(changed - scm.render({node: 1.5})).max() < 0.05


WORLDS = {
    "sine": lambda: make_scm(60, n_nodes=4, mechanism="sine", random_state=1),
    "product": lambda: make_scm(60, n_nodes=4, mechanism="product", random_state=1),
    "faces": lambda: make_faces(60, random_state=1),
}


@pytest.mark.parametrize("noise_std", [0.0, 0.1])
@pytest.mark.parametrize("world", WORLDS)
def test_the_noise_found_is_no_less_probable_than_what_adam_finds(world, noise_std):
    model = generator_of(WORLDS[world](), noise_std=noise_std, random_state=0)
    module, X = model._fitted.model, model.sample(8, random_state=0)
    x = module.layout.to_node(torch.tensor(X, dtype=torch.float32))
    with torch.no_grad():
        own = module.abduct(x)
    # From what was found, and from the mean.
    for start in (own, torch.zeros_like(own)):
        other = most_probable_noise(module, x, start, max_steps=200, tol=1e-4)
        gain = log_joint(module, x, other.noise) - log_joint(module, x, own)
        assert gain.max() < 0.01 * X.shape[1]


def test_rows_are_searched_as_they_are_alone(faces):
    model = generator_of(faces, noise_std=0.02, random_state=0)
    module, x = model._fitted.model, torch.tensor(faces.data, dtype=torch.float32)
    x = module.layout.to_node(x)
    with torch.no_grad():
        alone = torch.cat([module.abduct(row[None]) for row in x])
        # (Along flat directions values are less alike than their densities.)
        joint = [log_joint(module, x, noise) for noise in (module.abduct(x), alone)]
    assert torch.allclose(*joint, atol=0.05)


def test_mechanisms_need_no_gradient():
    class Numpy(nn.Module):
        def forward(self, noise):
            return torch.from_numpy(np.sinh(noise.detach().numpy()))

    graph = MechanismGraph({"noise": (3,)}, {"data": ("noise", Numpy())})
    X = np.sinh(np.random.RandomState(0).randn(50, 3))
    found = FixedGenerator(graph, random_state=0).fit(X).abduct(X)
    assert np.allclose(found.noise, np.arcsinh(X), atol=0.01)


@pytest.mark.parametrize("n_latents", [64, 65])
def test_few_latents_and_many_are_found(n_latents):
    X = np.random.RandomState(0).randn(20, n_latents)
    found = FixedGenerator(random_state=0).fit(X).abduct(X[:3])
    standardised = (X - X.mean(0)) / X.std(0)
    assert np.allclose(found.noise, standardised[:3], atol=0.1)


def test_noise_has_the_stated_spread():
    graph = MechanismGraph({"noise": (2,)}, {"data": ("noise", torch.nn.Identity())})
    X = np.random.RandomState(0).randn(9, 2)
    model = FixedGenerator(graph, noise_std=0.5, random_state=0).fit(X)
    with_noise = model.sample(8000, random_state=0)
    means = model.sample(8000, random_state=0, observation_noise=False)
    added = with_noise - means
    assert abs(added.std() - 0.5) < 5 * 0.5 / np.sqrt(2 * added.size)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"graph": "faces"}, "graph"),
        ({"noise_std": -1.0}, "noise_std"),
        ({"data_shape": (3, 3)}, "entries, but X has"),
    ],
)
def test_wrong_parameters(params, match):
    with pytest.raises(ValueError, match=match):
        FixedGenerator(**params).fit(np.eye(4))


def test_a_graph_needs_one_root():
    two = MechanismGraph({"a": (2,), "b": (2,)}, {"data": ("a", torch.nn.Identity())})
    with pytest.raises(ValueError, match="one root"):
        FixedGenerator(two).fit(np.eye(2))


@pytest.mark.parametrize("noise_std", [0.0, 0.5])
@pytest.mark.parametrize("units", [(1, 1e3, 1e5), (1e25,) * 3, (1e-25,) * 3], ids=str)
def test_units_of_columns_do_not_matter(units, noise_std):
    X = np.random.RandomState(0).randn(60, 3) * units
    model = FixedGenerator(noise_std=noise_std * min(units), random_state=0).fit(X)
    found = model.abduct(X)
    assert found.converged.all()
    standardised = (X - X.mean(0)) / X.std(0)
    # Of an entry that is signal and noise, the most probable signal is a part.
    part = 1 / (1 + (noise_std * min(units) / X.std(0)) ** 2)
    assert np.allclose(found.noise, part * standardised, atol=0.1)
    assert np.isfinite(model.sample(5)).all()


@pytest.mark.parametrize("sizes", [(50, 10, 140), (2, 198), (199, 2)], ids=str)
def test_rows_in_parts_are_rows_at_once(sizes):
    rng = np.random.RandomState(0)
    X = rng.randn(sum(sizes), 4) * [1, 1e4, 1e-25, 1e30] + [0, 5, 0, 0]
    X = np.hstack([X, np.full((len(X), 1), 7.0)])
    X[: len(X) // 2] *= 2
    whole = FixedGenerator(random_state=0, bounds="data").fit(X)
    model = FixedGenerator(random_state=0, bounds="data")
    for part in np.split(X, np.cumsum(sizes)[:-1]):
        model.partial_fit(part)
    assert np.array_equal(model.bounds_, whole.bounds_)
    drawn, expected = model.sample(9, 0), whole.sample(9, 0)
    assert np.allclose(drawn / X.std(0).clip(1e-30), expected / X.std(0).clip(1e-30))
    again = model.fit(X[:50]).sample(9, 0)
    assert not np.allclose(again[:, 0], expected[:, 0])


@pytest.mark.parametrize("noise_std", [1e18, 1e30, 1e300])
def test_noise_that_float32_cannot_hold(noise_std):
    with pytest.raises(ValueError, match="noise_std must be at most .* got 1e"):
        FixedGenerator(noise_std=noise_std).fit(np.eye(4))
    drawn = FixedGenerator(noise_std=1e17, random_state=0).fit(np.eye(4)).sample(99)
    assert 0.8e17 < drawn.std() < 1.2e17
