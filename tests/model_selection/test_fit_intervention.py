import pickle
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.datasets import make_faces
from sklearn_icm.generators import FixedGenerator
from sklearn_icm.interventions import InterventionFamily, Scale, Shift, Stretch
from sklearn_icm.mechanisms import parts_decoder
from sklearn_icm.metrics import energy_distance, mmd2
from sklearn_icm.model_selection import fit_intervention
from sklearn_icm.model_selection._candidates import _distances, ends_that_matter
from sklearn_icm.model_selection._fit_intervention import _surface_minimisers

X = np.random.RandomState(0).randn(200, 3) * [1, 2, 0.5] + 1
TABLE = FixedGenerator(random_state=0).fit(X)
QUICK = {"n_samples": 200, "n_bootstrap": 20}


def environment(change, n=100, seed=1000):
    return TABLE.intervene({"data": change}, n_samples=n, random_state=seed)


def explain(rows, families=None, node=None, **params):
    params = {"random_state": 0, **QUICK, **params}
    return fit_intervention(TABLE, families, rows, node, **params)


@pytest.mark.parametrize("value", [-22.0, 33.0])
def test_a_ready_family_is_searched_as_far_as_the_data_lie(value):
    rows = environment(Shift(value))
    found = fit_intervention(TABLE, "shift", rows, "data", random_state=0, **QUICK)
    assert found.params["value"] == pytest.approx(value, abs=0.5)
    low, high = found.low["value"], found.high["value"]
    assert low <= found.params["value"] <= high < low + 2
    assert found.at_end == {}


def test_families_of_maps_are_tried_at_points_and_not_at_vectors():
    torch.manual_seed(0)
    decoder = parts_decoder(3, (1, 12), n_parts=3, hidden=4)
    rows = np.random.RandomState(0).rand(40, 12)
    model = FixedGenerator(decoder, data_shape=(12,), random_state=0).fit(rows)
    found = fit_intervention(
        model, Stretch(1.4), model.sample(40), random_state=0, **QUICK
    )
    assert set(found.table_["node"]) == {"places", "data"}
    with pytest.raises(ValueError, match=r"No family fits .*its kind is 'vector'"):
        fit_intervention(model, "stretch_length", rows, "looks", **QUICK)


def test_ends_are_said_of_every_node_that_may_hold_the_answer():
    comparison = SimpleNamespace(identity=5.0)

    def candidate(distance, at_end, may_gain=True):
        return SimpleNamespace(
            comparison=comparison, distance=distance, at_end=at_end, may_gain=may_gain
        )

    best, other = candidate(1.0, {}), candidate(2.0, {"value": (-3, 3)})
    useless, stalled = candidate(9.0, other.at_end), candidate(3.0, other.at_end, False)
    candidates = [best, other, stalled, useless]
    assert ends_that_matter(candidates, True) == [other]
    assert ends_that_matter(candidates, False) == []
    assert ends_that_matter([other, stalled], False) == [other]


def test_an_end_at_another_node_than_the_best_one_warns():
    family = InterventionFamily(Scale, {"value": (0.5, 1.5)}, {"value": 1.0})
    rows = environment(Shift(6.0))
    with pytest.warns(UserWarning, match="at the end of the range") as caught:
        found = fit_intervention(TABLE, family, rows, random_state=0, **QUICK)
    nodes = {
        node
        for node in TABLE.nodes_
        if any(repr(node) in str(w.message) for w in caught)
    }
    assert nodes == set(found.table_["node"][found.table_["at_end"].map(bool)])
    assert len(nodes) == 2
    assert "The range that was searched also ended at" in found.sentences_["conclusion"]


def test_a_shift_is_explained_by_what_made_it():
    found = explain(environment(Shift(2.0)))
    best = found.table_.iloc[0]
    assert best["node"] == "data"
    assert best["family"] in {"shift", "affine"}
    assert best["skill"] > 0.9
    assert best["distance"] < best["noise_floor"] < best["identity_distance"]
    assert "within the noise floor" in found.sentences_.iloc[2]
    assert found.sentences_["conclusion"].startswith(found.sentences_.iloc[2])
    assert list(found.intervention) == ["data"]
    rows = TABLE.intervene(found.intervention, n_samples=500, random_state=0)
    assert rows.mean(0) == pytest.approx([3, 3, 3], abs=0.7)


def test_the_table_is_ranked_and_consistent():
    table = explain(environment(Scale(2.0)), families=["scale", "shift"]).table_
    assert len(table) == 4
    assert table["distance"].is_monotonic_increasing
    gain = table["identity_distance"] - table["distance"]
    assert table["gain"].to_numpy() == pytest.approx(gain.to_numpy())
    skill = 1 - table["distance"] / table["identity_distance"]
    assert table["skill"].to_numpy() == pytest.approx(skill.to_numpy())
    assert table["as_good"][0]
    assert (table["gain_se"] >= 0).all()


def test_no_shift_is_found_where_there_is_none():
    found = [
        explain(
            environment(Shift(0.0), 60, seed),
            families=["shift"],
            node="data",
            n_samples=100,
        )
        for seed in range(6)
    ]
    silent = [
        f for f in found if f.sentences_["conclusion"].startswith("There is no shift")
    ]
    # 5.7 are expected; fewer than 3 have a probability below 1e-3.
    assert len(silent) >= 3
    for one in silent:
        assert one.intervention == {}
        assert one.table_["skill"].isna().all()
        assert (one.sentences_.iloc[2:] == "There is no shift to explain.").all()


def test_no_intervention_explains_a_dependence():
    rows = np.repeat(np.random.RandomState(1).randn(100, 1), 3, axis=1)
    rows = rows * X.std(0) + X.mean(0)
    found = explain(rows, families=["shift"])
    assert found.sentences_["conclusion"] == (
        "No intervention of these families explains the shift: none of 2 candidates is "
        "better than the unchanged model, up to chance."
    )
    assert found.intervention == {}
    assert "is no better than no intervention" in found.sentences_.iloc[2]


def test_a_part_of_a_shift_is_called_a_part():
    found = explain(environment(Scale(3.0)) + 4, families=["shift"], node="data")
    assert found.sentences_["conclusion"].startswith(
        "No intervention of these families explains"
    )
    assert "beyond the noise floor" in found.sentences_["conclusion"]
    assert 0.2 < found.table_["skill"][0] < 0.98
    assert found.intervention


def test_equivalent_candidates_are_named_as_good():
    # Adding to the noise and to the data is one thing for independent normal columns.
    found = explain(
        environment(Shift([1.0, 2.0, 0.5])),
        families=[Shift([1.0, 2.0, 0.5]), Shift([1.0, 1.0, 1.0])],
    )
    assert found.table_["as_good"].sum() >= 2
    assert "of the other 3 candidates may be as good" in found.sentences_["conclusion"]
    assert found.sentences_["conclusion"] in repr(found)


def test_faces_are_stretched_at_their_layout():
    faces = make_faces(50, stretch=1.3, random_state=0)
    model = FixedGenerator(faces.mechanisms, data_shape=faces.data_shape)
    model.fit(faces.render())
    rows = make_faces(50, stretch=1.3, random_state=1).data[50:]
    options = {"random_state": 2, "n_samples": 100, "n_bootstrap": 20}
    families = ["stretch_width", "scale"]
    found = fit_intervention(model, families, rows, ["layout", "data"], **options)
    table = found.table_
    assert (table["node"][0], table["family"][0]) == ("layout", "stretch_width")
    assert table["as_good"].tolist() == [True, False, False, False]
    assert found.params["factor"] == pytest.approx(1.3, abs=0.06)
    assert isinstance(found.intervention["layout"], Stretch)
    assert "has factor=1." in repr(found)


def test_a_far_shift_is_explained_by_the_simplest_family():
    X = np.random.RandomState(0).randn(200, 2)
    est = FixedGenerator(random_state=0).fit(X)
    found = fit_intervention(est, None, X + 6, "data", random_state=0, **QUICK)
    (change,) = found.intervention.values()
    assert isinstance(change, Shift)
    assert change.value == pytest.approx(6, abs=0.3)
    assert "within the noise floor" in found.sentences_["conclusion"]


def test_rows_that_are_too_few_to_tell_are_not_called_unexplained():
    X = np.random.RandomState(0).randn(300, 2) * 6
    est = FixedGenerator(random_state=0).fit(X)
    rows = np.random.RandomState(100).randn(60, 2) * 6 + 3
    found = fit_intervention(est, "shift", rows, "data", n_bootstrap=40, random_state=1)
    best = found.table_.iloc[0]
    assert best["distance"] < best["noise_floor"] < best["identity_distance"]
    assert found.sentences_["conclusion"].startswith(
        "These rows are too few to tell: shift"
    )


@settings(max_examples=3)
@given(value=st.floats(-2, 2), seed=st.integers(0, 1000))
def test_a_shift_is_found_within_its_sampling_error(value, seed):
    rows = environment(Shift(value), seed=1000 + seed)
    found = fit_intervention(TABLE, "shift", rows, "data", random_state=seed, **QUICK)
    # The mean of the column with the smallest variance alone tells as much.
    error = 0.5 * np.sqrt(1 / 100 + 1 / 200)
    assert abs(found.params["value"] - value) < 6 * error
    low, high = found.low["value"], found.high["value"]
    assert -6 <= low <= found.params["value"] <= high <= 6
    assert high - low < 8 * error
    assert found.intervention in ({}, {"data": Shift(found.params["value"])})
    # Two standard errors of the half of the rows that judge.
    assert bool(found.intervention) or abs(value) < 6 * error


def test_one_seed_gives_one_answer_and_nothing_else_changes():
    rows = environment(Scale(1.5))
    before = pickle.dumps(TABLE), np.random.get_state()[1].copy()
    first, second = (
        fit_intervention(TABLE, "scale", rows, "data", random_state=0, **QUICK)
        for _ in range(2)
    )
    assert first.params == second.params
    assert (first.low, first.high) == (second.low, second.high)
    assert first.table_.equals(second.table_)
    assert pickle.dumps(TABLE) == before[0]
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_unseeded_fits_draw_from_the_generator_kept_at_fit():
    rows = environment(Shift(1.0))
    found = []
    for _ in range(2):
        model = FixedGenerator(random_state=3).fit(X)
        found.append(fit_intervention(model, "shift", rows, "data", **QUICK).params)
    assert found[0] == found[1]


def test_several_parameters():
    rows = environment(Scale(1.4) >> Shift(1.0), n=300)
    found = fit_intervention(TABLE, "affine", rows, "data", random_state=0, **QUICK)
    assert found.params["scale"] == pytest.approx(1.4, abs=0.25)
    assert found.params["shift"] == pytest.approx(1.0, abs=0.25)
    assert list(found.low) == list(found.high) == ["scale", "shift"]
    assert found.table_["distance"][0] < found.table_["noise_floor"][0]


def test_the_strength_of_an_intervention_is_fitted():
    rows = environment(Shift([0, 1.0, 0]))
    direction = Shift([0, 2.0, 0])
    found = fit_intervention(TABLE, direction, rows, "data", random_state=0, **QUICK)
    low, high = found.low["strength"], found.high["strength"]
    assert low < found.params["strength"] < high
    assert low < 0.5 < high
    best = {"data": direction.scaled(found.params["strength"])}
    # So few rows may be too few to prefer it to none.
    assert found.intervention in ({}, best)


def test_more_rows_narrow_the_interval():
    def width(n):
        found = explain(environment(Shift(1.0), n), "shift", "data", n_bootstrap=100)
        return found.high["value"] - found.low["value"]

    few, many = width(20), width(200)
    # sqrt(1/20 + 1/200) / sqrt(1/200 + 1/200) is 2.3.
    assert 1.5 < few / many < 4


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = 0
    for seed in range(100):
        rows = environment(Shift(1.0), 50, seed=5000 + seed)
        found = fit_intervention(TABLE, "shift", rows, "data", random_state=seed)
        covered += found.low["value"] <= 1 <= found.high["value"]
    assert 85 <= covered <= 100


def test_the_interval_of_an_unidentified_parameter_is_wide():
    nothing = InterventionFamily(lambda a: lambda value: value + 0 * a, {"a": (2, 5)})
    found = fit_intervention(TABLE, nothing, X, "data", random_state=0, **QUICK)
    assert found.intervention == {}
    useless = InterventionFamily(
        lambda a: lambda value: value + 0.5 + 1e-6 * a, {"a": (2, 5)}
    )
    with pytest.warns(UserWarning, match="at the end of the range"):
        found = fit_intervention(
            TABLE, useless, X + 0.5, "data", random_state=0, **QUICK
        )
    assert found.high["a"] - found.low["a"] > 1


def test_the_interval_holds_an_estimate_at_a_kink():
    def kinked(a):
        return Shift(1 + abs(a) + 0.2 * a)

    found = fit_intervention(
        TABLE,
        InterventionFamily(kinked, {"a": (-1, 1)}),
        environment(Shift(1.0)),
        "data",
        random_state=0,
        **QUICK,
    )
    low, high = found.low["a"], found.high["a"]
    assert low <= found.params["a"] <= high
    assert low < 0.2
    assert high > -0.2


def test_identity_is_a_candidate_of_every_family():
    far = InterventionFamily(Shift, {"value": (5, 6)})
    found = fit_intervention(TABLE, far, X, "data", random_state=0, **QUICK)
    assert found.intervention == {}
    assert found.params["value"] >= 5
    best = found.table_.iloc[0]
    assert best["identity_distance"] < best["noise_floor"] < best["distance"]
    assert "There is no shift to explain" in repr(found)
    assert len(found.table_) == 1


@pytest.mark.parametrize(
    "family",
    [InterventionFamily(Shift, {"value": (-3, 3)}), Shift(2.0)],
    ids=["family", "strength"],
)
def test_a_value_at_the_end_of_its_range_is_not_certain(family):
    with pytest.warns(UserWarning, match="at the end of the range.*wider bounds"):
        found = fit_intervention(TABLE, family, X + 50, "data", random_state=0, **QUICK)
    ((name, (low, high)),) = found.at_end.items()
    assert low < found.params[name] == pytest.approx(high, rel=1e-2)
    assert "at the end of the range" in found.sentences_["conclusion"]
    assert "at the end" in repr(found)


def test_any_distance_will_do():
    rows = environment(Shift(1.0), 40)
    options = {"random_state": 0, "n_samples": 60, "n_bootstrap": 20}
    options["units"] = "common"
    fit = partial(fit_intervention, TABLE, "shift", rows, "data", **options)
    named, called = fit(), fit(distance=energy_distance)
    assert called.params == named.params
    floors = named.table_["noise_floor"].to_numpy()
    assert called.table_["noise_floor"].to_numpy() == pytest.approx(floors)
    kernel = fit(distance=partial(mmd2, bandwidth=2.0))
    assert kernel.params["value"] == pytest.approx(1, abs=0.7)


def test_searching_beyond_the_bounds_of_the_data_does_not_warn():
    model = FixedGenerator(bounds="data", random_state=0).fit(X)
    found = fit_intervention(model, "shift", X + 0.1, "data", random_state=0, **QUICK)
    assert abs(found.params["value"]) < 1
    assert found.at_end == {}
    assert "at the end" not in repr(found)


@pytest.mark.parametrize("pipeline", [make_pipeline, None])
def test_pipelines_are_compared_in_the_space_of_their_input(pipeline):
    steps = [("scale", StandardScaler()), ("model", FixedGenerator(random_state=0))]
    if pipeline is None:
        model = GenerativePipeline(steps)
    else:
        model = pipeline(*(step for _, step in steps))
    model.fit(X)
    shift = Shift(0.5 / X.std(0))  # 0.5 in every column of the input
    found = fit_intervention(model, shift, X + 0.5, "data", random_state=0, **QUICK)
    assert found.params["strength"] == pytest.approx(1, abs=0.25)


def test_resampled_distances_are_the_energy_distance():
    rng = np.random.RandomState(0)
    A, B = rng.randn(20, 3) + 1e6, rng.randn(30, 3) + 1e6
    rows, draws = np.stack([np.arange(20)] * 2), np.stack([np.arange(20, 50)] * 2)
    values = _distances("energy", A, B, rows, draws)
    assert values == pytest.approx(energy_distance(A, B), rel=1e-6)


@given(
    minimum=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    skew=st.floats(-0.9, 0.9),
)
def test_minimisers_of_quadratic_surfaces_are_exact(minimum, skew):
    points = np.random.RandomState(0).uniform(-1, 1, (12, 2))
    steps = points - minimum
    bowl = np.square(steps).sum(1) + 2 * skew * steps.prod(1)
    saddle = steps[:, 0] ** 2 - steps[:, 1] ** 2
    found = _surface_minimisers(points, np.stack([bowl, saddle], axis=1))
    assert found[0] == pytest.approx(minimum, abs=1e-6)
    assert found[1] == pytest.approx(points[saddle.argmin()])


def fit(**changes):
    arguments = {"est": TABLE, "families": "shift", "X_env": X, **changes}
    return fit_intervention(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": "shfit"}, r"Unknown family 'shfit'.*mean 'shift'\?"),
        ({"node": "dta"}, r"Unknown node 'dta'.*mean 'data'\?"),
        ({"node": []}, "non-empty list of names of"),
        ({"node": 3}, "non-empty list of names of"),
        ({"families": "stretch_width"}, "No family fits any of the nodes.*not a map"),
        ({"families": []}, "No family fits any of the nodes.*there are no families"),
        ({"families": ["rotte"]}, r"Unknown family.*mean 'rotate'\?"),
        ({"X_env": X[:15]}, "at least 16 rows, got 15"),
        ({"X_env": X[:, :2]}, "X_env has 2 features, but .* expecting 3"),
        ({"X_env": np.full((20, 3), np.nan)}, "X_env contains NaN"),
        ({"distance": "enrgy"}, "must be 'energy' or a callable"),
        ({"distance": lambda X, Y: np.nan}, "must return finite numbers, got nan"),
        ({"n_samples": 3}, "n_samples == 3, must be >= 8"),
        ({"n_bootstrap": 5}, "n_bootstrap == 5, must be >= 20"),
        ({"level": 95}, "level must be a number between 0 and 1, got 95"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(ValueError, match=message):
        fit(**changes)


def test_only_generators_intervene():
    with pytest.raises(TypeError, match="must be a generator with `intervene`"):
        fit(est=GaussianMixture())
