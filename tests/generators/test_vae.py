import copy
import pickle
import signal
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from skorch.callbacks import Callback
from torch import nn

from sklearn_icm.exceptions import (
    ClippedInterventionWarning,
    FitDivergedError,
    FitInterruptedWarning,
)
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.independence import SpectralPenalty
from sklearn_icm.interventions import Ablate, Do, Scale, Shift, Stretch
from sklearn_icm.mechanisms import MechanismGraph, conv_decoder, dense_decoder

RNG = np.random.RandomState(0)
TABLE = RNG.uniform(size=(40, 4))


def small(**params):
    defaults = {"hidden": (8,), "n_latents": 2, "max_epochs": 2, "random_state": 0}
    return VAEGenerator(**{**defaults, **params})


@pytest.fixture(scope="module")
def table_model():
    return small(max_epochs=20).fit(TABLE)


# ------------------------------------------------------------------ learning
def test_learns_a_two_dimensional_distribution():
    """Two far clusters on a line: both are sampled, and nothing between them."""
    rng = np.random.RandomState(0)
    side = rng.choice([-1.0, 1.0], size=(600, 1))
    X = side * [3.0, -3.0] + 0.1 * rng.randn(600, 2)
    model = VAEGenerator(n_latents=2, hidden=(32, 32), random_state=0).fit(X)
    rows = model.sample(2000, random_state=0)
    assert np.mean(rows[:, 0] > 0) == pytest.approx(0.5, abs=0.1)
    assert np.mean(np.abs(rows[:, 0]) < 1.5) < 0.05
    assert np.corrcoef(rows.T)[0, 1] < -0.95
    assert model.score(X) > model.score(X[:, ::-1] + 1)


def test_importance_weighted_bound_is_tighter(table_model):
    bounds = [table_model.score_samples(TABLE, n_importance=k).mean() for k in (1, 256)]
    assert bounds[1] > bounds[0]


def test_bound_is_exact_for_a_decoder_that_ignores_the_latents():
    """Then x is independent of z, and the optimal bound is the Gaussian density."""
    X = np.random.RandomState(0).randn(400, 3)
    model = VAEGenerator(
        n_latents=1, hidden=(4,), latent_density="gaussian", beta=50, random_state=0
    ).fit(X)
    expected = -0.5 * np.mean(np.log(2 * np.pi * X.var(0)) + 1) * 3
    assert model.score(X) == pytest.approx(expected, abs=0.02)


def test_scores_of_rows_do_not_depend_on_other_rows(table_model):
    scores = table_model.score_samples(TABLE)
    assert np.allclose(table_model.score_samples(TABLE[::-1])[::-1], scores, atol=1e-9)
    assert np.allclose(table_model.score_samples(TABLE[5:6]), scores[5], atol=1e-9)


def test_transform_and_inverse_transform(table_model):
    Z = table_model.transform(TABLE)
    assert Z.shape == (40, 2)
    assert list(table_model.get_feature_names_out()) == [
        "vaegenerator0",
        "vaegenerator1",
    ]
    expected = table_model.intervene({}, X=TABLE, residual="drop")
    assert np.allclose(table_model.inverse_transform(Z), expected, atol=1e-5)
    with pytest.raises(ValueError, match="needs 2 latents per row, got 3"):
        table_model.inverse_transform(np.zeros((1, 3)))


def test_penalty_makes_mechanisms_more_independent(pairs):
    X = pairs.data[:200]

    def spread(weight):
        model = small(
            data_shape=pairs.data_shape, hidden=(8, 4), max_epochs=8, icm_weight=weight
        ).fit(X)
        return model.history_["penalty"].iloc[-1]

    assert spread(10.0) < 0.2 * spread(0.0)


def test_warm_up_raises_the_weight():
    history = small(max_epochs=5, icm_weight=2.0, icm_warmup=4).fit(TABLE).history_
    assert history["icm_weight"].tolist() == [0.5, 1.0, 1.5, 2.0, 2.0]


def test_history_has_every_term(table_model):
    history = table_model.history_
    assert history.index.name == "epoch"
    assert len(history) == table_model.n_iter_ == 20
    terms = history[["reconstruction", "kl"]].sum(axis=1)
    assert np.allclose(history["loss"], terms, atol=1e-5)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


# --------------------------------------------------------------- the verbs
@pytest.mark.parametrize(
    "change",
    [Do(0.5), Shift(0.5), Scale(1.3), Ablate(0), Stretch(1.3), torch.tanh, 0.1],
)
@pytest.mark.parametrize("node", ["conv1", "conv2", "data"])
def test_every_intervention_acts_on_every_map(fitted, pairs, change, node):
    factual, changed = fitted.intervene(
        {node: change}, n_samples=4, random_state=0, return_factual=True
    )
    assert factual.shape == changed.shape == (4, pairs.data.shape[1])
    assert not np.allclose(factual, changed)
    low, high = pairs.data.min(), pairs.data.max()
    assert changed.min() >= low
    assert changed.max() <= high
    counterfactual = fitted.intervene({node: change}, X=pairs.data[:4])
    assert counterfactual.shape == (4, pairs.data.shape[1])


def test_clipped_interventions_are_said():
    model = small().fit(TABLE)
    with pytest.warns(ClippedInterventionWarning, match="bounds=None"):
        model.intervene({"data": Shift(1.0)}, n_samples=20)
    free = small(bounds=None).fit(TABLE)
    assert free.intervene({"data": Shift(1.0)}, n_samples=20).max() > 1.2


def test_several_nodes_at_once(fitted):
    both = fitted.intervene({"conv1": 0.0, "conv2": 0.0}, n_samples=3, random_state=0)
    last = fitted.intervene({"conv2": 0.0}, n_samples=3, random_state=0)
    assert np.array_equal(both, last)


def test_data_interventions_act_on_observed_values(fitted, pairs):
    """A pixel intervention on given rows is exact: no reconstruction is involved."""
    X = pairs.data[:5]
    flipped = fitted.intervene({"data": lambda v: v.flip(-1)}, X=X)
    images = X.reshape(5, *pairs.data_shape)[..., ::-1]
    assert np.allclose(flipped, images.reshape(5, -1), atol=1e-12)


def test_counterfactuals_keep_or_drop_the_residual(fitted, pairs):
    X = pairs.data[:5]
    factual, kept = fitted.intervene({"conv2": Scale(0.5)}, X=X, return_factual=True)
    assert np.array_equal(factual, X)
    mean, dropped = fitted.intervene(
        {"conv2": Scale(0.5)}, X=X, return_factual=True, residual="drop"
    )
    inside = (kept > X.min()) & (kept < X.max()) & (dropped > 0) & (mean > 0)
    assert np.allclose((kept - X)[inside], (dropped - mean)[inside], atol=1e-5)


def test_mean_without_observation_noise(table_model):
    mean = table_model.sample(5, random_state=0, observation_noise=False)
    draws = table_model.sample(5, random_state=0)
    assert not np.allclose(mean, draws)
    again = table_model.sample(5, random_state=0, observation_noise=False)
    assert np.array_equal(mean, again)


def test_bernoulli_samples_are_binary():
    X = (TABLE > 0.5).astype(float)
    model = small(likelihood="bernoulli").fit(X)
    assert set(np.unique(model.sample(50))) == {0.0, 1.0}
    mean = model.sample(50, observation_noise=False)
    assert ((mean > 0) & (mean < 1)).all()


@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 4), (1, 1, 4)])
def test_bounded_data_stay_bounded(shape):
    model = small(data_shape=shape).fit(TABLE)
    with pytest.warns(ClippedInterventionWarning):
        rows = model.intervene({"data": Scale(100.0)}, n_samples=50)
    assert rows.min() >= TABLE.min()
    assert rows.max() <= TABLE.max()


def test_bounds_can_be_given_or_lifted():
    rows = small(bounds=(-1, 0.5)).fit(TABLE).sample(50)
    assert rows.max() <= 0.5
    assert rows.max() >= 0.4
    free = small(bounds=None).fit(TABLE).intervene({"data": Shift(9.0)}, n_samples=5)
    assert free.min() > 5
    per_column = small().fit(TABLE * [1, 10, 100, 1000]).sample(200)
    assert (per_column.max(0) <= TABLE.max(0) * [1, 10, 100, 1000]).all()


# ------------------------------------------------------------- good input
@pytest.mark.parametrize("unit", [1e-9, 1e-6, 1.0, 1e12])
def test_learning_does_not_depend_on_the_unit(unit):
    rows = small(max_epochs=20).fit(TABLE * unit).sample(50, random_state=0) / unit
    expected = small(max_epochs=20).fit(TABLE).sample(50, random_state=0)
    assert np.allclose(rows, expected, atol=1e-2)


@given(
    n=st.integers(2, 30),
    d=st.integers(1, 6),
    log_scale=st.integers(-20, 30),
    constant=st.booleans(),
    dtype=st.sampled_from([np.float32, np.float64, np.int64]),
    seed=st.integers(0, 9),
)
@settings(max_examples=40)
def test_any_finite_table_fits_and_samples(n, d, log_scale, constant, dtype, seed):
    X = np.random.RandomState(seed).randn(n, d) * 10.0**log_scale
    if constant:
        X[:, 0] = 7.0
    if dtype is np.int64:
        X = np.random.RandomState(seed).randint(-5, 5, size=(n, d))
    X = X.astype(dtype)
    rows = small(max_epochs=1).fit(X).sample(5)
    assert rows.shape == (5, d)
    assert np.isfinite(rows).all()
    assert rows.dtype == (np.float64 if dtype is np.int64 else dtype)


def test_constant_columns_are_reproduced():
    X = np.column_stack([TABLE[:, 0], np.full(40, 3.0)])
    assert np.all(small().fit(X).sample(20)[:, 1] == 3.0)


def test_data_frames_in_and_out():
    frame = pd.DataFrame(TABLE, columns=list("abcd"))
    model = small().fit(frame)
    assert list(model.feature_names_in_) == list("abcd")
    assert isinstance(model.sample(2), np.ndarray)
    model.set_output(transform="pandas")
    sample = model.sample(2, random_state=0)
    assert list(sample.columns) == list("abcd")
    changed = model.intervene({"data": 0.5}, X=frame.iloc[5:8])
    assert list(changed.index) == [5, 6, 7]
    assert isinstance(model.transform(frame), pd.DataFrame)


# -------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        ([[np.nan, 1.0]] * 5, ValueError, "contains NaN"),
        ([[np.inf, 1.0]] * 5, ValueError, "infinity"),
        ([["a", "b"]] * 5, ValueError, "could not convert"),
        (np.zeros((0, 3)), ValueError, "0 sample"),
        (np.zeros((3, 0)), ValueError, "0 feature"),
        (np.zeros((5, 2, 2)), ValueError, "dim 3"),
        ([[1.0, 2.0]], ValueError, "minimum of 2 is required"),
        ([[1e39], [0.0]], ValueError, "float32.*1e.39.*Scale the features"),
    ],
)
def test_bad_rows_are_refused_and_nothing_is_half_fitted(X, error, match):
    model = small()
    with pytest.raises(error, match=match):
        model.fit(X)
    assert not hasattr(model, "n_features_in_")
    with pytest.raises(NotFittedError):
        model.sample(1)


def no_graph(n_latents, data_shape):
    return nn.Linear(n_latents, data_shape[0])


def two_latents_too_many(n_latents, data_shape):
    return dense_decoder(n_latents + 2, data_shape)


def one_feature_too_many(n_latents, data_shape):
    return dense_decoder(n_latents, (data_shape[0] + 1,))


@pytest.mark.parametrize(
    ("params", "error", "match"),
    [
        ({"data_shape": (3, 3)}, ValueError, r"data_shape=\(3, 3\) has 9 entries"),
        ({"data_shape": (2.0, 2)}, ValueError, "of positive ints"),
        ({"data_shape": (1, 1, 2, 2)}, ValueError, "of positive ints"),
        ({"icm_weight": -1}, ValueError, "'icm_weight' parameter.*Got -1"),
        ({"icm_weight": np.nan}, ValueError, "'icm_weight' parameter.*Got nan"),
        ({"icm_weight": np.inf}, ValueError, "icm_weight.*inf"),
        ({"lr": 0}, ValueError, "'lr' parameter"),
        ({"max_epochs": 0}, ValueError, "'max_epochs' parameter"),
        ({"icm_penalty": "spectrum"}, ValueError, r"\['auto', 'spectral', 'trace'\]"),
        ({"device": "tpu9"}, ValueError, "device='tpu9' cannot be used here.*'cpu'"),
        ({"hidden": (3, -1)}, ValueError, "hidden must be None or"),
        ({"data_shape": (2, 2), "hidden": ()}, ValueError, "hidden must be None or"),
        ({"bounds": (1, 0)}, ValueError, "low < high, got"),
        ({"bounds": (1, 2, 3)}, ValueError, "a pair"),
        ({"observational": "x"}, ValueError, "needs the environment label"),
        ({"decoder": no_graph}, TypeError, "return a MechanismGraph, got Linear"),
        ({"decoder": two_latents_too_many}, ValueError, r"one root of shape \(2,\)"),
        ({"decoder": one_feature_too_many}, ValueError, r"shape \(4,\).*got \(5,\)"),
        (
            {"early_stopping": True, "validation_fraction": 0.0},
            ValueError,
            "needs held-out rows",
        ),
        ({"validation_fraction": 0.99}, ValueError, "leaves 0 of 40 rows to fit"),
        ({"likelihood": "poisson"}, ValueError, "'likelihood' parameter"),
        ({"icm_penalty": SpectralPenalty}, TypeError, "must be one of"),
        ({"icm_penalty": "spectral", "icm_weight": 1}, ValueError, "has no effect"),
        ({"hidden": (), "icm_weight": 1}, ValueError, "sees no pair"),
        ({"callbacks": [1]}, TypeError, "skorch callbacks.*got 1"),
        ({"device": "meta"}, ValueError, "device='meta' cannot be used"),
        ({"icm_penalty": lambda g, n: 1.0}, TypeError, "0-d tensor, got float"),
        (
            {"icm_penalty": lambda g, n: torch.zeros(2)},
            TypeError,
            r"0-d tensor, got Tensor of shape \(2,\)",
        ),
    ],
)
def test_bad_parameters(params, error, match):
    with pytest.raises(error, match=match):
        small(**params).fit(TABLE)


def test_failed_refit_keeps_the_old_model():
    model = small().fit(TABLE)
    before = model.sample(5, random_state=0)
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit([[np.nan]] * 5)
    with pytest.raises(ValueError, match="has 9 entries"):
        model.set_params(data_shape=(3, 3)).fit(TABLE[:, :2])
    assert model.n_features_in_ == 4
    assert np.array_equal(model.sample(5, random_state=0), before)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda m: m.intervene({}), "needs either n_samples.*neither"),
        (lambda m: m.intervene({}, X=TABLE, n_samples=3), "needs either.*both"),
        (
            lambda m: m.intervene({"dense2": 0.0}, n_samples=3),
            "'dense1'.*mean 'dense1'",
        ),
        (lambda m: m.intervene({}, X=TABLE, residual="x"), "'keep' or 'drop', got 'x'"),
        (lambda m: m.intervene({}, X=TABLE[:, :2]), "2 features.*expecting 4"),
        (lambda m: m.sample(0), "n_samples == 0, must be >= 1"),
        (lambda m: m.intervene({}, X=TABLE * 1e39), "must fit into float32"),
        (lambda m: m.score(TABLE * 1e39), "must fit into float32"),
        (lambda m: m.score_samples(TABLE, n_importance=0), "None or a positive int"),
    ],
)
def test_bad_queries(table_model, call, match):
    with pytest.raises(ValueError, match=match):
        call(table_model)


def test_nested_parameters_need_an_object():
    assert (
        VAEGenerator(icm_penalty=SpectralPenalty())
        .set_params(icm_penalty__form="pooled")
        .icm_penalty.form
        == "pooled"
    )
    with pytest.raises(
        ValueError, match=r"needs a penalty object.*SpectralPenalty\(\)"
    ):
        VAEGenerator().set_params(icm_penalty__form="pooled")


# ------------------------------------------------------- when training ends
def test_divergence_keeps_the_last_finite_model():
    class Spoil(nn.Module):
        """Infinite in the third epoch of one batch each (one call is a check)."""

        calls = 0

        def forward(self, graph, nodes):
            self.calls += 1
            return next(graph.parameters()).sum() * (np.inf if self.calls > 3 else 0.0)

    model = small(icm_penalty=Spoil(), icm_weight=1.0, max_epochs=9)
    with pytest.raises(FitDivergedError, match="'penalty'.*epoch 3.*epoch 2 is kept"):
        model.fit(TABLE)
    assert model.n_iter_ == 2
    assert np.isfinite(model.sample(5)).all()


def test_divergence_in_the_first_epoch_leaves_nothing():
    model = small(optimizer="sgd", lr=1e12, max_epochs=1, batch_size=5)
    with pytest.raises(FitDivergedError, match="epoch 1. No epoch was finished"):
        model.fit(TABLE)
    with pytest.raises(NotFittedError):
        model.sample(1)


def test_failed_continuation_changes_nothing():
    model = small(warm_start=True).fit(TABLE)
    before = model.sample(5, random_state=0)
    calls = []

    def fails(graph, nodes):
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("from the penalty")
        return next(graph.parameters()).sum()

    for train in (model.fit, model.partial_fit):
        calls.clear()
        model.set_params(icm_penalty=fails, icm_weight=1.0, batch_size=10)
        with pytest.raises(RuntimeError, match="from the penalty"):
            train(TABLE)
        assert model.n_iter_ == 2
        assert np.array_equal(model.sample(5, random_state=0), before)


def test_continuation_refuses_another_architecture():
    model = small(warm_start=True).fit(TABLE)
    with pytest.raises(ValueError, match="n_latents cannot change from 2 to 3"):
        model.set_params(n_latents=3).fit(TABLE)
    model.set_params(n_latents=2, optimizer="sgd", lr=1e-3)
    assert model.fit(TABLE).n_iter_ == 4


class InterruptAt(Callback):
    """A callback that presses Ctrl-C."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_epoch_end(self, net, **kwargs):
        if len(net.history) == self.epoch:
            raise KeyboardInterrupt


def test_interrupt_leaves_a_usable_model():
    model = small(max_epochs=50, callbacks=[InterruptAt(3)])
    with pytest.warns(FitInterruptedWarning, match="after 3 of 50 epochs"):
        model.fit(TABLE)
    assert model.n_iter_ == 3
    assert model.sample(5).shape == (5, 4)


def test_ctrl_c_in_a_real_process():
    code = """
import sys, warnings
import numpy as np
from skorch.callbacks import Callback
from sklearn_icm.generators import VAEGenerator
class Ready(Callback):
    def on_epoch_end(self, net, **kwargs):
        print("ready", flush=True)
warnings.simplefilter("ignore")
X = np.random.RandomState(0).randn(100, 3)
model = VAEGenerator(max_epochs=100_000, callbacks=[Ready()]).fit(X)
print("sampled", model.sample(7).shape, model.n_iter_ < 100_000, flush=True)
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    )
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert "sampled (7, 3) True" in output


def test_early_stopping_restores_the_best_epoch():
    options = {"lr_schedule": "constant", "lr": 0.02, "validation_fraction": 0.25}
    stopped = small(
        max_epochs=2000, early_stopping=True, n_iter_no_change=5, tol=0.0, **options
    ).fit(TABLE)
    history = stopped.history_
    assert {"valid_loss", "valid_reconstruction", "valid_kl"} <= set(history.columns)
    best = history["valid_loss"].idxmin()
    assert stopped.n_iter_ == best + 5
    exactly = small(max_epochs=best, **options).fit(TABLE)
    expected = exactly.sample(5, random_state=0)
    assert np.array_equal(stopped.sample(5, random_state=0), expected)


def test_held_out_losses_are_logged_without_early_stopping():
    assert "valid_loss" in small(validation_fraction=0.25).fit(TABLE).history_


def test_interrupt_while_the_latent_density_is_fitted(monkeypatch):
    from sklearn_icm.generators import _vae_module

    def pressed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_vae_module.VAEModule, "_fit_mixture", pressed)
    with pytest.warns(FitInterruptedWarning, match="after 2 of 2 epochs"):
        model = small().fit(TABLE)
    assert model.sample(5).shape == (5, 4)
    assert model.was_fitted_on(TABLE)


def test_warm_start_continues():
    model = small(warm_start=True, max_epochs=3).fit(TABLE)
    first = model.history_["loss"].tolist()
    model.fit(TABLE)
    assert model.n_iter_ == 6
    assert model.history_["loss"].tolist()[:3] == first
    resumed = pickle.loads(pickle.dumps(model)).fit(TABLE)
    assert resumed.n_iter_ == 9
    assert clone(model).fit(TABLE).n_iter_ == 3


def test_partial_fit_is_one_pass():
    model = small()
    for k in range(3):
        assert model.partial_fit(TABLE).n_iter_ == k + 1
    with pytest.raises(ValueError, match="2 features.*expecting 4"):
        model.partial_fit(TABLE[:, :2])


def test_progress_is_shown_only_when_asked(capsys):
    small().fit(TABLE)
    assert capsys.readouterr() == ("", "")
    small(verbose=1).fit(TABLE)
    shown = capsys.readouterr().err
    assert "epoch 2/2" in shown
    assert "s left" in shown


def test_skorch_callbacks_see_every_epoch():
    class Count(Callback):
        seen = 0

        def on_epoch_end(self, net, **kwargs):
            self.seen += 1

    count = Count()
    small(callbacks=[count]).fit(TABLE)
    assert count.seen == 2


# --------------------------------------------------------------- own decoders
def own_table(n_latents, data_shape):
    return MechanismGraph(
        {"noise": (n_latents,)},
        {
            "cause": ("noise", nn.Sequential(nn.Linear(n_latents, 6), nn.Tanh())),
            "data": ("cause", nn.Linear(6, data_shape[0])),
        },
    )


def own_maps(n_latents, data_shape):
    return conv_decoder(n_latents, data_shape, (3,), kernel_size=3)


@pytest.mark.parametrize(
    ("decoder", "shape", "node"),
    [(own_table, None, "cause"), (own_maps, (2, 2), "conv1")],
)
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_bring_your_own_decoder(decoder, shape, node, likelihood):
    model = small(decoder=decoder, data_shape=shape, likelihood=likelihood).fit(TABLE)
    assert node in model.nodes_
    changed = model.intervene({node: 0.0}, n_samples=3, random_state=0)
    loaded = pickle.loads(pickle.dumps(model))
    again = loaded.intervene({node: 0.0}, n_samples=3, random_state=0)
    assert np.array_equal(changed, again)


# ---------------------------------------------------------------------- state
def test_copies_do_not_share_state(table_model):
    twin = copy.deepcopy(table_model)
    expected = table_model.sample(3, random_state=0)
    twin.fit(TABLE + 1)
    assert np.array_equal(table_model.sample(3, random_state=0), expected)


def test_parameters_set_after_fit_do_not_change_the_fitted_model(table_model):
    model = copy.deepcopy(table_model)
    expected = model.sample(3, random_state=0)
    model.set_params(n_latents=9, hidden=(3, 3), likelihood="bernoulli")
    assert np.array_equal(model.sample(3, random_state=0), expected)
    loaded = pickle.loads(pickle.dumps(model))
    assert np.array_equal(loaded.sample(3, random_state=0), expected)


def test_pickle_holds_arrays_and_no_torch_objects(table_model):
    state = table_model.__getstate__()
    assert not any(isinstance(v, (nn.Module, torch.Tensor)) for v in state.values())
    assert all(isinstance(v, np.ndarray) for v in state["_arrays"].values())


def test_skops_round_trip(table_model):
    skops = pytest.importorskip("skops.io")
    data = skops.dumps(table_model)
    trusted = skops.get_untrusted_types(data=data)
    loaded = skops.loads(data, trusted=trusted)
    expected = table_model.sample(3, random_state=0)
    assert np.array_equal(loaded.sample(3, random_state=0), expected)


def test_model_of_another_device_loads_here(table_model):
    model = copy.deepcopy(table_model)
    model._architecture["device"] = "cuda:7"
    loaded = pickle.loads(pickle.dumps(model))
    assert next(loaded.graph_.parameters()).device.type == "cpu"


@pytest.mark.gpu
def test_gpu_and_cpu_models_load_on_each_other():
    model = small(device="cuda").fit(TABLE)
    model._architecture["device"] = "cpu"
    loaded = pickle.loads(pickle.dumps(model))
    rows = [m.sample(50, random_state=0) for m in (model, loaded)]
    assert np.allclose(*rows, atol=1e-4)


# --------------------------------------------------------------- environments
def test_labels_filter_rows_and_errors_name_the_labels():
    labels = np.array(["a", "b"])[np.arange(40) % 2]
    only = small().fit(TABLE[labels == "a"])
    filtered = small(observational="a").fit(TABLE, labels)
    listed = small(observational=["a"]).fit(TABLE, environments=labels)
    expected = only.sample(5, random_state=0)
    assert np.array_equal(filtered.sample(5, random_state=0), expected)
    assert np.array_equal(listed.sample(5, random_state=0), expected)
    assert filtered.score(TABLE, labels) == only.score(TABLE[labels == "a"])
    with pytest.raises(ValueError, match=r"observational='c' is not.*\['a', 'b'\]"):
        small(observational="c").fit(TABLE, labels)
    with pytest.raises(ValueError, match="given twice"):
        small(observational="a").fit(TABLE, labels, labels)


def test_was_fitted_on(table_model):
    assert table_model.was_fitted_on(TABLE)
    assert not table_model.was_fitted_on(TABLE[::-1])
    assert not table_model.was_fitted_on(TABLE[:5])


# -------------------------------------------------------------------- quality
@pytest.mark.slow
def test_sample_quality_on_digits():
    """Better than a clipped GaussianMixture(10), and no copies of the training rows."""
    from scipy.spatial.distance import cdist
    from sklearn.model_selection import train_test_split

    from sklearn_icm.metrics import energy_distance

    X = load_digits().data / 16
    distances, ratios = [], []
    for seed in range(3):
        train, test = train_test_split(X, train_size=0.6, random_state=seed)
        rows = VAEGenerator(random_state=seed).fit(train).sample(719, random_state=seed)
        distances.append(energy_distance(test, rows))
        nearest = [np.median(cdist(a, train).min(1)) for a in (rows, test)]
        ratios.append(nearest[0] / nearest[1])
    assert np.mean(distances) <= 0.012
    assert np.mean(ratios) >= 0.8
