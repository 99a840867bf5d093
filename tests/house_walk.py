"""Walks the sources and names every breach of the tables in `tests/house.py`: file, line, rule, what to do instead."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from tests import house

_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Source:
    """One file: its path below `pgha/` (or below the checkout, for sizes only), text and tree."""

    here: str
    text: str
    tree: ast.Module

    def breach(self, line: int, what: str) -> str:
        """The form of every finding."""
        return f"{self.here}:{line}: {what}"


def load(root: Path) -> list[Source]:
    """Every Python file below `root`."""
    files = sorted(p for p in root.rglob("*.py") if "__pycache__" not in p.parts)
    return [_read(path, root) for path in files]


def _read(path: Path, root: Path) -> Source:
    text = path.read_text()
    return Source(path.relative_to(root).as_posix(), text, ast.parse(text))


def package_breaches(root: Path) -> list[str]:
    """All rules, for the package's directory."""
    rules = (layers, roots, guard, doors, names, handlers, docstrings, future, sizes, unfinished)
    return [found for source in load(root) for rule in rules for found in rule(source)]


def size_breaches(root: Path) -> list[str]:
    """Sizes and unfinished work, for tests and other code beside the package."""
    return [found for source in load(root) for rule in (sizes, unfinished) for found in rule(source)]


# -- reading a tree ---------------------------------------------------------------------------------------------


def _matches(here: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(here, pattern) for pattern in patterns)


def _list(patterns: tuple[str, ...]) -> str:
    """The doors, for a finding: a few are enough to find the table."""
    return ", ".join(patterns[:3]) + (", ..." if len(patterns) > 3 else "") or "no file"


def _layer(here: str) -> str:
    """`adapters/etcd.py` is of layer adapters, `inventory_yaml.py` of layer inventory."""
    first = here.split("/")[0].removesuffix(".py")
    return first if first.startswith("__") else first.split("_")[0]


def imports(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every imported module at any depth (lazy ones count), as `pgha.adapters.etcd` or `psycopg.pq`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield f"{node.module or ''}.{alias.name}", node.lineno


def _aliases(tree: ast.Module) -> dict[str, str]:
    """Local name to what it stands for: `from time import time as t` gives t: time.time."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.split(".")[0]
                known[local] = alias.name if alias.asname else local
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return known


def _dotted(node: ast.AST, known: dict[str, str]) -> str:
    """The full name of an expression like `datetime.now`, "" when it is none."""
    if isinstance(node, ast.Name):
        return known.get(node.id, node.id)
    if isinstance(node, ast.Attribute):
        base = _dotted(node.value, known)
        return f"{base}.{node.attr}" if base else ""
    return ""


# -- the rules --------------------------------------------------------------------------------------------------


def layers(source: Source) -> Iterator[str]:
    """The direction of dependencies."""
    layer = _layer(source.here)
    if layer not in house.LAYERS:
        yield source.breach(1, f"{layer} is no layer: give it a place in LAYERS")
        return
    allowed = house.LAYERS[layer] | {layer}
    for name, line in imports(source.tree):
        parts = name.split(".")
        if parts[0] != "pgha" or len(parts) < 2:
            continue
        target = parts[1] if parts[1] == "__version__" else _layer(parts[1])
        if target == "adapters" and _matches(source.here, house.ROOTS):
            continue
        if target not in allowed and target != "__version__":
            yield source.breach(
                line, f"{layer} may not import {target}: move the decision down, or pass a value or a port"
            )


def roots(source: Source) -> Iterator[str]:
    """Adapters are named by the composition roots and by each other."""
    if source.here.startswith("adapters/") or _matches(source.here, house.ROOTS):
        return
    for name, line in imports(source.tree):
        if name.startswith("pgha.adapters"):
            yield source.breach(line, f"only {_list(house.ROOTS)} name an adapter: take the port as a parameter")


def guard(source: Source) -> Iterator[str]:
    """The guard stands on the standard library and its own modules."""
    if not _matches(source.here, house.GUARD):
        return
    for name, line in imports(source.tree):
        if name.split(".")[0] not in sys.stdlib_module_names and not _matches(name, house.GUARD_KNOWS):
            yield source.breach(line, f"the guard may not import {name}: standard library only")


def doors(source: Source) -> Iterator[str]:
    """Imports with a door; a third-party module without one may be imported nowhere."""
    for name, line in imports(source.tree):
        top = name.split(".")[0]
        if top in house.IMPORTS:
            allowed = house.IMPORTS[top]
            if not _matches(source.here, allowed):
                yield source.breach(line, f"{top} only through {_list(allowed)} (tests/house.py)")
        elif top not in sys.stdlib_module_names and top != "pgha":
            yield source.breach(line, f"{top} has no door: pgha does not stand on it")


def names(source: Source) -> Iterator[str]:
    """Names with a door, file access by pathlib, shells."""
    known = _aliases(source.tree)
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.Name, ast.Attribute)):
            name = _dotted(node, known)
            allowed = house.NAMES.get(name)
            if allowed is not None and not _matches(source.here, allowed):
                yield source.breach(node.lineno, f"{name} only in {_list(allowed)} (tests/house.py)")
        if isinstance(node, ast.Call):
            yield from _call(source, node)


def _call(source: Source, node: ast.Call) -> Iterator[str]:
    for keyword in node.keywords:
        if keyword.arg == "shell" and not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False):
            yield source.breach(node.lineno, "no shell: pass an argv list")
    method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
    if method in house.PATH_METHODS and not _matches(source.here, house.NAMES["open"]):
        yield source.breach(node.lineno, f".{method}() only in {_list(house.NAMES['open'])}")


def handlers(source: Source) -> Iterator[str]:
    """Handlers that catch everything stand in the listed loops only, or tidy up and raise again."""
    for function, node in _handlers(source.tree, ""):
        kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
        broad = {k.id for k in kinds if isinstance(k, ast.Name)} & {"Exception", "BaseException"}
        tidies_up = isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        if (node.type is None or broad) and not tidies_up and (source.here, function) not in house.CATCH_ALL:
            yield source.breach(node.lineno, f"{function or 'the module'} catches everything: name the exceptions")


def _handlers(node: ast.AST, function: str) -> Iterator[tuple[str, ast.ExceptHandler]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ExceptHandler):
            yield function, child
        yield from _handlers(child, child.name if isinstance(child, _FUNCTIONS) else function)


def docstrings(source: Source) -> Iterator[str]:
    """Every module says its duty, every public function and class what it gives."""
    if ast.get_docstring(source.tree) is None:
        yield source.breach(1, "a module says its duty and what it may import, in a docstring")
    for node in _public(source.tree):
        if ast.get_docstring(node) is None:
            yield source.breach(node.lineno, f"{node.name} is public: say what it gives, in a docstring")


def _public(
    node: ast.Module | ast.ClassDef,
) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    for child in node.body:
        if isinstance(child, (*_FUNCTIONS, ast.ClassDef)) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from _public(child)


def future(source: Source) -> Iterator[str]:
    """Annotations are never evaluated at run time."""
    code = [n for n in source.tree.body if not isinstance(n, ast.Expr)]
    if len(code) > 1 and not any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in code):
        yield source.breach(1, "from __future__ import annotations")


def sizes(source: Source) -> Iterator[str]:
    """Files and functions of a size that can be read."""
    lines = source.text.count("\n")
    if lines > house.MAX_FILE_LINES:
        yield source.breach(lines, f"{lines} lines, at most {house.MAX_FILE_LINES}: split it by duty")
    for node in ast.walk(source.tree):
        if isinstance(node, _FUNCTIONS):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > house.MAX_FUNCTION_LINES:
                yield source.breach(node.lineno, f"{node.name}: {length} lines, at most {house.MAX_FUNCTION_LINES}")


def unfinished(source: Source) -> Iterator[str]:
    """No note to do it later."""
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT and _UNFINISHED.search(token.string):
            yield source.breach(token.start[0], "do it now, or open an issue")
