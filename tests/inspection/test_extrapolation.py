import matplotlib.pyplot as plt
import numpy as np
import pytest

from sklearn_icm.generators import VAEGenerator
from sklearn_icm.inspection import ExtrapolationDisplay
from sklearn_icm.interventions import Shift
from sklearn_icm.metrics import make_extrapolation_scorer

SCORER = make_extrapolation_scorer(
    {"moved": {"data": Shift(2.0)}, "same": {"data": Shift(0.0)}}, observational="seen"
)


@pytest.fixture(scope="module")
def world():
    rng = np.random.RandomState(0)
    X = rng.randn(180, 3)
    X[60:120] += 2
    labels = np.repeat(["seen", "moved", "same"], 60)
    model = VAEGenerator(
        hidden=(8,), n_latents=3, max_epochs=60, observational="seen", bounds=None
    ).set_params(random_state=0)
    return model.fit(X, labels), X, labels


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


def test_report_explains_every_environment(world):
    model, X, labels = world
    report = SCORER.report(model, X, labels)
    table = report.table_
    assert list(table.index) == ["moved", "same"]
    moved = table.loc["moved"]
    assert moved["low"] < moved["skill"] < moved["high"]
    skills = SCORER.predictions(model, X, labels)
    assert moved["n_rows"] == len(skills[0].X_env) == 60
    assert moved["mean_shift"] > 0.9
    assert moved["is_shifted"]
    assert f"Skill {moved['skill']:.2f} (interval" in report.sentences_["moved"]
    best = moved["best_baseline"]
    assert f"{best!r} has {moved[best]:.2f}" in report.sentences_["moved"]
    assert not table.loc["same", "is_shifted"]
    assert "nothing to predict" in report.sentences_["same"]
    assert "moved: Skill" in repr(report)
    assert "<table" in report._repr_html_()


def test_display_of_several_models(world):
    model, X, labels = world
    display = ExtrapolationDisplay.from_estimator(
        {"one": model, "two": model},
        X,
        labels,
        scorer=SCORER,
    )
    display.figure_.canvas.draw()
    assert len(display.points_) == 2
    shown = display.points_[0].lines[0].get_xdata()
    assert shown[0] == display.tables["one"]["skill"].iloc[0]
    # There is no shift in the second environment.
    assert np.isnan([shown[1], display.ceilings_.get_xdata()[1]]).all()
    assert np.isnan(display.baselines_.get_xdata()[1])
    names = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert names == ["moved", "same"]
