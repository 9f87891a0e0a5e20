"""The source of adm -> modules and signatures within the limits of CONTRIBUTING.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

import adm

ROOT = Path(adm.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
LONGEST, MOST = 300, 6  # lines of a module; parameters of a signature without a reason


def test_no_module_is_too_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(lines_of(path)) for path in MODULES}
    assert len(lengths) > 100
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


def test_each_long_signature_has_a_comment_above_it_that_gives_the_reason() -> None:
    """The command line's functions are exempt: their parameters are its options."""
    library = [path for path in MODULES if "cli" not in path.relative_to(ROOT).parts]
    found = [(path, function) for path in library for function in long_signatures(path)]
    assert ("train", 8) in {(function.name, len(parameters(function))) for _, function in found}
    assert [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}"
        for path, function in found
        if not has_comment_above(function, lines_of(path))
    ] == []


def long_signatures(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if function and len(parameters(node)) > MOST:
            yield node


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The names of all parameters but `self` and `cls`, those with stars included."""
    given = function.args
    named = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    starred = [one for one in (given.vararg, given.kwarg) if one is not None]
    return [one.arg for one in (*named, *starred) if one.arg not in ("self", "cls")]


def has_comment_above(function: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> bool:
    """Whether the line above the function, or above its decorators, is a comment."""
    first = min([function.lineno, *(each.lineno for each in function.decorator_list)])
    return first > 1 and lines[first - 2].strip().startswith("# ")


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()
