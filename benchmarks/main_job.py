"""Does icm_weight help on pairs of real digits? The main job over several seeds.

For every seed (new pairs, folds and initialisations): the search of
``python -m sklearn_icm``, parts chosen without an environment, and errors of the true
counterfactuals. "gain" is paired to weight 0 on the same folds, "less pixels" to
stretched pixels; both with 95 % t-intervals over seeds.
"""

import argparse

import numpy as np
from _common import print_table, versions

from sklearn_icm.__main__ import (
    ASKED,
    PIXELS,
    Effort,
    Job,
    answers,
    choose_parts,
    fitted_models,
    interval,
    row_errors,
    search_weights,
    skills_of,
)
from sklearn_icm.datasets import load_glyphs


def with_interval(values):
    mean, half = interval(values)
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def with_spread(values):
    return f"{np.mean(values):.3f} +- {np.std(values, ddof=1):.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=100)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-home")
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    glyphs = load_glyphs(options.data, options.data_home)
    n_pixels = Job.make(glyphs, 1, 0).X.shape[1]
    effort = Effort.choose(False, n_pixels)
    if options.quick:
        effort = Effort(60, 2, 2, (0.0, 10.0), starts=2)
    n_seeds = 2 if options.quick else options.seeds
    skills, errors, chosen = [], {}, []
    for seed in range(options.first_seed, options.first_seed + n_seeds):
        job = Job.make(glyphs, effort.n_rows, seed)
        search = search_weights(job, effort, seed)
        weights, of_folds = skills_of(search)
        skills.append(of_folds.mean(0))
        chosen.append(f"{search.best_params_['icm_weight']:g}")
        parts = choose_parts(job, effort, seed)
        models = fitted_models(job, search, parts, effort, seed)
        for stretch, truth in job.truth.items():
            for name, predicted in answers(job, models, stretch).items():
                error = row_errors(predicted, truth).mean()
                errors.setdefault(name, {}).setdefault(stretch, []).append(error)
    print(versions())
    skills = np.array(skills).T
    print_table(
        f"Skill at 1.25, {options.data}, {n_seeds} seeds; chosen: {', '.join(chosen)}",
        ["icm_weight", "skill", "gain over weight 0"],
        [
            [f"{w:g}", with_spread(own), with_interval(own - skills[0]) if w else "-"]
            for w, own in zip(weights, skills, strict=True)
        ],
    )
    pixels = np.array(errors[PIXELS][ASKED])
    rows = []
    for name, found in errors.items():
        # The plain map is not there where the search has chosen weight 0.
        whole = name != PIXELS and len(found[ASKED]) == n_seeds
        less = with_interval(np.array(found[ASKED]) - pixels) if whole else "-"
        rows.append([name, *map(with_spread, found.values()), less])
    strengths = [f"at {stretch:g}" for stretch in job.truth]
    title = "Error of the true counterfactuals (0 = exact, 1 = as their mean)"
    print_table(title, ["prediction", *strengths, "less pixels"], rows)


if __name__ == "__main__":
    main()
