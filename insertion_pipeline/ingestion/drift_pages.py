"""great-expectations' Data Docs of the drift watch, as pages that ask nobody for anything.

Belongs here: rendering validations by the library's own renderers, and taking out of its pages whatever would be
fetched from elsewhere. Does not belong here: the validation (`drift`).

The library's pages load fourteen files from seven hosts, a logo and a newsletter. Here styles are a few lines of our
own, nothing runs, and a policy in each page forbids the rest. They hold what the comparison holds: places and shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.compute as pc

from insertion_pipeline.ingestion import drift
from insertion_pipeline.lake import Lake, write_atomically
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry

if TYPE_CHECKING:
    from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
    from lxml.html import HtmlElement

#: Nothing is loaded, nothing runs, nothing is sent.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 76rem; margin: 2rem auto;
       padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; width: 100% }
th, td { border: 1px solid #767676; padding: .3rem .5rem; text-align: left; vertical-align: top }
.badge { font-weight: 600 } .text-success { color: #005c1a } .text-danger { color: #a4000f }
ul { padding-left: 1.2rem } code { background: #f2f2f2 }
"""
_FETCHING = ("script", "link", "style", "img", "iframe", "video", "audio", "object", "embed", "source", "form", "input")
#: Parts of the library's pages that only work with its scripts, or advertise.
_DECORATION = ("modal", "newsletter", "walkthrough", "navbar", "breadcrumb", "btn", "logo", "card")


def write_pages(lake: Lake, registry: Registry, months: Sequence[Month], folder: Path) -> list[Path]:
    """Write one page per month that had deliveries, and an index; returns them. Imports great-expectations (seconds).

    Pages of other months that are there stay as they are.
    """
    pages, entries = [], []
    for month in sorted(set(months)):
        compared = drift.compare(lake, registry, [month])
        if not compared.num_rows:
            continue
        outcome = drift.validate(compared)
        asked = list(drift.drifts_of(outcome))
        path = folder / f"{month}.html"
        write_atomically(path, _offline(_rendered(outcome), f"Drift watch, {month}"))
        pages.append(path)
        partners = pc.count_distinct(compared["partner"]).as_py()
        entries.append(f'<li><a href="{path.name}">{month}</a>: {partners} partners, {len(asked)} questions</li>')
    listed = f"<ul>{''.join(entries)}</ul>" if entries else "<p>No month had a delivery.</p>"
    index = f"<html><head></head><body><main><h1>Drift watch</h1>{listed}</main></body></html>"
    write_atomically(folder / "index.html", _offline(index, "Drift watch"))
    return [folder / "index.html", *pages]


def _rendered(outcome: ExpectationSuiteValidationResult) -> str:
    """The library's own page of a validation."""
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    renderer: Any = ValidationResultsPageRenderer(run_info_at_end=True)
    view: Any = DefaultJinjaPageView()
    return str(view.render(renderer.render(outcome)))


def _offline(page: str, title: str) -> bytes:
    """The page without anything that is fetched or runs, under a policy that forbids it."""
    import lxml.html

    root = lxml.html.document_fromstring(page)
    for icon in root.iter("i"):
        icon.text = "holds" if "text-success" in icon.get("class", "") else "does not hold"
    for element in list(root.iter()):
        if not isinstance(element.tag, str) or element.tag in _FETCHING or _is_decoration(element):
            _take_out(element)
            continue
        for name in list(element.attrib):
            kept = name in ("class", "colspan", "rowspan", "id") or (name == "href" and _is_local(element.get(name)))
            if not kept:
                del element.attrib[name]
    root.set("lang", "en")
    head = root.find("head")
    if head is None:
        head = lxml.html.Element("head")
        root.insert(0, head)
    for old in list(head):
        head.remove(old)
    for markup in (
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title>",
        f"<style>{_STYLE}</style>",
    ):
        head.append(lxml.html.fragment_fromstring(markup))
    return bytes(lxml.html.tostring(root, doctype="<!DOCTYPE html>", encoding="utf-8"))


def _take_out(element: HtmlElement) -> None:
    """Remove an element and leave the text that follows it."""
    parent = element.getparent()
    if parent is None:
        return
    if element.tail:
        previous = element.getprevious()
        if previous is None:
            parent.text = (parent.text or "") + element.tail
        else:
            previous.tail = (previous.tail or "") + element.tail
    parent.remove(element)


def _is_decoration(element: HtmlElement) -> bool:
    named = f"{element.get('class', '')} {element.get('id', '')}".lower()
    return any(word in named for word in _DECORATION)


def _is_local(address: str | None) -> bool:
    return address is not None and address.startswith(("#", "20")) and "//" not in address
