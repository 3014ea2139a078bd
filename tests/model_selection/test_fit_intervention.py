import pickle
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_icm.compose import GenerativePipeline
from sklearn_icm.datasets import make_faces
from sklearn_icm.generators import FixedGenerator
from sklearn_icm.interventions import InterventionFamily, Scale, Shift, Stretch
from sklearn_icm.metrics import energy_distance, mmd2
from sklearn_icm.model_selection import fit_intervention
from sklearn_icm.model_selection._candidates import _distances, ends_that_matter
from sklearn_icm.model_selection._fit_intervention import _surface_minimisers

X = np.random.RandomState(0).randn(200, 3) * [1, 2, 0.5] + 1
TABLE = FixedGenerator(random_state=0).fit(X)
QUICK = {"n_samples": 300, "n_bootstrap": 30}


def environment(change, n=100, node="data", seed=1000):
    return TABLE.intervene({node: change}, n_samples=n, random_state=seed)


@pytest.mark.parametrize("value", [-22.0, 33.0])
def test_a_ready_family_is_searched_as_far_as_the_data_lie(value):
    rows = environment(Shift(value))
    found = fit_intervention(TABLE, "shift", rows, "data", random_state=0, **QUICK)
    assert found.params["value"] == pytest.approx(value, abs=0.5)
    low, high = found.interval["value"]
    assert low <= found.params["value"] <= high < low + 2
    assert found.at_end == {}


def test_ends_are_said_of_every_node_that_may_hold_the_answer():
    def candidate(distance, at_end, may_gain=True):
        return SimpleNamespace(distance=distance, at_end=at_end, may_gain=may_gain)

    best, other = candidate(1.0, {}), candidate(2.0, {"value": (-3, 3)})
    useless, stalled = candidate(9.0, other.at_end), candidate(3.0, other.at_end, False)
    candidates = [best, other, stalled, useless]
    assert ends_that_matter(candidates, True, 5.0) == [other]
    assert ends_that_matter(candidates, False, 5.0) == []
    assert ends_that_matter([other, stalled], False, 5.0) == [other]


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
    assert nodes == set(found.table["node"][found.table["at_end"].map(bool)])
    assert len(nodes) == 2
    assert "the range ended at" in repr(found)


@settings(max_examples=5)
@given(value=st.floats(-2, 2), seed=st.integers(0, 1000))
def test_a_shift_is_found_within_its_sampling_error(value, seed):
    rows = environment(Shift(value), seed=1000 + seed)
    found = fit_intervention(TABLE, "shift", rows, "data", random_state=seed, **QUICK)
    # The mean of the column with the smallest variance alone tells as much.
    error = 0.5 * np.sqrt(1 / 100 + 1 / 300)
    assert abs(found.params["value"] - value) < 6 * error
    low, high = found.interval["value"]
    assert -6 <= low <= found.params["value"] <= high <= 6
    assert high - low < 8 * error
    assert found.intervention == {"data": Shift(found.params["value"])}


def test_one_seed_gives_one_answer_and_nothing_else_changes():
    rows = environment(Scale(1.5))
    before = pickle.dumps(TABLE), np.random.get_state()[1].copy()
    first, second = (
        fit_intervention(TABLE, "scale", rows, random_state=0, **QUICK)
        for _ in range(2)
    )
    assert first.params == second.params
    assert first.interval == second.interval
    assert first.noise_floor == second.noise_floor
    assert first.table.equals(second.table)
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
    assert list(found.interval) == ["scale", "shift"]
    assert found.distance < found.noise_floor < found.identity_distance


def test_the_strength_of_an_intervention_is_fitted():
    rows = environment(Shift([0, 1.0, 0]))
    direction = Shift([0, 2.0, 0])
    found = fit_intervention(TABLE, direction, rows, "data", random_state=0, **QUICK)
    low, high = found.interval["strength"]
    assert low < found.params["strength"] < high
    assert low < 0.5 < high
    assert found.intervention == {"data": direction.scaled(found.params["strength"])}


def test_more_rows_narrow_the_interval():
    few, many = (
        np.ptp(
            fit_intervention(
                TABLE, "shift", environment(Shift(1.0), n), "data", **QUICK
            ).interval["value"]
        )
        for n in (20, 200)
    )
    # sqrt(1/20 + 1/300) / sqrt(1/200 + 1/300) is 2.5.
    assert 1.5 < few / many < 4


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = 0
    for seed in range(100):
        rows = environment(Shift(1.0), 50, seed=5000 + seed)
        found = fit_intervention(TABLE, "shift", rows, "data", random_state=seed)
        covered += found.interval["value"][0] <= 1 <= found.interval["value"][1]
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
    assert np.ptp(found.interval["a"]) > 1


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
    low, high = found.interval["a"]
    assert low <= found.params["a"] <= high
    assert low < 0.2
    assert high > -0.2


def test_identity_is_a_candidate_of_every_family():
    far = InterventionFamily(Shift, {"value": (5, 6)})
    found = fit_intervention(TABLE, far, X, "data", random_state=0, **QUICK)
    assert found.intervention == found.params == found.interval == {}
    assert found.node is None
    assert found.distance == found.identity_distance < found.noise_floor
    assert "nothing changed" in repr(found)
    assert len(found.table) == 1


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
    assert "at the end" in repr(found)
    inside = fit_intervention(TABLE, "shift", X + 1, "data", random_state=0, **QUICK)
    assert inside.at_end == {}
    assert "at the end" not in repr(inside)


def test_faces_tell_where_they_were_stretched():
    faces = make_faces(100, stretch=1.3, random_state=0)
    model = FixedGenerator(faces.mechanisms, data_shape=faces.data_shape)
    model.fit(faces.data[:100])
    rows = make_faces(100, stretch=1.3, random_state=1).data[100:]
    found = fit_intervention(model, "stretch_width", rows, random_state=0, **QUICK)
    assert found.node == "layout"
    assert found.params["factor"] == pytest.approx(1.3, abs=0.06)
    assert isinstance(found.intervention["layout"], Stretch)
    assert found.table["node"].tolist() == ["layout", "data"]
    assert found.table["support"].tolist() == [1, 0]
    assert found.table["distance"].is_monotonic_increasing
    assert repr(found).startswith("FittedIntervention(factor=1.")


def test_a_list_of_nodes_is_all_that_is_tried():
    found = fit_intervention(
        TABLE, "shift", environment(Shift(1.0)), ["noise"], random_state=0, **QUICK
    )
    assert found.table["node"].tolist() == ["noise"]


def test_any_distance_will_do():
    rows = environment(Shift(1.0), 40)
    options = {"random_state": 0, "n_samples": 60, "n_bootstrap": 20}
    options["units"] = "common"
    fit = partial(fit_intervention, TABLE, "shift", rows, "data", **options)
    named, called = fit(), fit(distance=energy_distance)
    assert called.params == named.params
    assert called.noise_floor == pytest.approx(named.noise_floor)
    kernel = fit(distance=partial(mmd2, bandwidth=2.0))
    assert kernel.params["value"] == pytest.approx(1, abs=0.7)


def test_searching_beyond_the_bounds_of_the_data_does_not_warn():
    model = FixedGenerator(bounds="data", random_state=0).fit(X)
    found = fit_intervention(model, "shift", X + 0.1, "data", random_state=0, **QUICK)
    assert abs(found.params["value"]) < 1


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
    arguments = {"est": TABLE, "family": "shift", "X_env": X, **changes}
    return fit_intervention(**arguments)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "shfit"}, r"Unknown family 'shfit'.*mean 'shift'\?"),
        ({"node": "dta"}, r"Unknown node 'dta'.*mean 'data'\?"),
        ({"node": []}, "non-empty list of names of"),
        ({"node": 3}, "non-empty list of names of"),
        ({"family": "stretch_width"}, "No family fits any of the nodes.*not a map"),
        ({"X_env": X[:7]}, "at least 8 rows, got 7"),
        ({"X_env": X[:, :2]}, "must have the 3 columns.*got 2"),
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
