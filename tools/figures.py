"""Print the figures of the code: sizes of rooms, circles of imports, small modules, names used twice.

    python tools/figures.py

Nothing fails on them; they are there for whoever wants to see where the code grows. A module that a lazy
group of commands names in a string has no importer here.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("code", "imports", "docstrings", "comments", "blank")
SMALL = 120  # lines up to which a module with a single importer is listed
SHOWN = 10  # longest modules and functions
# Names that say nothing to a reader who has not seen the code before.
UNCLEAR = re.compile(
    r"looker|leash|errand|tidy|homes|lean|discarded|ahead|travel|member|best|manners|proof|testimony"
    r"|remarks|notes|mixed|places"
)


@dataclass
class Module:
    """One file: lines by kind, the modules it imports, its classes and functions with their lines."""

    name: str
    lines: Counter[str]
    imports: set[str] = field(default_factory=set)  # when the module is loaded
    late_imports: set[str] = field(default_factory=set)  # inside functions, or for the type checker only
    classes: list[str] = field(default_factory=list)
    functions: list[tuple[int, str]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """All lines."""
        return self.lines.total()


def read(path: Path, names: dict[str, Path]) -> Module:
    """Read one file; `names` are all modules."""
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    name = module_name(path)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    module = Module(name, Counter(line_kinds(text, tree)))

    def visit(node: ast.AST, scope: str, late: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import | ast.ImportFrom):
                target = module.late_imports if late else module.imports
                target.update(imported(child, package, names) - {name})
            elif isinstance(child, ast.ClassDef):
                module.classes.append(child.name)
                visit(child, f"{scope}{child.name}.", late)
            elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                module.functions.append(((child.end_lineno or 0) - child.lineno + 1, scope + child.name))
                visit(child, f"{scope}{child.name}.", True)
            else:
                checking = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
                visit(child, scope, late or checking)

    visit(tree, "", False)
    return module


def module_name(path: Path) -> str:
    """Dotted name of a file; a package's name for its `__init__.py`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def line_kinds(text: str, tree: ast.Module) -> list[str]:
    """Kind of every line; blank lines of a docstring count as blank."""
    kinds = ["code" if line.strip() else "blank" for line in text.splitlines()]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip():
            kinds[token.start[0] - 1] = "comments"
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        span: ast.stmt
        if isinstance(node, owners) and ast.get_docstring(node, clean=False) is not None:
            kind, span = "docstrings", node.body[0]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            kind, span = "imports", node
        else:
            continue
        for at in range(span.lineno - 1, span.end_lineno or span.lineno):
            if kinds[at] != "blank":
                kinds[at] = kind
    return kinds


def imported(node: ast.Import | ast.ImportFrom, package: str, names: dict[str, Path]) -> set[str]:
    """Modules of the project that one statement names."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & names.keys()
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
    found = {f"{base}.{alias.name}" for alias in node.names} & names.keys()
    plain = any(f"{base}.{alias.name}" not in names for alias in node.names)
    return found | ({base} & names.keys() if plain else set())


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other (strongly connected components, by Tarjan's algorithm)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in order:
                visit(other)
            if other in stack:
                low[name] = min(low[name], low[other])
        if low[name] == order[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in sorted(graph):
        if name not in order:
            visit(name)
    return sorted(found)


def report(modules: list[Module], tests: tuple[int, int]) -> Iterator[str]:
    """The figures, line by line; `tests` are files and lines of the tests."""
    rooms: defaultdict[str, list[Module]] = defaultdict(list)
    for module in modules:
        parts = module.name.split(".")
        of_room = len(parts) > 2 or any(m.name.startswith(f"{module.name}.") for m in modules)
        rooms[parts[1] if of_room and len(parts) > 1 else "(top)"].append(module)
    yield f"{'room':<12} {'modules':>8} {'lines':>8} " + " ".join(f"{k:>10}" for k in KINDS) + "  imports %"
    for room, inside in [*sorted(rooms.items()), ("all", modules)]:
        sums = sum((m.lines for m in inside), Counter[str]())
        share = 100 * sums["imports"] / max(1, sums.total() - sums["blank"])
        columns = " ".join(f"{sums[k]:>10,}" for k in KINDS)
        yield f"{room:<12} {len(inside):>8} {sums.total():>8,} {columns} {share:>10.1f}"
    yield f"{'tests':<12} {tests[0]:>8} {tests[1]:>8,}"

    loaded = circles({m.name: m.imports for m in modules})
    every = circles({m.name: m.imports | m.late_imports for m in modules})
    for title, groups in (("when loaded", loaded), ("with imports inside functions and for types", every)):
        yield f"\ncircles of imports, {title}: {len(groups)}"
        yield from (f"  {' <-> '.join(group)}" for group in groups)

    importers: defaultdict[str, set[str]] = defaultdict(set)
    for module in modules:
        for name in module.imports | module.late_imports:
            importers[name].add(module.name)
    packages = {module.name.rpartition(".")[0] for module in modules}
    single = [m for m in modules if len(importers[m.name]) == 1 and m.name not in packages]
    small = [m for m in single if m.size <= SMALL]
    yield f"\nmodules with a single importer: {len(single)}, with at most {SMALL} lines: {len(small)}"
    yield from (f"  {m.size:>4}  {m.name}  <- {min(importers[m.name])}" for m in small)

    yield "\nlongest modules"
    yield from (f"  {m.size:>4}  {m.name}" for m in sorted(modules, key=lambda m: -m.size)[:SHOWN])
    yield "\nlongest functions"
    functions = [(size, f"{m.name}.{name}") for m in modules for size, name in m.functions]
    yield from (f"  {size:>4}  {name}" for size, name in sorted(functions, reverse=True)[:SHOWN])

    owners: defaultdict[str, list[str]] = defaultdict(list)
    for module in modules:
        for name in module.classes:
            owners[name].append(module.name)
    twice = {name: places for name, places in sorted(owners.items()) if len(places) > 1}
    yield f"\nclass names in several places: {len(twice)}"
    yield from (f"  {name} ({len(places)}): {', '.join(places)}" for name, places in twice.items())

    used = [f"module {m.name}" for m in modules if UNCLEAR.fullmatch(m.name.rpartition(".")[2])]
    for module in modules:
        named = [*module.classes, *(name.rpartition(".")[2] for _, name in module.functions)]
        used += [f"{module.name}.{name}" for name in named if UNCLEAR.fullmatch(name.strip("_").lower())]
    yield f"\nunclear names of modules, classes and functions: {len(used)}"
    yield from (f"  {name}" for name in used)


if __name__ == "__main__":
    known = {module_name(path): path for path in sorted((ROOT / "bddzoo").rglob("*.py"))}
    sizes = [len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "tests").rglob("*.py")]
    print("\n".join(report([read(p, known) for p in known.values()], (len(sizes), sum(sizes)))))
