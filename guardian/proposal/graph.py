"""Dependencies as a graph: cycles, and how deep a service stands. Iterative: no file is too deep for it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

Edges = Mapping[str, Collection[str]]


def components(edges: Edges) -> list[tuple[str, ...]]:
    """Services that need each other stand together; every component comes after those that it needs (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    open_: dict[str, None] = {}
    found: list[tuple[str, ...]] = []
    for root in edges:
        if root in index:
            continue
        path: list[tuple[str, list[str]]] = []
        _enter(root, edges, index, low, open_, path)
        while path:
            name, left = path[-1]
            if left:
                other = left.pop()
                if other not in index:
                    _enter(other, edges, index, low, open_, path)
                elif other in open_:
                    low[name] = min(low[name], index[other])
                continue
            path.pop()
            if path:
                low[path[-1][0]] = min(low[path[-1][0]], low[name])
            if low[name] == index[name]:
                members: list[str] = []
                while not members or members[-1] != name:
                    members.append(open_.popitem()[0])
                found.append(tuple(sorted(members)))
    return found


def depths(edges: Edges) -> dict[str, int]:
    """The longest chain of needs below each service; those of a cycle stand at one depth."""
    depth: dict[str, int] = {}
    for members in components(edges):
        below = [depth[other] + 1 for name in members for other in edges[name] if other not in members]
        depth.update(dict.fromkeys(members, max(below, default=0)))
    return depth


def cycles(edges: Edges) -> list[tuple[str, ...]]:
    """Services that need each other, by name."""
    return sorted(members for members in components(edges) if len(members) > 1)


def reversed_edges(edges: Edges) -> dict[str, list[str]]:
    """Of each service, those that need it, in order."""
    found: dict[str, list[str]] = {name: [] for name in edges}
    for name, needs in edges.items():
        for other in needs:
            found[other].append(name)
    return found


def within(names: Iterable[str], edges: Edges) -> dict[str, tuple[str, ...]]:
    """The graph of `names` alone."""
    kept = dict.fromkeys(names)
    return {name: tuple(other for other in edges[name] if other in kept) for name in kept}


def _enter(
    name: str,
    edges: Edges,
    index: dict[str, int],
    low: dict[str, int],
    open_: dict[str, None],
    path: list[tuple[str, list[str]]],
) -> None:
    index[name] = low[name] = len(index)
    open_[name] = None
    path.append((name, list(edges[name])))
