import numpy as np
import pytest

from sklearn_icm.datasets import make_faces
from sklearn_icm.generators import FixedGenerator
from sklearn_icm.interventions import InterventionFamily, Scale, Shift
from sklearn_icm.model_selection import explain_shift

X = np.random.RandomState(0).randn(200, 3) * [1, 2, 0.5] + 1
TABLE = FixedGenerator(random_state=0).fit(X)
QUICK = {"n_samples": 200, "n_bootstrap": 40}


def environment(change, n=100, seed=1000):
    return TABLE.intervene({"data": change}, n_samples=n, random_state=seed)


def explain(rows, **params):
    return explain_shift(TABLE, rows, **{"random_state": 0, **QUICK, **params})


def test_a_shift_is_explained_by_what_made_it():
    found = explain(environment(Shift(2.0)))
    best = found.table_.iloc[0]
    assert best["node"] == "data"
    assert best["family"] in {"shift", "affine"}
    assert best["skill"] > 0.9
    assert best["distance"] < best["noise_floor"] < best["identity_distance"]
    assert "within the noise floor" in best["verdict"]
    assert found.conclusion_.startswith(best["verdict"])
    assert list(found.intervention_) == ["data"]
    rows = TABLE.intervene(found.intervention_, n_samples=500, random_state=0)
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
            nodes="data",
            n_samples=100,
        )
        for seed in range(20)
    ]
    silent = [f for f in found if f.conclusion_.startswith("There is no shift")]
    # 19 are expected; fewer than 14 have a probability below 1e-4.
    assert len(silent) >= 14
    for one in silent:
        assert one.intervention_ == {}
        assert one.table_["skill"].isna().all()
        assert (one.table_["verdict"] == "There is no shift to explain.").all()


def test_no_intervention_explains_a_dependence():
    rows = np.repeat(np.random.RandomState(1).randn(100, 1), 3, axis=1)
    rows = rows * X.std(0) + X.mean(0)
    found = explain(rows, families=["shift"])
    assert found.conclusion_ == (
        "No intervention of these families explains the shift: none of 2 candidates is "
        "better than the unchanged model, up to chance."
    )
    assert found.intervention_ == {}
    assert "is no better than no intervention" in found.table_["verdict"][0]


def test_a_part_of_a_shift_is_called_a_part():
    found = explain(environment(Scale(3.0)) + 4, families=["shift"], nodes="data")
    assert found.conclusion_.startswith("No intervention of these families explains")
    assert "beyond the noise floor" in found.conclusion_
    assert 0.2 < found.table_["skill"][0] < 0.98
    assert found.intervention_


def test_equivalent_candidates_are_named_as_good():
    # Adding to the noise and to the data is one thing for independent normal columns.
    found = explain(
        environment(Shift([1.0, 2.0, 0.5])),
        families=[Shift([1.0, 2.0, 0.5]), Shift([1.0, 1.0, 1.0])],
    )
    assert found.table_["as_good"].sum() >= 2
    assert "of the other 3 candidates may be as good" in found.conclusion_
    assert repr(found) == f"ShiftExplanation({found.conclusion_!r})"


def test_faces_are_stretched_at_their_layout():
    faces = make_faces(120, stretch=1.3, random_state=0)
    model = FixedGenerator(faces.mechanisms, data_shape=faces.data_shape)
    model.fit(faces.data[:120])
    found = explain_shift(
        model,
        make_faces(120, stretch=1.3, random_state=1).data[120:],
        families=["stretch_width", "scale"],
        nodes=["layout", "data"],
        random_state=0,
        **QUICK,
    )
    best = found.table_.iloc[0]
    assert (best["node"], best["family"]) == ("layout", "stretch_width")
    assert best["params"]["factor"] == pytest.approx(1.3, abs=0.1)
    assert found.table_["as_good"].tolist() == [True, False, False, False]


def test_one_seed_gives_one_answer():
    rows = environment(Shift(1.0))
    first, second = (explain(rows, families="shift") for _ in range(2))
    assert first.table_.equals(second.table_)


@pytest.mark.parametrize(
    ("rows", "params", "message"),
    [
        (X[:15], {}, "at least 16 rows, got 15"),
        (X, {"families": []}, "No family fits any of the nodes"),
        (X, {"families": ["rotte"]}, r"Unknown family.*mean 'rotate'\?"),
        (X, {"families": ["rotate"]}, "No family fits any of the nodes"),
        (X, {"nodes": ["nose"]}, r"Unknown node 'nose'.*mean 'noise'\?"),
        (X, {"level": 0}, "level must be a number between 0 and 1, got 0"),
    ],
)
def test_bad_input(rows, params, message):
    with pytest.raises(ValueError, match=message):
        explain(rows, **params)


def test_a_far_shift_is_explained_by_the_simplest_family():
    X = np.random.RandomState(0).randn(200, 2)
    est = FixedGenerator(random_state=0).fit(X)
    found = explain_shift(est, X + 6, nodes="data", random_state=0, **QUICK)
    (change,) = found.intervention_.values()
    assert isinstance(change, Shift)
    assert change.value == pytest.approx(6, abs=0.3)
    assert "within the noise floor" in found.conclusion_


def test_rows_that_are_too_few_to_tell_are_not_called_unexplained():
    X = np.random.RandomState(0).randn(300, 2) * 6
    est = FixedGenerator(random_state=0).fit(X)
    rows = np.random.RandomState(100).randn(60, 2) * 6 + 6
    found = explain_shift(est, rows, random_state=0)
    best = found.table_.iloc[0]
    assert best["distance"] < best["noise_floor"] < best["identity_distance"]
    assert found.conclusion_.startswith("These rows are too few to tell: shift")


def test_a_value_at_the_end_of_its_range_is_named():
    X = np.random.RandomState(0).randn(100, 2)
    est = FixedGenerator(random_state=0).fit(X)
    found = explain_shift(
        est,
        X + 20,
        families=[InterventionFamily(Shift, {"value": (-3, 3)})],
        nodes="data",
        n_bootstrap=20,
        random_state=0,
    )
    assert "value lies at the end of the range" in found.conclusion_
    assert "at_end" not in found.table_
