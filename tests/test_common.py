"""What every public estimator keeps: the contracts of scikit-learn and generators."""

import pytest
from sklearn.linear_model import SGDRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_icm.compose import BootstrapGenerator
from sklearn_icm.generators import ChainGenerator, GraphGenerator, VAEGenerator
from sklearn_icm.utils.discovery import all_estimators
from sklearn_icm.utils.estimator_checks import check_generator

# Need steps, or a generator, so there is no default instance. Tests of its own cover
# the first.
NO_DEFAULT = {"GenerativePipeline", "BootstrapGenerator"}

# Fewer steps than the defaults, where there are any.
QUICK = {"max_epochs": 2, "max_iter": 20}


def quick(estimator):
    params = estimator().get_params()
    return estimator(**{k: v for k, v in QUICK.items() if k in params})


ESTIMATORS = [
    quick(estimator) for name, estimator in all_estimators() if name not in NO_DEFAULT
]
ESTIMATORS.append(BootstrapGenerator(VAEGenerator(max_epochs=2), n_estimators=2))

VARIANTS = [
    VAEGenerator(max_epochs=2, likelihood="bernoulli"),
    VAEGenerator(max_epochs=2, latent_density="gaussian", icm_weight=1.0),
    VAEGenerator(data_shape=(20,), hidden=(4, 3), max_epochs=1),
    VAEGenerator(data_shape=(8, 8), hidden=(4, 3), max_epochs=1, icm_weight=1.0),
    VAEGenerator(data_shape=(7, 5), hidden=(4, 3, 2), max_epochs=1),
    VAEGenerator(data_shape=(6, 5, 3), hidden=(4,), max_epochs=1),
    ChainGenerator("conv", kernel_size=3, max_iter=20),
    GraphGenerator([(0, 1), (1, 2), (0, 3)], max_epochs=2),
    GraphGenerator({3: [0, 1, 2]}, mechanism="location-scale", max_epochs=2),
    GraphGenerator(
        {3: [0, 1], 2: 3}, mechanism={3: SGDRegressor(), 2: "mixture"}, max_epochs=2
    ),
    BootstrapGenerator(GraphGenerator([(0, 1)], max_epochs=2), n_estimators=2),
]


@parametrize_with_checks(ESTIMATORS)
def test_sklearn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", ESTIMATORS + VARIANTS, ids=repr)
def test_generator_contract(estimator):
    check_generator(estimator)


@pytest.mark.slow
@parametrize_with_checks([VAEGenerator()])
def test_sklearn_contract_of_the_defaults(estimator, check):
    check(estimator)
