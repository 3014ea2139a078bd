"""skorch's own callbacks in every family that trains with a net."""

import numpy as np
import pytest
import torch
from helpers import TABLE
from skorch import callbacks as skorch
from skorch.callbacks import Callback

from sklearn_icm.exceptions import FitDivergedError
from sklearn_icm.generators import GraphGenerator, VAEGenerator

QUICK = {
    VAEGenerator: {"hidden": (8,), "n_latents": 2, "validation_fraction": 0.2},
    GraphGenerator: {"graph": [(0, 1)], "n_units": 4, "validation_fraction": 0.2},
}
families = pytest.mark.parametrize("family", QUICK, ids=lambda f: f.__name__)


def quick(family, callback, **params):
    params = {"max_epochs": 3, "lr_schedule": "constant", "random_state": 0, **params}
    return family(callbacks=[callback], **{**QUICK[family], **params})


def count(net, X, y=None):
    return len(X)


class Writer:
    """As much of tensorboard's as skorch calls."""

    def __init__(self):
        self.tags = set()

    def add_scalar(self, tag, scalar_value, global_step):
        assert np.isfinite(scalar_value)
        self.tags.add(tag)

    def close(self):
        pass


CALLBACKS = {
    "stop": lambda d: skorch.EarlyStopping(patience=2, load_best=True),
    "stop, train": lambda d: skorch.EarlyStopping(monitor="train_loss", patience=2),
    "checkpoint": lambda d: skorch.Checkpoint(dirname=d, load_best=True),
    "checkpoint, train": lambda d: skorch.Checkpoint("train_loss_best", dirname=d),
    "checkpoint, last": lambda d: skorch.TrainEndCheckpoint(dirname=d),
    "score": lambda d: skorch.EpochScoring(count),
    "score, train": lambda d: skorch.EpochScoring(count, on_train=True),
    "score, batch": lambda d: skorch.BatchScoring(count, name="n", on_train=True),
    "pass": lambda d: skorch.PassthroughScoring("train_loss", on_train=True),
    "rate": lambda d: skorch.LRScheduler(),
    "plateau": lambda d: skorch.LRScheduler("ReduceLROnPlateau"),
    "plateau, held out": lambda d: skorch.LRScheduler(
        "ReduceLROnPlateau", monitor="valid_loss"
    ),
    "bar": lambda d: skorch.ProgressBar(),
    "board": lambda d: skorch.TensorBoard(Writer()),
    "log": lambda d: skorch.PrintLog(),
    "clip": lambda d: skorch.GradientNormClipping(1.0),
    "freeze": lambda d: skorch.Freezer("encoder.*"),
    "timer": lambda d: skorch.EpochTimer(),
}


@pytest.mark.filterwarnings("ignore:The dirname argument:UserWarning")
@pytest.mark.parametrize("case", CALLBACKS)
@families
def test_callbacks_of_skorch(family, case, tmp_path, capsys):
    model = quick(family, CALLBACKS[case](str(tmp_path))).fit(TABLE)
    assert np.isfinite(model.sample(5)).all()
    if "checkpoint" in case:
        assert any(tmp_path.iterdir())


@families
def test_the_history_holds_what_callbacks_monitor(family):
    rows = []

    class Read(Callback):
        def on_epoch_end(self, net, **kwargs):
            rows.append(dict(net.history[-1]))

    model = quick(family, Read(), warm_start=True).fit(TABLE).fit(TABLE)
    history = model.history_
    for name, column in [("train_loss", "loss"), ("valid_loss", "valid_loss")]:
        values = [row[name] for row in rows]
        assert values == history[column].tolist()
        least = np.minimum.accumulate([np.inf, *values])
        assert [row[f"{name}_best"] for row in rows] == list(values < least[:-1])
    assert not {"train_loss", "train_loss_best", "valid_loss_best"} & {*history}


def test_boards_see_the_losses():
    writer = Writer()
    quick(GraphGenerator, skorch.TensorBoard(writer)).fit(TABLE)
    assert {"Loss/train_loss", "Loss/valid_loss"} <= writer.tags


@pytest.mark.parametrize("callback", [skorch.EarlyStopping(), skorch.Checkpoint()])
@families
def test_without_held_out_rows_there_is_nothing_to_monitor(family, callback):
    model = quick(family, callback, validation_fraction=0)
    with pytest.raises(ValueError, match="monitors 'valid_loss.*monitor='train_loss"):
        model.fit(TABLE)
    with pytest.raises(ValueError, match=r"no rows are held out \(never in partial"):
        model.partial_fit(TABLE)


@families
def test_scores_of_predictions_are_refused(family):
    callback = skorch.EpochScoring("r2", use_caching=False)
    with pytest.raises(TypeError, match=r"function scoring\(net, X, y\)"):
        quick(family, callback).fit(TABLE)


class Spoil(Callback):
    """Write NaN to all weights when something happens for the nth time."""

    def __init__(self, event, n, stops=False):
        self.event, self.n, self.stops, self.seen = event, n, stops, 0

    def notify(self, method, net, **kwargs):
        self.seen += method == self.event
        if method == self.event and self.seen == self.n:
            with torch.no_grad():
                for weight in net.module_.parameters():
                    weight.fill_(torch.nan)
            if self.stops:
                raise KeyboardInterrupt

    def __getattribute__(self, name):
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        return lambda net, *args, **kwargs: self.notify(name, net)


@pytest.mark.parametrize(
    ("callback", "kept"),
    [
        (("on_epoch_end", 2), 2),
        (("on_epoch_end", 3), 3),
        (("on_train_end", 1), 3),
        (("on_batch_begin", 2, True), 1),
    ],
    ids=["middle", "last epoch", "end", "stopped"],
)
@families
def test_a_callback_that_spoils_weights_is_found_out(family, callback, kept):
    model = quick(family, Spoil(*callback))
    with pytest.raises(FitDivergedError, match=f"The model of epoch {kept} is kept"):
        model.fit(TABLE)
    assert model.n_iter_ == kept
    assert np.isfinite(model.sample(5)).all()
