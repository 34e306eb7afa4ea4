"""Checks that dependencies between modules point inwards, and prints each breach.

1. In each crate, modules with the same parent form no cycle. A module may use items of its own parents.
2. The modules of `adieu` import only from those before them in the order that ARCHITECTURE.md states.

A dependency is a path that begins with `crate`, `self` or `super`, in `use` or elsewhere; an item that is re-exported belongs to the
module that has it. Tests do not count.
"""

import re
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Tests, and what only documentation links to.
IGNORED = re.compile(r"//.*?$|^#\[cfg\(test\)\]\n(?:#\[.*?\]\n)*mod \w+ \{.*?^\}|^#\[cfg\(doc\)\]\nuse .*?;", re.M | re.S)
USE = re.compile(r"^( *)(?:pub(?:\(.*?\))? )?use ([^;]+);", re.MULTILINE)
PATH = re.compile(r"\b(?:crate|self|super)(?:::\w+)+")
LIST = re.compile(r"(?:[^,{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})+")


def expand(tree):
    """The paths in `a::{b, c::{d, e}}`."""
    head, brace, rest = tree.strip().partition("{")
    if not brace:
        return [head]
    return [head + path for part in LIST.findall(rest[: rest.rindex("}")].rstrip(", \n")) for path in expand(part)]


class Crate:
    def __init__(self, source):
        """Reads the modules of a crate: the root is `()`, and the module `a::b` is `("a", "b")`."""
        self.paths, self.imported = {}, {}
        for file in source.rglob("*.rs"):
            module = file.relative_to(source).with_suffix("").parts
            if module != ("main",):
                code = IGNORED.sub("", file.read_text())
                module = () if module == ("lib",) else module
                self.paths[module] = [path.split("::") for path in PATH.findall(USE.sub("", code))]
                self.imported[module] = {}
                for indentation, tree in USE.findall(code):
                    for path, _, name in (path.partition(" as ") for path in expand(tree)):
                        path = path.removesuffix("::self").split("::")
                        self.paths[module].append(path)
                        if not indentation:
                            self.imported[module][name or path[-1]] = path

    def resolve(self, module, path):
        """The module that has the item with this path, seen from a module."""
        for place, name in enumerate(path):
            if name in ("crate", "super"):
                module = module[:-1] if name == "super" else ()
            elif (*module, name) in self.paths:
                module = (*module, name)
            elif name != "self":
                origin = self.imported[module].get(name) if place > 0 else None
                is_ours = origin and (origin[0] in ("crate", "self", "super") or (*module, origin[0]) in self.paths)
                return self.resolve(module, origin + path[place + 1 :]) if is_ours else module
        return module

    def dependencies(self):
        """For each parent, the modules in it and those that each of them depends on."""
        graphs = defaultdict(lambda: defaultdict(set))
        for module, paths in self.paths.items():
            for other in (self.resolve(module, path) for path in paths):
                depth = next((n for n, (a, b) in enumerate(zip(module, other)) if a != b), None)
                if depth is not None:
                    graphs[module[:depth]][module[depth]].add(other[depth])
        return graphs


def breaches():
    stated = re.search(r"only from those\s+before it: (.*?)\.\n", (ROOT / "ARCHITECTURE.md").read_text(), re.DOTALL)
    order = re.findall(r"`(\w+)`", stated[1])
    for source in sorted(ROOT.glob("crates/*/src")):
        graphs = Crate(source).dependencies()
        for parent, graph in graphs.items():
            try:
                TopologicalSorter(graph).prepare()
            except CycleError as error:
                yield f"{'::'.join((source.parent.name, *parent))}: {' ← '.join(error.args[1])} is a cycle"
        if source.parent.name == "adieu":
            for module, others in graphs[()].items():
                for other in others:
                    if module not in order or other not in order[: order.index(module)]:
                        yield f"adieu: {module} imports from {other}, against the order in ARCHITECTURE.md"


if __name__ == "__main__":
    sys.exit("\n".join(breaches()) or 0)
