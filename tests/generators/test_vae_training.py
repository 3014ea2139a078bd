import copy
import pickle
import signal
import subprocess
import sys
import threading
from functools import partial

import numpy as np
import pytest
import torch
from helpers import TABLE, small
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from skorch.callbacks import Callback, GradientNormClipping, LRScheduler, PrintLog
from torch import nn

from sklearn_icm.exceptions import (
    FitDivergedError,
    FitInterruptedWarning,
)
from sklearn_icm.generators import VAEGenerator
from sklearn_icm.generators.vae import _model
from sklearn_icm.independence import SumPenalty
from sklearn_icm.mechanisms import MechanismGraph, dense_decoder
from sklearn_icm.rows._batches import renewed


@pytest.fixture(scope="module")
def table_model():
    return small(max_epochs=20).fit(TABLE)


# ------------------------------------------------------- when training ends
def test_divergence_keeps_the_last_finite_model():
    class Spoil(nn.Module):
        """Infinite in the third epoch of one batch each (one call is a check)."""

        calls = 0

        def forward(self, step):
            self.calls += 1
            return next(step.graph.parameters()).sum() * (
                np.inf if self.calls > 3 else 0.0
            )

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


def test_divergence_of_the_last_step_is_seen():
    def root_of_zero(step):
        weight = next(step.graph.parameters()).sum()
        return (weight - weight.detach()).abs().sqrt()

    model = small(icm_penalty=root_of_zero, icm_weight=1.0, max_epochs=1)
    with pytest.raises(FitDivergedError, match="epoch 1"):
        model.fit(TABLE)


@pytest.mark.parametrize("seed", range(3))
def test_divergence_with_defaults_leaves_a_finite_model(seed):
    X = np.random.RandomState(seed).randn(120, 3)
    model = VAEGenerator(lr=10.0, max_epochs=3, random_state=0)
    with pytest.raises(FitDivergedError):
        model.fit(X)
    assert np.isfinite(model.sample(5)).all()
    assert np.isfinite(model.score_samples(X)).all()


def test_failed_continuation_changes_nothing():
    model = small(warm_start=True).fit(TABLE)
    before = model.sample(5, random_state=0)
    calls = []

    def fails(step):
        calls.append(1)
        if len(calls) > 2:
            raise RuntimeError("from the penalty")
        return next(step.graph.parameters()).sum()

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


@pytest.mark.parametrize("n_folds", [2, 3])
def test_an_interrupted_fold_of_a_search_is_failed(n_folds):
    grid = {"callbacks": [[], [InterruptAt(1)]]}
    search = GridSearchCV(small(max_epochs=2), grid, cv=n_folds)
    with (
        pytest.warns(FitFailedWarning, match="fit was interrupted"),
        pytest.warns(UserWarning, match="non-finite"),
    ):
        search.fit(TABLE)
    scores = [search.cv_results_[f"split{k}_test_score"] for k in range(n_folds)]
    assert np.isnan(scores).tolist() == [[False, True]] * n_folds
    assert search.best_params_ == {"callbacks": []}
    with pytest.raises(FitInterruptedWarning, match="after 1 of 2 epochs"):
        cross_val_score(
            small(max_epochs=2, callbacks=[InterruptAt(1)]), TABLE, error_score="raise"
        )


def test_ctrl_c_in_a_real_process():
    code = """
import signal, sys, warnings
# A shell's background jobs ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
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
    try:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
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
    def pressed(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(_model.VAEModule, "_fit_mixture", pressed)
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


def test_model_of_another_device_loads_here(table_model):
    model = copy.deepcopy(table_model)
    model._fitted.params["device"] = "cuda:7"
    loaded = pickle.loads(pickle.dumps(model))
    assert next(loaded.graph_.parameters()).device.type == "cpu"


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_fits_where_gradients_are_switched_off(context):
    with context():
        inside = small().fit(TABLE).partial_fit(TABLE)
    outside = small().fit(TABLE).partial_fit(TABLE)
    assert np.array_equal(inside.sample(5, 0), outside.sample(5, 0))


PARTIAL = partial(dense_decoder, hidden=[8])
EQUAL_PARAMETERS = {
    "list and tuple": ("hidden", [8, 4], (8, 4)),
    "array": ("hidden", np.array([8, 4]), np.array([8, 4])),
    "shape": ("data_shape", (2, 2), [2, 2]),
    "partial function": ("decoder", PARTIAL, PARTIAL),
    "equal partials": ("decoder", PARTIAL, partial(dense_decoder, hidden=(8,))),
}


@pytest.mark.parametrize("case", EQUAL_PARAMETERS)
def test_equal_parameters_let_training_continue(case):
    name, first, second = EQUAL_PARAMETERS[case]
    model = small(**{name: first}).fit(TABLE)
    assert model.set_params(**{name: second}).partial_fit(TABLE).n_iter_ == 3


def test_other_partial_functions_are_refused():
    model = small(decoder=PARTIAL).fit(TABLE)
    model.set_params(decoder=partial(dense_decoder, hidden=[9]))
    with pytest.raises(ValueError, match="decoder cannot change"):
        model.partial_fit(TABLE)


# ------------------------------------------- foreign callbacks and modules
def test_gradients_are_clipped():
    free = small(optimizer="sgd").fit(TABLE).history_["loss"]
    model = small(optimizer="sgd", callbacks=[GradientNormClipping(1e-12)])
    losses = model.fit(TABLE).history_["loss"]
    assert losses[1] == free[1]
    assert losses[2] != free[2]


def test_batches_are_told_to_callbacks_in_order():
    events = []

    class Told(Callback):
        def on_batch_begin(self, net, batch, training):
            events.append(("begin", len(batch[0])))

        def on_grad_computed(self, net, named_parameters, batch, training):
            has_all = all(p.grad is not None for _, p in named_parameters)
            events.append(("gradient", has_all))

        def on_batch_end(self, net, batch, training, loss, y_pred):
            events.append(("end", tuple(y_pred.shape)))

    told = small(max_epochs=1, batch_size=25, callbacks=[Told()]).fit(TABLE)
    assert events == [
        *(("begin", 25), ("gradient", True), ("end", (25, 4))),
        *(("begin", 15), ("gradient", True), ("end", (15, 4))),
    ]
    alone = small(max_epochs=1, batch_size=25).fit(TABLE)
    assert_array_equal(told.sample(5, 0), alone.sample(5, 0))


def test_schedules_that_step_with_every_batch():
    seen = []

    class Rates(Callback):
        def on_batch_end(self, net, **kwargs):
            seen.append(net.optimizer_.param_groups[0]["lr"])

    halving = LRScheduler("StepLR", step_size=1, gamma=0.5, step_every="batch")
    small(
        lr=1e-3,
        lr_schedule="constant",
        max_epochs=1,
        batch_size=10,
        callbacks=[halving, Rates()],
    ).fit(TABLE)
    assert np.allclose(seen, [5e-4, 2.5e-4, 1.25e-4, 6.25e-5])


def test_the_printed_log_is_printed(capsys):
    small(callbacks=[PrintLog()]).fit(TABLE)
    assert len(capsys.readouterr().out.splitlines()) == 4
    small(callbacks=[Callback()]).fit(TABLE)
    assert capsys.readouterr().out == ""


def with_dropout(n, shape):
    hidden = nn.Sequential(nn.Linear(n, 32), nn.Dropout(0.2))
    return MechanismGraph(
        {"noise": (n,)},
        {"hidden": ("noise", hidden), "data": ("hidden", nn.Linear(32, *shape))},
    )


def noisy_penalty(step):
    return (torch.rand(()) * step.nodes["data"]).square().mean()


@pytest.mark.parametrize(
    "params",
    [
        {"decoder": with_dropout},
        {"icm_penalty": noisy_penalty, "icm_weight": 1.0},
        {"icm_penalty": SumPenalty([noisy_penalty]), "icm_weight": 1.0},
    ],
    ids=["dropout", "penalty", "sum"],
)
def test_foreign_draws_follow_the_seed_and_leave_the_global_stream(params):
    before = torch.get_rng_state()
    first = small(**params).fit(TABLE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second = small(**params).fit(TABLE)
    assert_array_equal(first.sample(5, 0), second.sample(5, 0))


def test_a_fit_of_another_thread_does_not_change_what_dropout_draws():
    begun, may_go_on = threading.Event(), threading.Event()

    class Waits(Callback):
        def on_epoch_end(self, net, **kwargs):
            begun.set()
            may_go_on.wait(5)

    other = small(decoder=with_dropout, random_state=7, callbacks=[Waits()])
    thread = threading.Thread(target=other.fit, args=(TABLE,))

    class Meanwhile(Callback):
        def on_epoch_end(self, net, **kwargs):
            if thread.ident is None:
                thread.start()
                # It does not begin before this fit ends.
                assert not begun.wait(0.2)

    model = small(decoder=with_dropout, callbacks=[Meanwhile()])
    try:
        model.fit(TABLE)
    finally:
        may_go_on.set()
        thread.join()
    alone = small(decoder=with_dropout).fit(TABLE)
    assert_array_equal(model.sample(5, 0), alone.sample(5, 0))
    again = small(decoder=with_dropout, random_state=7).fit(TABLE)
    assert_array_equal(other.sample(5, 0), again.sample(5, 0))


def test_a_callback_may_load_a_model_while_dropout_is_trained():
    kept = pickle.dumps(small(decoder=with_dropout).fit(TABLE))

    class Loads(Callback):
        def on_epoch_end(self, net, **kwargs):
            pickle.loads(kept)

    watched = small(decoder=with_dropout, callbacks=[Loads()]).fit(TABLE)
    assert_array_equal(watched.sample(5, 0), pickle.loads(kept).sample(5, 0))


# ---------------------------------------------------------- streams of batches
def two_places():
    rng = np.random.RandomState(0)
    return rng.randn(100, 3), rng.randn(100, 3) + 6


def test_partial_fit_keeps_what_earlier_batches_held():
    model, batches = small(lr=0.03, batch_size=20), two_places()
    for batch in 6 * batches:
        model.partial_fit(batch)
    assert 0.3 < (model.sample(500).mean(1) > 3).mean() < 0.7
    assert_array_equal(model.bounds_[1], np.vstack(batches).max(0))
    copied = pickle.loads(pickle.dumps(model))
    for each in (model, copied):
        each.partial_fit(batches[0])
    assert len(copied._fitted.model.kept) == len(model._fitted.model.kept) == 1024


def test_warm_start_widens_bounds_and_starts_the_density_anew():
    A, B = two_places()
    model = small(warm_start=True).fit(A).fit(B)
    assert_array_equal(model.bounds_[0], A.min(0))
    assert_array_equal(model.bounds_[1], B.max(0))
    assert len(model._fitted.model.kept) == len(B)


def test_given_bounds_stay_while_training_continues():
    A, B = two_places()
    model = small(bounds=(-1, 1)).partial_fit(A).partial_fit(B)
    assert model.bounds_.ravel().tolist() == [-1, 1]


def test_kept_rows_fade_as_new_ones_come():
    stream = torch.Generator().manual_seed(0)
    kept = torch.empty(0, 1)
    for k in range(6):
        kept = renewed(kept, torch.full((50, 1), float(k)), 100, stream)
        assert len(kept) == min(100, 50 * (k + 1))
    assert (kept == 5).sum() == 50
    assert 0 < (kept == 4).sum() < 50
    assert len(renewed(kept[:0], torch.arange(300.0)[:, None], 100, stream)) == 100


@pytest.mark.parametrize(("n_rows", "n_latents"), [(60, 2), (150, 60), (150, 100)])
def test_the_mixture_of_latents_explains_rows_that_it_was_not_fitted_to(
    n_rows, n_latents
):
    rng = np.random.RandomState(0)
    rows = rng.randn(n_rows + 200, 5) @ rng.randn(5, 80)
    rows += rng.randn(*rows.shape)
    fitted, held_out = rows[:n_rows], rows[n_rows:]
    scores = [
        small(n_latents=n_latents, max_epochs=8, latent_density=density)
        .fit(fitted)
        .score(held_out)
        for density in ("mixture", "gaussian")
    ]
    # At most a nat below the normal law of its latents, not thousands.
    assert scores[0] > scores[1] - 1
