import numpy as np
import pytest

from sklearn_icm.datasets import make_perturbations

SMALL = {"n_samples": 50, "n_features": 6, "random_state": 0}


def test_latents_shift_by_the_sum_of_effects_and_doses():
    labels = ["A", "B:0.5", "A+B"]
    world = make_perturbations(labels=labels, **SMALL)
    assert world.data.shape == (200, 6)
    for label, doses in zip(labels, ([1, 0], [0, 0.5], [1, 1]), strict=True):
        shift = world.interventions[label]["latents"].value
        assert np.allclose(shift, doses @ world.effects[:2])
    own = world.latents - world.noise[:, :4]
    assert np.allclose(own[world.environments == "control"], 0)
    assert np.allclose(own[world.environments == "A+B"], world.effects[:2].sum(0))


def test_what_is_rendered_is_what_the_mechanisms_do():
    world = make_perturbations(decoder="linear", noise=0.0, **SMALL)
    control = world.data[world.environments == "control"]
    assert np.allclose(world.render(), control)
    moved = world.render("A+C") - control
    # Lines: all rows move alike, and effects add.
    assert np.allclose(moved, moved[0])
    parts = [world.render(name)[0] - control[0] for name in "AC"]
    assert np.allclose(moved[0], sum(parts))


def test_doses_saturate_and_pairs_interact():
    straight = make_perturbations(**SMALL)
    bent = make_perturbations(dose_response="saturating", interaction=0.5, **SMALL)

    def shift(world, label):
        return world.change(label)["latents"].value

    assert np.allclose(shift(bent, "A"), shift(straight, "A"))
    assert np.allclose(shift(straight, "A:0.5"), shift(straight, "A") / 2)
    half = np.tanh(1.0) / np.tanh(2.0)
    assert np.allclose(shift(bent, "A:0.5"), half * shift(bent, "A"))
    beyond = shift(bent, "A+B") - shift(bent, "A") - shift(bent, "B")
    assert np.isclose(np.linalg.norm(beyond), 0.5 * np.linalg.norm(bent.effects[0]))


def test_features_are_of_about_unit_scale_and_seeds_give_one_world():
    world = make_perturbations(1000, random_state=1)
    spread = world.data[:1000].std(0)
    assert spread.min() > 0.3
    assert spread.max() < 2.5
    again = make_perturbations(1000, random_state=1)
    assert np.array_equal(world.data, again.data)


@pytest.mark.parametrize(
    ("params", "match"),
    [
        ({"labels": ["A+Z"]}, "names the perturbation 'Z'"),
        ({"labels": "A+B"}, "labels must be a list of different ones"),
        ({"labels": ["A", "A"]}, "labels must be a list of different ones"),
        ({"n_perturbations": 27}, "n_perturbations"),
        ({"decoder": "deep"}, "decoder"),
        ({"dose_response": "flat"}, "dose_response"),
        ({"interaction": -1.0}, "interaction"),
        ({"noise": np.nan}, "noise"),
    ],
)
def test_what_makes_no_world_is_refused(params, match):
    with pytest.raises(ValueError, match=match):
        make_perturbations(**params)
