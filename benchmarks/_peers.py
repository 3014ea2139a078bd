"""The other ways to train the same model, and how two of them are compared.

Every loop takes a module that has ``loss_terms(batch)`` and ``track``, changes its
parameters in place, and returns it. Adam, learning rate, epochs, batch size and the
shuffling of rows are the same in all of them. Packages are imported where they are
used, so that a missing one costs its own row only.
"""

import contextlib
import importlib.util
import logging
import tempfile
import time
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from sklearn_icm.rows._batches import Batch

N_RESAMPLES = 4000


# ------------------------------------------------------------------ statistics
def ratio_interval(top, bottom):
    """Ratio of medians with a 95 % interval: bootstrap over the repeats, in pairs."""
    top, bottom = np.asarray(top), np.asarray(bottom)
    picks = np.random.RandomState(0).randint(len(top), size=(N_RESAMPLES, len(top)))
    ratios = np.median(top[picks], axis=1) / np.median(bottom[picks], axis=1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return np.median(top) / np.median(bottom), low, high


def ratio_cells(top, bottom):
    """Cells of a table: ratio of medians, its interval, range of single ratios."""
    ratio, low, high = ratio_interval(top, bottom)
    single = np.asarray(top) / np.asarray(bottom)
    return [
        f"{ratio:.2f}",
        f"{low:.2f}-{high:.2f}",
        f"{single.min():.2f}-{single.max():.2f}",
    ]


def target_row(name, top, bottom, target, at_most=True):
    """Row of a table of targets; "met" needs the whole interval on the right side."""
    ratio, low, high = ratio_interval(top, bottom)
    right = ratio <= target if at_most else ratio >= target
    if low <= target <= high:
        status = "met by the median" if right else "within the interval"
    else:
        status = "met" if right else "missed"
    sign = "<=" if at_most else ">="
    cells = ratio_cells(top, bottom)
    return [name, *cells, f"{sign} {target:.2f}", status]


TARGET_HEADER = ["ratio of", "medians", "95 % interval", "range", "target", "status"]


def machine_rate(device="cpu", size=1024, repeats=7):
    """Line with the rate of float32 matrix products: what the machine gave."""
    a = torch.randn(size, size, device=device)
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        float((a @ a)[0, 0])
        seconds.append(time.perf_counter() - start)
    rate = 2 * size**3 / np.median(seconds[1:]) / 1e9
    return (
        f"Machine: {rate:.0f} GFLOP/s in float32 products of {size} x {size}, {device}"
    )


# ----------------------------------------------------------------- raw loops
@dataclass(frozen=True)
class Setup:
    """What all loops have in common."""

    epochs: int
    batch_size: int
    lr: float = 2e-3
    device: str = "cpu"


def summed_loss(module, x, generator):
    batch = Batch(x, generator)
    terms, nodes = module.loss_terms(batch)
    if module.training:
        module.track(batch, nodes)
    return sum(terms.values())


def train_plain(module, x, setup):
    """The loop that is written by hand: one index per step, the loss logged."""
    optimizer = torch.optim.Adam(module.parameters(), lr=setup.lr)
    generator = torch.Generator().manual_seed(0)
    module.train()
    for _ in range(setup.epochs):
        order = torch.randperm(len(x), generator=generator)
        total = 0.0
        for start in range(0, len(x), setup.batch_size):
            batch = x[order[start : start + setup.batch_size]]
            optimizer.zero_grad()
            loss = summed_loss(module, batch, generator)
            loss.backward()
            optimizer.step()
            total += loss.item()
    return module


def train_best(module, x, setup):
    """The fastest loop we know: the epoch gathered once, fused Adam, no log."""
    optimizer = torch.optim.Adam(module.parameters(), lr=setup.lr, fused=True)
    generator = torch.Generator().manual_seed(0)
    module.train()
    for _ in range(setup.epochs):
        order = torch.randperm(len(x), generator=generator)
        for batch in x[order.to(x.device)].split(setup.batch_size):
            optimizer.zero_grad(set_to_none=True)
            summed_loss(module, batch, generator).backward()
            optimizer.step()
    return module


# --------------------------------------------------------------- frameworks
class LossModule(nn.Module):
    """A module as frameworks want it: ``forward`` of a batch, here to the loss."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, batch):
        return summed_loss(self.module, batch, self.generator)


def train_skorch(module, x, setup):
    """skorch as it comes, with its DataLoader; no split, which would drop rows."""
    from skorch import NeuralNet

    class LossNet(NeuralNet):
        def get_loss(self, y_pred, y_true, *args, **kwargs):
            return y_pred

    LossNet(
        LossModule(module),
        criterion=nn.Identity,
        optimizer=torch.optim.Adam,
        lr=setup.lr,
        max_epochs=setup.epochs,
        batch_size=setup.batch_size,
        iterator_train__shuffle=True,
        train_split=None,
        device=setup.device,
        verbose=0,
    ).fit(x.cpu(), None)
    return module


def train_lightning(module, x, setup):
    """lightning with a DataLoader; logger, checkpoints and progress bar are off."""
    import lightning
    from torch.utils.data import DataLoader, TensorDataset

    silence("lightning")

    class Lit(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.loss = LossModule(module)

        def training_step(self, batch, _):
            return self.loss(batch[0])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=setup.lr)

    with tempfile.TemporaryDirectory() as folder:
        trainer = lightning.Trainer(
            max_epochs=setup.epochs,
            accelerator="gpu" if setup.device == "cuda" else "cpu",
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        rows = TensorDataset(x.cpu())
        trainer.fit(Lit(), DataLoader(rows, setup.batch_size, shuffle=True))
    return module.to(setup.device)


def make_pythae(encoder, decoder, node_shape, n_latents, reconstruction):
    """Build pythae's VAE around two networks of our sizes."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = encoder

        def forward(self, x):
            mean, log_variance = self.net(x).chunk(2, dim=1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.net = decoder

        def forward(self, z):
            return ModelOutput(reconstruction=self.net(z))

    config = VAEConfig(
        input_dim=tuple(node_shape),
        latent_dim=n_latents,
        reconstruction_loss=reconstruction,
    )
    return VAE(config, encoder=Encoder(), decoder=Decoder())


def train_pythae(model, x, setup):
    """pythae's own trainer without its progress bar; it saves the model at the end."""
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from pythae.trainers.training_callbacks import CallbackHandler, TrainingCallback

    class SilentTrainer(BaseTrainer):
        def _setup_callbacks(self):
            self.callback_handler = CallbackHandler(
                callbacks=[TrainingCallback()], model=self.model
            )

    silence("pythae")
    with tempfile.TemporaryDirectory() as folder:
        config = BaseTrainerConfig(
            output_dir=folder,
            num_epochs=setup.epochs,
            per_device_train_batch_size=setup.batch_size,
            learning_rate=setup.lr,
            no_cuda=setup.device == "cpu",
        )
        rows = BaseDataset(x.cpu(), torch.zeros(len(x)))
        SilentTrainer(model, rows, training_config=config).train()
    return model


def is_installed(package):
    return importlib.util.find_spec(package) is not None


def silence(package):
    """Quiet a package's loggers; their levels are set when it is imported."""
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == package:
            logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def quiet():
    """Advice of the peers, such as more DataLoader workers, is not the result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ------------------------------------------------- plain networks of our sizes
def dense_networks(n_features, n_latents=12, width=256):
    """Encoder and decoder of a table, the defaults of VAEGenerator."""

    def path(n_in, n_out):
        return nn.Sequential(
            nn.Linear(n_in, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, n_out),
        )

    return path(n_features, 2 * n_latents), path(n_latents, n_features)


def conv_networks(n_latents=12, channels=(32, 16), kernel_size=5):
    """Encoder and decoder of 28 x 28 images, the resizing written out."""
    coarse, fine = channels
    pad = kernel_size // 2
    encoder = nn.Sequential(
        nn.Conv2d(1, fine, kernel_size, stride=2, padding=pad),
        nn.SiLU(),
        nn.Conv2d(fine, coarse, kernel_size, stride=2, padding=pad),
        nn.SiLU(),
        nn.Flatten(),
        nn.Linear(coarse * 49, 2 * n_latents),
    )
    decoder = nn.Sequential(
        nn.Linear(n_latents, coarse * 49),
        nn.SiLU(),
        nn.Unflatten(1, (coarse, 7, 7)),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(coarse, fine, kernel_size, padding=pad),
        nn.SiLU(),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(fine, 1, kernel_size, padding=pad),
        nn.Sigmoid(),
    )
    return encoder, decoder


@torch.no_grad()
def copy_weights(source, target):
    """Give a network the weights of another with the same parameters in order."""
    pairs = zip(source.parameters(), target.parameters(), strict=True)
    for ours, theirs in pairs:
        theirs.copy_(ours)
    return target


class PlainGraph(nn.Module):
    """A plain decoder in the place of a graph of mechanisms."""

    data_node = "data"

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, noise):
        return {self.data_node: self.decoder(noise)}
