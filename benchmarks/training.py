"""What does the sklearn comfort cost? An epoch against a hand-written torch loop.

The same model, batches in memory, the same optimiser; all arms run interleaved, and
the ratio of medians is shown with the range of the ratios of single repeats. "epochs"
counts the epoch loop alone, "whole fit" all of `fit`: validation, building, history,
snapshots and the final pass over the rows that fits the variance.
"""

import argparse

import numpy as np
import torch
from _common import interleaved, print_table, versions

from sklearn_icm.generators import VAEGenerator


def raw_loop(module, x, epochs, batch_size, lr, fused):
    """What one writes by hand: gather the epoch once, no history, no checks."""
    optimiser = torch.optim.Adam(module.parameters(), lr=lr, fused=fused)
    generator = torch.Generator().manual_seed(0)
    module.train()
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=generator)
        for batch in x[order].split(batch_size):
            optimiser.zero_grad(set_to_none=True)
            terms, _ = module.loss_terms(batch, generator)
            (terms["reconstruction"] + terms["kl"]).backward()
            optimiser.step()


def compare(name, X, repeats, epochs, **params):
    batch_size = 256
    options = {"batch_size": batch_size, "lr_schedule": "constant", "icm_penalty": None}
    model = VAEGenerator(
        max_epochs=epochs,
        latent_density="gaussian",
        random_state=0,
        **options,
        **params,
    )
    fitted = VAEGenerator(
        max_epochs=1, latent_density="gaussian", random_state=0, **options, **params
    ).fit(X)
    module = fitted._module
    x = module.layout.to_node(torch.from_numpy(X.astype(np.float32)))

    epoch_seconds = []

    def engine():
        model.fit(X)
        epoch_seconds.append(model.history_["duration"].sum())

    arms = {
        "VAEGenerator, whole fit": engine,
        "raw loop, fused Adam": lambda: raw_loop(
            module, x, epochs, batch_size, 2e-3, True
        ),
        "raw loop, default Adam": lambda: raw_loop(
            module, x, epochs, batch_size, 2e-3, None
        ),
    }
    seconds = interleaved(arms, repeats)
    seconds = np.column_stack([epoch_seconds, seconds])
    base = np.median(seconds[:, 3])
    rows = []
    for k, arm in enumerate(["VAEGenerator, epochs", *arms]):
        ratios = seconds[:, k] / seconds[:, 3]
        rows.append(
            [
                arm,
                f"{np.median(seconds[:, k]) / epochs * 1000:.1f}",
                f"{np.median(seconds[:, k]) / base:.2f}",
                f"{ratios.min():.2f}-{ratios.max():.2f}",
            ]
        )
    print_table(name, ["arm", "ms per epoch", "ratio", "range"], rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    quick = parser.parse_args().quick
    rng = np.random.RandomState(0)
    rows, repeats, epochs = (500, 1, 1) if quick else (10_000, 7, 5)
    print(versions())
    compare("Table, 20 columns", rng.randn(rows, 20), repeats, epochs)
    images = rng.uniform(size=(rows // 5, 784))
    compare("Images, 28 x 28", images, repeats, epochs, data_shape=(28, 28))


if __name__ == "__main__":
    main()
