"""The page of runs: `runs/index.html`, one file in English for engineers, nothing from outside, no script.

Belongs here: the page. Does not belong here: any figure (`metrics`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from insertion_pipeline.lake import write_atomically
from insertion_pipeline.orchestration.metrics import RunMetrics, StepMetrics, read_all

#: The newest runs alone are told step by step: a year of daily runs would weigh megabytes.
RUNS_IN_DETAIL = 30

_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;color:#1b1b1f;background:#fff;margin:0 auto;max-width:70rem;padding:1rem}
h1{font-size:1.6rem}h2{font-size:1.05rem;margin:2.4rem 0 .3rem;font-family:ui-monospace,monospace}
table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.2rem .6rem;border-bottom:1px solid #e4e4ea}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.failure{color:#a40000;font-weight:600}
td.bar{width:24%}td.bar i{display:block;height:.7rem;background:#3a6ea5}p{color:#51515c}
@media print{h2{break-before:auto;break-after:avoid}tr{break-inside:avoid}}
"""
_RUN_COLUMNS = (
    "run",
    "began (UTC)",
    "months",
    "engine",
    "outcome",
    "#seconds",
    "#findings",
    "#peak MB",
    "slowest step",
)
_STEP_COLUMNS = ("step", "outcome", "when", "#s", "#rows", "#findings", "#peak MB")


def write_page(folder: Path) -> Path:
    """Write `folder/index.html` again, from what the runs of a home left there. Returns where."""
    path = folder / "index.html"
    write_atomically(path, page(read_all(folder)).encode())
    return path


def page(runs: Sequence[RunMetrics]) -> str:
    """All runs, newest first, and the newest ones step by step."""
    rows = [
        (
            f'<a href="#{escape(run.run_id)}">{escape(run.run_id[:8])}</a>' if rank < RUNS_IN_DETAIL
            else escape(run.run_id[:8]),
            escape(run.began.removesuffix("+00:00").replace("T", " ")),
            escape("..".join(dict.fromkeys(run.months))), escape(run.engine), _outcome(run.outcome),
            _seconds(run.seconds), _count(run.findings), _count(run.peak_memory_mb),
            f"{escape(run.slowest.step)} ({_seconds(run.slowest.seconds)} s)" if run.slowest else "",
        )
        for rank, run in enumerate(runs)
    ]  # fmt: skip
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Runs</title><style>{_STYLE}</style></head><body><main><h1>Runs</h1>"
        "<p>What each run took. Memory is that of the run and of the processes that it started, sampled four times a "
        "second, shared pages counted in each. Rows and findings are sizes of the work; nothing here names a partner "
        "or a person. A run that was killed has left no figures.</p>"
        f"{_table(_RUN_COLUMNS, rows)}{''.join(_run(run) for run in runs[:RUNS_IN_DETAIL])}</main></body></html>\n"
    )


def _run(run: RunMetrics) -> str:
    failed = "".join(f"<li>{escape(one)}</li>" for one in run.failed_checks)
    return (
        f'<h2 id="{escape(run.run_id)}">{escape(run.run_id)}</h2>'
        + (f"<p>Checks that did not pass:</p><ul>{failed}</ul>" if failed else "")
        + _table(_STEP_COLUMNS, [_step(step, run.seconds) for step in run.steps])
    )


def _step(step: StepMetrics, whole: float) -> tuple[str, ...]:
    start, width = (100 * seconds / (whole or 1) for seconds in (step.began_after_seconds, step.seconds))
    return (
        escape(step.step), _outcome(step.outcome),
        f'<i style="margin-left:{min(start, 100):.1f}%;width:{max(min(width, 100 - start), 0.4):.1f}%"></i>',
        _seconds(step.seconds), _count(step.rows), _count(step.findings), _count(step.peak_memory_mb),
    )  # fmt: skip


def _outcome(outcome: str) -> str:
    return f'<span class="{outcome}">{outcome}</span>'


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f}"


def _count(count: int | None) -> str:
    return "" if count is None else f"{count:,}"


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are HTML already; a column whose name begins with # holds numbers."""
    kinds = ["n" if name.startswith("#") else "bar" if name == "when" else "" for name in columns]
    head = "".join(_cell("th", kind, name.lstrip("#")) for kind, name in zip(kinds, columns, strict=True))
    lines = ("".join(_cell("td", kind, cell) for kind, cell in zip(kinds, row, strict=True)) for row in rows)
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(tag: str, kind: str, content: str) -> str:
    return f'<{tag} class="{kind}">{content}</{tag}>' if kind else f"<{tag}>{content}</{tag}>"
