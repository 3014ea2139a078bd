"""Dependencies run in one direction; private names and heavy imports have one home."""

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import sklearn_icm
from sklearn_icm import exceptions

ROOT = Path(sklearn_icm.__file__).parent
TESTS = Path(__file__).parent
EVERYTHING = {"*"}

# What each part may import from the package.
ALLOWED = {
    "exceptions": set(),
    "interventions": {"utils"},
    "rows": {"exceptions", "utils"},
    "mechanisms": {"interventions", "rows", "utils"},
    "models": {"mechanisms", "interventions", "rows", "exceptions", "utils"},
    "independence": {"mechanisms", "interventions", "rows", "exceptions", "utils"},
    "_training": {
        "models",
        "mechanisms",
        "independence",
        "interventions",
        "rows",
        "exceptions",
        "utils",
    },
    "utils": {"exceptions"},
    "_hybrids": {"interventions", "rows", "utils"},
    "_counterfactual": {
        "_hybrids",
        "_support",
        "models",
        "interventions",
        "rows",
        "utils",
    },
    "_support": {"interventions", "models", "utils"},
    "_fitting": {"_training", "models", "rows", "exceptions", "utils"},
    "_conditional": {"interventions", "rows", "utils"},
    "_draws": {"utils"},
    "_independence": {"independence", "mechanisms", "models", "utils"},
    "base": {
        "_conditional",
        "_counterfactual",
        "_draws",
        "_fitting",
        "_independence",
        "independence",
        "interventions",
        "mechanisms",
        "models",
        "utils",
        "rows",
    },
    "generators": {
        "base",
        "_fitting",
        "models",
        "mechanisms",
        "independence",
        "_training",
        "exceptions",
        "interventions",
        "rows",
        "utils",
    },
    "datasets": {"mechanisms", "interventions", "utils"},
    "metrics": {
        "base",
        "compose",
        "exceptions",
        "independence",
        "interventions",
        "utils",
    },
    "model_selection": {
        "base",
        "compose",
        "exceptions",
        "interventions",
        "metrics",
        "utils",
    },
    "compose": {
        "_conditional",
        "_draws",
        "_hybrids",
        "base",
        "exceptions",
        "interventions",
        "rows",
        "utils",
    },
    "inspection": EVERYTHING,
    "__main__": EVERYTHING,
    "__init__": EVERYTHING,
}
# What other parts may import from the room of rows. Rows become values of the data
# node, and back, in a `Space`: what it does that with (types, codes of levels, bounds,
# containers) is not among it.
FROM_ROWS = {
    "Batch": EVERYTHING,
    "Rows": {"_fitting", "_training", "models", "generators"},
    "Space": {"_fitting", "base", "generators", "compose"},
    "DataLayout": {"models", "generators", "inspection"},
    "renewed": {"generators"},
    # Rows as a user gave them.
    "plain_rows": {
        "_fitting",
        "_hybrids",
        "base",
        "_counterfactual",
        "generators",
        "compose",
    },
    "plain_columns": {"generators"},
    "refuse_text_and_times": {"_fitting"},
    "check_fits_float32": {"_fitting"},
    "fingerprint": {"_fitting"},
    # Columns and levels that parameters and interventions name.
    "column_name": {"generators"},
    "codes_of": {"generators"},
    "levels_of": {"generators"},
    # What goes in and out of transformers, and how far it differs.
    "all_numbers": {"compose"},
    "are_names": {"compose"},
    "as_floats": {"compose"},
    "as_frame": {"_conditional", "compose"},
    "as_numbers": {"compose"},
    "mean_change": {"_hybrids"},
    "plain_array": {"_fitting", "generators"},
}
FILES = sorted(ROOT.rglob("*.py"))
WARN = {"warn", "warnings.warn"}


def part_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def module_of(path):
    parts = ("sklearn_icm", *path.relative_to(ROOT).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")


def imports_of(path, modules=()):
    """Absolute names of imported modules, and whether each is imported at the top.

    ``from package import module`` counts as the module, if that is one of `modules`.
    """
    package = ("sklearn_icm", *path.relative_to(ROOT).with_suffix("").parts)
    found = []
    tree = ast.parse(path.read_text())
    top_level = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top_level) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level] if node.level else ()
            module = ".".join([*base, *((node.module,) if node.module else ())])
            names = {f"{module}.{alias.name}" for alias in node.names}
            inner = names.intersection(modules) or {module}
            found += [(name, id(node) in top_level) for name in sorted(inner)]
    return found


def test_imports_follow_the_architecture():
    found = [(path, *pair) for path in FILES for pair in imports_of(path)]
    for path, name, at_top in found:
        part = part_of(path)
        head, *rest = name.split(".")
        if head == "sklearn_icm" and rest and rest[0] != part:
            assert ALLOWED[part] == EVERYTHING or rest[0] in ALLOWED[part], path
        if head == "skorch":
            assert part == "_training", path
        if head == "matplotlib":
            assert part in {"inspection", "__main__"}, path
            assert not at_top, f"{path}: {name} must be imported inside a function"
        if part in {"mechanisms", "interventions"}:
            known = {*sys.stdlib_module_names, "torch", "numpy", "sklearn_icm"}
            assert head in known, path
        if head == "sklearn" and any(r.startswith("_") for r in rest):
            assert path.name == "_sklearn.py", path


def test_rows_become_values_in_one_place():
    used = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                inner = (node.module or "").split(".")[0] == "rows"
                if inner and part_of(path) not in {"rows", "utils"}:
                    for alias in node.names:
                        used.setdefault(alias.name, set()).add(part_of(path))
    for name, parts in used.items():
        allowed = FROM_ROWS.get(name, set())
        assert allowed == EVERYTHING or parts <= allowed, name
    assert FROM_ROWS.keys() == used.keys()


def test_files_and_functions_stay_short():
    for path in FILES:
        text = path.read_text()
        assert text.count("\n") <= 500, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert lines <= 60, f"{path}: {node.name}"


def test_no_circle_of_imports_and_none_inside_functions():
    modules = {module_of(path): path for path in FILES}
    waiting = {}
    for module, path in modules.items():
        imported = [(name, at_top) for name, at_top in imports_of(path, modules)]
        inside = {name for name, at_top in imported if name in modules and not at_top}
        assert not inside, module
        waiting[module] = {name for name, _ in imported if name in modules} - {module}
    while free := {module for module, needs in waiting.items() if not needs}:
        waiting = {m: needs - free for m, needs in waiting.items() if m not in free}
    assert not waiting, f"circle among {sorted(waiting)}"


def foreign_privates(path):
    """Private attributes of other objects that a file reads."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Attribute) or not node.attr.startswith("_"):
            continue
        is_own = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
        is_super = isinstance(node.value, ast.Call) and (
            ast.unparse(node.value.func) == "super"
        )
        # A public method of named tuples.
        is_public = node.attr.endswith("__") or node.attr == "_replace"
        if not (is_own or is_super or is_public):
            yield node.attr


def test_private_attributes_are_read_by_their_owners():
    # It waits for a mend: the list may only shrink. (torch counts writes so.)
    waiting = Counter(_version=1)
    # Where scikit-learn's and Python's own private names have their home.
    files = [path for path in FILES if path.name != "_sklearn.py"]
    found = Counter(name for path in files for name in foreign_privates(path))
    assert not found - waiting


def test_families_do_not_import_each_other():
    rooms = [room for room in (ROOT / "generators").iterdir() if room.is_dir()]
    for path in (ROOT / "generators").glob("*/**/*.py"):
        family = path.relative_to(ROOT / "generators").parts[0]
        others = {f"sklearn_icm.generators.{r.name}" for r in rooms if r.name != family}
        names = [name for name, _ in imports_of(path)]
        assert not [n for n in names if n.startswith(tuple(others))], path


def test_torch_halves_are_annotated():
    """Estimators are not, as scikit-learn's are not."""
    rooms = ("models", "mechanisms", "_training")
    halves = [path for path in FILES if part_of(path) in rooms]
    halves += [*(ROOT / "generators").glob("*/_model.py")]
    for room in ("columns", "kinds"):
        halves += [*(ROOT / "generators").glob(f"*/{room}/*.py")]
    for path in halves:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("__"):
                assert node.returns is not None, f"{path.name}: {node.name}"


def test_a_room_of_a_family_has_seven_files_at_most():
    rooms = Counter(path.parent for path in (ROOT / "generators").glob("*/**/*.py"))
    assert max(rooms.values()) <= 7


def test_tests_mirror_the_package():
    for path in FILES:
        part, in_folder = part_of(path), path.parent != ROOT
        assert not in_folder or (TESTS / part).is_dir() or part == "_training", part


def test_every_warning_has_a_class_that_says_its_cause():
    """A message alone, or a class of Python's, could not be told apart by filters."""
    known = {*exceptions.__all__, "InconsistentVersionWarning"}
    # Warnings that were made elsewhere.
    made = {"doubt", "interrupted", "unfinished"}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in WARN:
                first, *others = node.args
                cause = others[0] if others else first
                name = getattr(cause, "func", cause)
                assert ast.unparse(name) in known | made, f"{path}:{node.lineno}"
    for name in exceptions.__all__:
        cause = getattr(exceptions, name)
        assert issubclass(cause, (exceptions.ICMWarning, ArithmeticError)), name


def test_import_is_light():
    code = (
        "import sys, sklearn_icm; "
        "heavy = {'torch', 'matplotlib', 'pandas', 'skorch', 'sklearn'}; "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules); "
        "assert 'generators' in dir(sklearn_icm)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_use_does_not_touch_threads_or_matplotlib():
    code = (
        "import sys, torch; torch.set_num_threads(2); import sklearn_icm; "
        "sklearn_icm.generators; sklearn_icm.metrics; sklearn_icm.inspection; "
        "assert 'matplotlib' not in sys.modules; assert torch.get_num_threads() == 2"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_attribute():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = sklearn_icm.nothing
