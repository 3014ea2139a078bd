"""Does the ICM weight help on pairs of real digits? The main job over several seeds.

For every seed (new pairs, folds and initialisations): the search of
``python -m sklearn_icm``; then the refit at the chosen weight and at weight 0, judged
by the true counterfactuals. Skill is the scorer's; "gain" is the paired difference to
weight 0 on the same folds, with a 95 % t-interval over seeds.
"""

import argparse

import numpy as np
from _common import print_table, versions
from scipy.stats import t
from sklearn.base import clone

from sklearn_icm.__main__ import (
    WEIGHTS,
    Effort,
    counterfactual_table,
    search_weights,
)
from sklearn_icm.datasets import load_glyphs, make_glyph_pairs
from sklearn_icm.independence import SpectralPenalty


def interval(values):
    mean, sd = np.mean(values), np.std(values, ddof=1)
    half = t.ppf(0.975, len(values) - 1) * sd / len(values) ** 0.5
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-home")
    parser.add_argument("--form", default="pooled", help="of SpectralPenalty")
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    effort = Effort(60, 2, 2) if options.quick else Effort.choose(False, 288)
    seeds = 2 if options.quick else options.seeds
    glyphs = load_glyphs(options.data, options.data_home)
    skills, errors = [], {}
    for seed in range(seeds):
        pairs = make_glyph_pairs(effort.n_rows, glyphs=glyphs, random_state=seed)
        search = search_weights(pairs, effort, seed, SpectralPenalty(options.form))
        skills.append(search.cv_results_["mean_test_skill"])
        chosen = search.best_estimator_
        plain = clone(chosen).set_params(icm_weight=0.0, verbose=0)
        plain.fit(pairs.data, pairs.environments)
        for name, model in {"chosen": chosen, "weight 0": plain}.items():
            for node, value in counterfactual_table(model, pairs).values:
                errors.setdefault((name, node), []).append(float(value))
    skills = np.array(skills)
    print(versions())
    print_table(
        f"Skill of stretching conv2: {options.form}, {options.data}, {seeds} seeds",
        ["icm_weight", "skill", "gain over weight 0"],
        [
            [
                f"{w:g}",
                f"{s.mean():.3f} +- {s.std(ddof=1):.3f}",
                interval(g) if w else "-",
            ]
            for w, s, g in zip(
                WEIGHTS, skills.T, (skills - skills[:, :1]).T, strict=True
            )
        ],
    )
    print_table(
        "Error of the true counterfactuals (0 = exact, 1 = as their mean)",
        ["model", "stretched node", "error"],
        [
            [name, node, f"{np.mean(v):.3f} +- {np.std(v, ddof=1):.3f}"]
            for (name, node), v in errors.items()
        ],
    )


if __name__ == "__main__":
    main()
