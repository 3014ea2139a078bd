"""Do parts of images move and keep their appearance? Decoders x worlds x seeds.

Every decoder is fitted to rows without an environment, in one setting for all worlds,
and asked for the counterfactuals of other rows under a stretch of their layout, by 1.25
and 1.5, with the residual kept and dropped. Error: squared distance to the truth over
that of the truth to its mean (0 exact, 1 as the mean row). Beside them: rows as they
are, their pixels stretched, these with the blur and shrinkage that are best in
hindsight, and the ordinary decoder that is trained on stretched pixels too. In worlds
whose name ends in "pixels", the negative controls, stretched pixels are the truth.

- Differences are paired over seeds, with 95 % t-intervals.
- Choice among six decoders by `make_appearance_scorer`, which sees no environment, and
  by the training loss: rank correlation with the error, and regret, the error of the
  chosen less the least.
- The search over `icm_weight` by the default extrapolation scorer at 1.25: the error at
  1.5 of what it chooses beside that of weight 0.

With ``--trained 1.25`` strengths of the group, and of stretched pixels that are trained
on, end there. Fits and figures are kept in ``.cache`` beside this file, by the sources
that made them: a run that is stopped goes on where it was.
"""

import argparse

import numpy as np
from _common import print_table, versions
from _part_arms import ARMS, EVERY_WORLD, SETTING
from _part_figures import PIXELS, STRETCHES, UNFITTED, figures
from _part_worlds import NEGATIVE, WORLDS
from extrapolation import interval
from scipy.stats import spearmanr
from score_validity import seed_range

# The first six that are there.
CANDIDATES = (
    "default",
    "linear resizing",
    "map",
    "map + patches 10",
    "parts",
    "default, pixels too",
)
N_CANDIDATES = 6
PENALISED = "map + patches"
REFERENCES = ("default", PIXELS, "default, pixels too")


def candidates(arms):
    return [name for name in CANDIDATES if name in arms][:N_CANDIDATES]


def measured(worlds, arms, seeds, strongest):
    """``{world: {arm: {figure: values over seeds}}}``."""
    found = {}
    for world in worlds:
        of_arms = {}
        for arm in (*UNFITTED, *arms):
            of_seeds = [figures(world, arm, seed, strongest) for seed in seeds]
            of_arms[arm] = {
                k: np.array([of_seed[k] for of_seed in of_seeds]) for k in of_seeds[0]
            }
        found[world] = of_arms
        print_errors(world, of_arms)
    return found


def with_interval(values):
    mean, half = interval(values)
    shown = "" if np.isnan(half) else f" [{mean - half:+.3f}, {mean + half:+.3f}]"
    return f"{mean:+.3f}{shown}"


def print_errors(world, of_arms):
    """Errors of every arm, and paired differences at the larger stretch."""
    columns = [f"{name} {s:g}" for s in STRETCHES for name in ("kept", "dropped")]
    last = columns[-2:]
    references = [name for name in REFERENCES if name in of_arms]
    rows = []
    for arm, found in of_arms.items():
        row = [arm, *(f"{found[c].mean():.3f}" for c in columns)]
        for reference in references:
            # Whichever handling of the residual is better, on average.
            own, other = (
                min((of_arm[c] for c in last), key=np.mean)
                for of_arm in (found, of_arms[reference])
            )
            row.append(with_interval(own - other))
        others = (
            "motion dropped 1.5",
            "appearance dropped 1.5",
            "skill 1.25",
            "rows",
            "fit",
        )
        row += [f"{found[k].mean():.2f}" if k in found else "-" for k in others]
        rows.append(row)
    header = ["arm", *columns, *(f"1.5, less {name}" for name in references)]
    header += ["motion 1.5", "appearance 1.5", "skill 1.25", "rows left", "fit, s"]
    print_table(f"Errors: {world}", header, rows)


def choices(of_arms, names, residual):
    """By each criterion: rank correlation with the error, and regret, over seeds."""
    errors = np.array([of_arms[name][f"{residual} 1.5"] for name in names])
    motion, appearance = f"motion {residual}", f"appearance {residual}"

    def of(*columns):
        return np.array([sum(of_arms[name][c] for c in columns) for name in names])

    criteria = {
        "no environment, 1.5": of(f"{motion} 1.5", f"{appearance} 1.5"),
        "its motion alone": of(f"{motion} 1.5"),
        "its appearance alone": of(f"{appearance} 1.5"),
        "no environment, 1.25": of(f"{motion} 1.25", f"{appearance} 1.25"),
        "training loss": of("loss"),
        "skill at 1.25": -of("skill 1.25"),
    }
    seeds = np.arange(errors.shape[1])
    for name, values in criteria.items():
        ranks = [spearmanr(values[:, k], errors[:, k]).statistic for k in seeds]
        chosen = errors[values.argmin(0), seeds]
        yield name, np.array(ranks), chosen, chosen - errors.min(0)


def print_choices(found, names):
    """Choice among the candidates, of worlds whose parts keep their appearance."""
    print("Candidates:", ", ".join(names))
    for residual in ("dropped", "kept"):
        rows, regrets = [], {}
        for world, of_arms in found.items():
            for name, ranks, chosen, regret in choices(of_arms, names, residual):
                regrets.setdefault(name, []).append(regret)
                shown = [f"{v.mean():.3f}" for v in (ranks, chosen, regret)]
                rows.append([world, name, *shown, f"{regret.max():.3f}"])
        for name, of_worlds in regrets.items():
            values = np.array(of_worlds)
            shown = ["", "", with_interval(values.mean(0)), f"{values.max():.3f}"]
            rows.append(["mean of worlds", name, *shown])
        header = ["world", "by", "rank correlation", "chosen", "regret", "worst"]
        print_table(f"Choice among {len(names)} decoders, {residual}", header, rows)


def print_search(found, weights):
    """Search over the weight of the penalty, by the scorer that sees an environment."""
    rows = []
    for world, of_arms in found.items():
        scores = np.array([of_arms[name]["skill 1.25"] for name in weights])
        best = scores.argmax(0)
        for column in ("kept 1.5", "dropped 1.5"):
            errors = np.array([of_arms[name][column] for name in weights])
            chosen = errors[best, np.arange(len(best))]
            gain = chosen - errors[0]
            row = [world, column, f"{errors[0].mean():.3f}", f"{chosen.mean():.3f}"]
            row += [with_interval(gain), f"{gain.mean() / errors[0].mean():+.1%}"]
            row.append(", ".join(weights[k].split()[-1] for k in best))
            rows.append(row)
    header = ["world", "error", "weight 0", "chosen", "difference", "relative", "which"]
    print_table("Search over icm_weight, scored at 1.25", header, rows)


def print_controls(found):
    """Which arm scores put first where stretched pixels are the truth."""
    rows = []
    for world, of_arms in found.items():
        names = [name for name in of_arms if "skill 1.5" in of_arms[name]]
        for s in STRETCHES:
            skills = np.array([of_arms[name][f"skill {s:g}"] for name in names])
            first = [names[k] for k in skills.argmax(0)]
            own = skills[names.index(PIXELS)]
            others = np.delete(skills, names.index(PIXELS), axis=0).max(0)
            n_first = sum(name == PIXELS for name in first)
            row = [world, f"{s:g}", f"{n_first} of {len(first)}", f"{own.mean():.3f}"]
            row += [with_interval(own - others), f"{(own - others).min():+.3f}"]
            halves = f"motion dropped {s:g}", f"appearance dropped {s:g}"
            fitted = [name for name in names if halves[0] in of_arms[name]]
            lost = [sum(of_arms[name][half] for half in halves) for name in fitted]
            # Without an environment, stretched pixels have 1 by definition.
            before = (np.min(lost, axis=0) < 1).sum()
            rows.append([*row, f"{before} of {len(first)}"])
    header = ["world", "stretch", "pixels first", "skill of pixels", "less next best"]
    header += ["least", "a decoder first without environment"]
    print_table("Negative controls, by the scorer that sees them", header, rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=seed_range, default="100:102", help="as 0:10")
    parser.add_argument("--worlds", default="all", help="names, with semicolons")
    parser.add_argument("--arms", default="all", help="names, with semicolons")
    parser.add_argument("--trained", type=float, default=1.5, choices=(1.25, 1.5))
    parser.add_argument("--quick", action="store_true", help="checks that it runs")
    options = parser.parse_args()
    worlds = list(EVERY_WORLD)
    if options.worlds != "all":
        worlds = options.worlds.split(";")
    arms = list(ARMS) if options.arms == "all" else options.arms.split(";")
    seeds = options.seeds
    if options.quick:
        worlds, seeds = ["faces", "faces, pixels"], range(100, 101)
        arms = ["default", "map + patches 10", "parts"]
        SETTING["max_epochs"] = 2
    unknown = [n for n in (*worlds, *arms) if n not in {*EVERY_WORLD, *ARMS}]
    if unknown:
        parser.error(
            f"no such world or arm: {unknown}; there are {[*EVERY_WORLD, *ARMS]}"
        )
    print(versions())
    found = measured(worlds, arms, seeds, options.trained)
    kept = {world: of_arms for world, of_arms in found.items() if world in WORLDS}
    if kept and len(candidates(arms)) > 1:
        print_choices(kept, candidates(arms))
    weights = [name for name in arms if name == "map" or name.startswith(PENALISED)]
    if len(weights) > 1:
        print_search(found, weights)
    controls = {k: v for k, v in found.items() if k in NEGATIVE}
    if controls:
        print_controls(controls)


if __name__ == "__main__":
    main()
