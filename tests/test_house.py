"""What keeps the code readable: `args` ends in main, functions take few parameters, reported values stand in items.toml."""

import ast
from pathlib import Path

from common.cli import ROOT

FILES = [*sorted(path for folder in ("common", "hw1", "hw2", "hw3") for path in (ROOT / folder).glob("*.py")), ROOT / "run_all.py"]
MAY_HAVE_ARGS = {"main", "parse_args", "check_report", "overrides", "seeds", "start", "__torch_function__"}  # torch names its own so
MOST_PARAMETERS = 6


def functions(path: Path):
    """(name, parameters) of each function of a file, `self` left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            yield node.name, [one for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs) if one.arg != "self"]


def test_args_end_in_main():
    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in FILES
        if path.name != "cli.py"
        for name, parameters in functions(path)
        for one in parameters
        if name not in MAY_HAVE_ARGS and (one.arg == "args" or (one.annotation is not None and "Namespace" in ast.unparse(one.annotation)))
    ]
    assert not found


def test_functions_take_few_parameters():
    found = [
        f"{path.relative_to(ROOT)}: {name} takes {len(parameters)}"
        for path in FILES
        for name, parameters in functions(path)
        if len(parameters) > MOST_PARAMETERS
    ]
    assert not found
