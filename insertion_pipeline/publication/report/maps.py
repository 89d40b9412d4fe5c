"""The map of departments and Walloon provinces: outlines as SVG, values in five classes.

Belongs here: projection, insets, classes. Does not belong here: the outlines themselves (`data_sources/geometry`).
"""

from __future__ import annotations

import itertools
import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from insertion_pipeline.registry import Registry

#: Territories far from the others are drawn in a frame of their own, in this order, from top to bottom.
_INSETS: Final = ("FR-DEP-971", "FR-DEP-972", "FR-DEP-973", "FR-DEP-974", "FR-DEP-976")
_INSET_SIDE: Final = 80
_WIDTH: Final = 760
_MIDDLE_LATITUDE: Final = math.radians(46.8)
CLASSES: Final = 5


@dataclass(frozen=True)
class Outline:
    """One territory as an SVG path."""

    code: str
    path: str


@dataclass(frozen=True)
class Outlines:
    """Every territory of the map, and the frame that it is drawn in."""

    width: int
    height: int
    territories: tuple[Outline, ...]
    frames: tuple[tuple[int, int], ...]

    @classmethod
    def read(cls, registry: Registry) -> Outlines:
        """The outlines of `data_sources/geometry`, projected."""
        features = json.loads(registry.content("geometry/departments_and_provinces.geojson"))["features"]
        mainland = [one for one in features if one["id"] not in _INSETS]
        west, east, south, north = _box(mainland)
        left = _INSET_SIDE + 20
        scale = (_WIDTH - left) / ((east - west) * math.cos(_MIDDLE_LATITUDE))
        height = round((north - south) * scale)
        drawn = [Outline(one["id"], _path(one, west, north, scale, left, 0)) for one in mainland]
        by_code = {one["id"]: one for one in features}
        frames = []
        for rank, code in enumerate(code for code in _INSETS if code in by_code):
            top = height - (len(_INSETS) - rank) * (_INSET_SIDE + 8)
            drawn.append(Outline(code, _in_frame(by_code[code], top)))
            frames.append((4, top))
        return cls(_WIDTH, height, tuple(drawn), tuple(frames))


def _box(features: Sequence[Mapping[str, Any]]) -> tuple[float, float, float, float]:
    points = [
        point for one in features for polygon in one["geometry"]["coordinates"] for ring in polygon for point in ring
    ]
    longitudes, latitudes = [x for x, _ in points], [y for _, y in points]
    return min(longitudes), max(longitudes), min(latitudes), max(latitudes)


def _path(feature: Mapping[str, Any], west: float, north: float, scale: float, left: float, top: float) -> str:
    squeeze = scale * math.cos(_MIDDLE_LATITUDE)
    parts = []
    for polygon in feature["geometry"]["coordinates"]:
        for ring in polygon:
            points = [f"{left + (x - west) * squeeze:.0f} {top + (north - y) * scale:.0f}" for x, y in ring]
            parts.append("M" + "L".join(dict.fromkeys(points)) + "Z")
    return "".join(parts)


def _in_frame(feature: Mapping[str, Any], top: float) -> str:
    west, east, south, north = _box([feature])
    inner = _INSET_SIDE - 12
    scale = min(inner / ((east - west) * math.cos(_MIDDLE_LATITUDE)), inner / (north - south))
    return _path(feature, west, north, scale, 10, top + 6)


def classes(values: Sequence[float]) -> list[tuple[float, float]]:
    """At most five classes of about as many territories each: the least and the greatest value of each class.

    The limits are values of the release, so that a legend tells nothing that the release does not.
    """
    ordered = sorted(set(values))
    count = min(CLASSES, len(ordered))
    cuts = [round(rank * len(ordered) / count) for rank in range(count + 1)] if count else []
    return [(ordered[start], ordered[end - 1]) for start, end in itertools.pairwise(cuts)]


def class_of(value: float, found: Sequence[tuple[float, float]]) -> int:
    """The class that holds `value`, counted from 0."""
    return bisect_left([greatest for _, greatest in found], value)
