"""From weighted pairs to persons, without chains.

Belongs here: the unions, their order and their refusals. Does not belong here: what the weights come from.

Pairs are taken from the heaviest to the lightest, ties by node. Two clusters are joined when the mean weight of all the
pairs between them (a pair that nobody weighed counts as a contradiction) is high enough, and never when they hold two
different trusted numbers. A number that its holders dispute counts as one from the union on that holds two of them:
twins of whom one bears the other's number by mistake stay two. The outcome is a function of the pairs, not of their
order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple


class Edge(NamedTuple):
    """A weighed pair of groups, `left` < `right`."""

    weight: float
    left: int
    right: int


@dataclass
class Clusters:
    """A growing partition: every group is alone until it is joined."""

    numbers: Mapping[int, frozenset[int]] = field(default_factory=dict)
    forbidden: Mapping[int, frozenset[int]] = field(default_factory=dict)
    disputed: Mapping[int, frozenset[int]] = field(default_factory=dict)
    of: dict[int, int] = field(default_factory=dict)
    members: dict[int, list[int]] = field(default_factory=dict)
    joined: dict[int, float] = field(default_factory=dict)
    held: dict[int, frozenset[int]] = field(default_factory=dict)
    borne: dict[int, frozenset[int]] = field(default_factory=dict)

    def cluster(self, group: int) -> int:
        return self.of.get(group, group)

    def _members(self, cluster: int) -> list[int]:
        return self.members.get(cluster, [cluster])

    def _numbers(self, cluster: int) -> frozenset[int]:
        return self.held.get(cluster, self.numbers.get(cluster, frozenset()))

    def _disputed(self, cluster: int) -> frozenset[int]:
        return self.borne.get(cluster, self.disputed.get(cluster, frozenset()))

    def contradict(self, left: int, right: int) -> bool:
        """Whether each of the two holds a trusted number that the other lacks, or both a disputed one and one of them
        another; or somebody said that they differ."""
        one, other = self._numbers(left), self._numbers(right)
        if one and other and not (one <= other or other <= one):
            return True
        settled = self._disputed(left) & self._disputed(right)
        if settled and len(one | other | settled) > 1:
            return True
        theirs = self._members(right)
        return bool(self.forbidden) and any(
            not self.forbidden.get(group, frozenset()).isdisjoint(theirs) for group in self._members(left)
        )

    def join(self, left: int, right: int, weight: float) -> None:
        """Make one cluster of two; its name is the smallest member."""
        kept, lost = min(left, right), max(left, right)
        settled = self._disputed(kept) & self._disputed(lost)
        numbers = self._numbers(kept) | self._numbers(lost) | settled
        disputed = self._disputed(kept) | self._disputed(lost)
        together = self._members(kept) + self._members(lost)
        for group in together:
            self.of[group] = kept
            self.joined[group] = max(self.joined.get(group, weight), weight)
        self.members.pop(lost, None)
        self.members[kept] = together
        if numbers:
            self.held[kept] = numbers
        if disputed:
            self.borne[kept] = disputed


def cluster(
    edges: Iterable[Edge],
    numbers: Mapping[int, frozenset[int]],
    *,
    threshold: float,
    unscored: float,
    neighbours: float | None = None,
    forbidden: Mapping[int, frozenset[int]] | None = None,
    disputed: Mapping[int, frozenset[int]] | None = None,
) -> tuple[Clusters, list[Edge]]:
    """The partition, and the pairs above the threshold that were refused.

    `numbers`: group to the trusted numbers it holds: one, or those that a decision brought together. `unscored`: the
    weight of a pair that nobody weighed. `neighbours`: what the mean between two clusters must reach, the threshold
    if not given. `forbidden`: group to the groups that it must never meet. `disputed`: group to the numbers that it
    bears and that fit others too.
    """
    ordered = sorted(edges, key=lambda edge: (-edge.weight, edge.left, edge.right))
    weights: dict[int, dict[int, float]] = {}
    for weight, left, right in ordered:
        weights.setdefault(left, {})[right] = weight
        weights.setdefault(right, {})[left] = weight
    mean = threshold if neighbours is None else neighbours
    clusters, refused = Clusters(numbers, forbidden or {}, disputed or {}), []
    for edge in ordered:
        if edge.weight < threshold:
            break
        left, right = clusters.cluster(edge.left), clusters.cluster(edge.right)
        if left == right:
            continue
        if clusters.contradict(left, right):
            refused.append(edge)
            continue
        ours, theirs = clusters.members.get(left, [left]), clusters.members.get(right, [right])
        if len(ours) > 1 or len(theirs) > 1:
            total = sum(weights[one].get(other, unscored) for one in ours for other in theirs)
            if total < mean * len(ours) * len(theirs):
                refused.append(edge)
                continue
        clusters.join(left, right, edge.weight)
    return clusters, refused


def components(pairs: Iterable[tuple[int, int]], nodes: Iterable[int]) -> dict[int, int]:
    """Each node to the smallest node that pairs lead to."""
    parent = {node: node for node in nodes}

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for left, right in pairs:
        one, other = root(left), root(right)
        parent[max(one, other)] = min(one, other)
    return {node: root(node) for node in parent}
