"""An ablation's table, ours beside the paper's, and whether its claim holds, from the numbers alone."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean, stdev

from scipy import stats

from gte_ray.ablation.metric import HELD_OUT_PAIRS, Metric
from gte_ray.ablation.study import Ablation
from gte_ray.report import page
from gte_ray.report.markdown import code, escaped, markdown_table

CONFIDENCE = 0.95
"""Confidence of the interval for the paired difference between two rows (Student's t)."""
NEGLIGIBLE = 0.5
"""Difference in points below which a row counts as no better than another."""


@dataclass(frozen=True)
class Result:
    """One row of the table with its measurements."""

    name: str
    x: float | None
    paper: float | None
    """Average on MTEB, percent."""
    step: int
    """Number of steps after which the scores are taken."""
    fingerprints: tuple[str, ...]
    """Fingerprints of the runs, one per seed."""
    series: str = ""
    scores: tuple[float | None, ...] = ()
    """Mean of the metric's parts for each seed, percent; None for a trial that failed or is missing."""
    by_part: Mapping[str, float] = field(default_factory=dict)
    """Scores of the parts of the metric, such as sources, percent, averaged over seeds."""
    failure: str = ""
    paper_parts: Mapping[str, float] = field(default_factory=dict)
    """The paper's by category of MTEB, percent."""

    @property
    def measured(self) -> list[float]:
        return [score for score in self.scores if score is not None]

    @property
    def shown(self) -> str:
        """The mean over seeds and their standard deviation, or why there is none."""
        measured = self.measured
        if not measured:
            return "failed" if self.failure else "missing"
        count, seeds = len(measured), len(self.scores)
        spread = f" ± {stdev(measured):.1f}" if count > 1 else ""
        missing = f" ({count} of {seeds} seeds)" if count < seeds else ""
        return f"{mean(measured):.1f}{spread}{missing}"

    @property
    def shown_paper(self) -> str:
        return "" if self.paper is None else f"{self.paper:.1f}"


@dataclass(frozen=True)
class Report:
    """The results of a whole ablation."""

    name: str
    ablation: Ablation
    profile: str
    command: str
    results: tuple[Result, ...]
    metric: Metric = HELD_OUT_PAIRS
    others: tuple["Report", ...] = ()
    """The same rows by other metrics."""
    experiment_id: str = ""
    parent: str = ""
    """Run in MLflow that it is about."""

    @property
    def paper_parts(self) -> list[str]:
        """The parts of the metric that the paper prints too, in its order."""
        if not self.metric.is_the_papers:
            return []
        return list(dict.fromkeys(part for result in self.results for part in result.paper_parts))

    def table(self) -> tuple[list[str], list[list[str]]]:
        """Return header and rows: ours and the paper's, of parts that both have first."""
        header = [self.ablation.axis]
        for part in self.paper_parts:
            header += [part, "the paper's"]
        header += [f"ours, {self.metric.label} %", "the paper's, MTEB %"]
        rows = []
        for result in self.results:
            row = [result.name]
            for part in self.paper_parts:
                row += [_percent(result.by_part.get(part)), _percent(result.paper_parts.get(part))]
            rows.append([*row, result.shown, result.shown_paper])
        return header, rows

    @property
    def measures(self) -> str:
        """Return in words what is measured on both sides."""
        if self.metric.is_the_papers:
            return "Ours and the paper's: average over the tasks of MTEB in percent"
        ours = "mean over sources of held-out nDCG@10"
        if not self.metric.is_held_out:
            ours = f"average over the tasks of {self.metric.label}"
        return (
            f"Ours: {ours} in percent. The paper's: average on MTEB in percent. The two are different measures on "
            "different data, so only the order of the rows can be compared"
        )

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if None in result.scores]


def verdict(report: Report) -> str:
    """Return one line: whether the claim holds here, does not, or is undecided, with the differences."""
    by_name = {result.name: result for result in report.results}
    findings, signs = [], []
    for comparison in report.ablation.comparisons([result.name for result in report.results]):
        row, other = by_name[comparison.row], by_name[comparison.other]
        text, sign = _compare(row, other, comparison.relation)
        findings.append(f"{row.name} against {other.name}: {text}")
        signs.append(sign)
    if -1 in signs:
        word = "does not hold here"
    elif signs and all(sign == 1 for sign in signs):
        word = "holds here"
    else:
        word = "cannot be told from these runs, which are too small or too few"
    return f"The claim {word}. {'; '.join(findings)}."


def _compare(row: Result, other: Result, relation: str) -> tuple[str, int]:
    """Return the paired difference in words, and 1, -1 or 0: the relation holds, does not, is undecided."""
    pairs = zip(row.scores, other.scores, strict=True)
    differences = [a - b for a, b in pairs if a is not None and b is not None]
    if not differences:
        return "not measured", 0
    if len(differences) == 1:
        return f"{differences[0]:+.1f} points, one seed", 0
    middle = mean(differences)
    error = stdev(differences) / len(differences) ** 0.5
    margin = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(differences) - 1)) * error
    low, high = middle - margin, middle + margin
    text = f"{middle:+.1f} ± {margin:.1f} points, {len(differences)} seeds"
    if relation == "better than":
        return text, 1 if low > 0 else -1 if high < 0 else 0
    return text, 1 if high < NEGLIGIBLE else -1 if low > NEGLIGIBLE else 0


def markdown(report: Report) -> str:
    """Return report.md, which is also the parent run's note in MLflow."""
    ablation = report.ablation
    seeds = len(report.results[0].scores)
    text = [
        f"# {escaped(f'{ablation.title}: {ablation.question}')}",
        f"Claim: {escaped(ablation.claim)}",
        f"**{escaped(verdict(report))}**",
        markdown_table(*report.table()),
        f"{escaped(report.measures)}. {seeds} seed(s), ± standard deviation over seeds; profile {report.profile}.",
        code(report.command),
    ]
    failures = [
        f"- {escaped(f'{result.name}: {result.failure}')}" for result in report.results if result.failure
    ]
    if failures:
        text += ["Failed trials:", "\n".join(failures)]
    text += _parts_markdown(report)
    for other in report.others:
        text += [f"## By {escaped(other.metric.label)}", f"**{escaped(verdict(other))}**"]
        text += [markdown_table(*other.table()), f"{escaped(other.measures)}.", *_parts_markdown(other)]
    return "\n\n".join(text) + "\n"


def _parts_markdown(report: Report) -> list[str]:
    header, rows = _parts_table(report)
    return [f"Each {header[0]}:", markdown_table(header, rows)] if rows else []


def html(report: Report, svg: str) -> str:
    """Return report.html: the claim, the rows with intervals, the figure `svg`, and the parts of the metric."""
    ablation, seeds = report.ablation, len(report.results[0].scores)
    parts = [
        page.paragraph(f"Claim: {ablation.claim}"),
        page.paragraph(verdict(report)),
        page.bars([_group(result, report.metric) for result in report.results]),
        page.table(*report.table()),
        page.paragraph(f"{report.measures}. {seeds} seed(s), ± standard deviation over seeds.", faint=True),
        page.figure(svg),
        *_parts_html(report),
    ]
    for other in report.others:
        parts += [page.heading(f"By {other.metric.label}"), page.paragraph(verdict(other))]
        parts += [
            page.bars([_group(result, other.metric) for result in other.results]),
            page.table(*other.table()),
            page.paragraph(f"{other.measures}.", faint=True),
            *_parts_html(other),
        ]
    parts += [
        page.paragraph(f"{result.name} failed: {result.failure}")
        for result in report.results
        if result.failure
    ]
    parts += [page.paragraph(f"Profile {report.profile}:", faint=True), page.code(report.command)]
    return page.page(f"{ablation.title}: {ablation.question}", parts)


def _parts_html(report: Report) -> list[str]:
    header, rows = _parts_table(report)
    return [page.heading(f"Each {header[0]}"), page.table(header, rows)] if rows else []


def _group(result: Result, metric: Metric) -> page.Group:
    measured = result.measured
    spread = stdev(measured) if len(measured) > 1 else 0.0
    bars = [
        page.Bar(f"ours, {metric.label}", mean(measured) if measured else None, spread),
        page.Bar("the paper's, MTEB", result.paper, other=True),
    ]
    return page.Group(result.name, tuple(bars[: 1 if result.paper is None else 2]))


def _parts_table(report: Report) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the scores of each part of the metric by row of the ablation."""
    parts = sorted({part for result in report.results for part in result.by_part})
    rows = [[part, *(_percent(x.by_part.get(part)) for x in report.results)] for part in parts]
    kind = "source" if report.metric.is_held_out else "part"
    return [kind, *(result.name for result in report.results)], rows


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def table_csv(report: Report) -> str:
    """Return table.csv: one line per row and seed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    every = (report, *report.others)
    names = [f"{one.metric.parts}_percent" for one in every]
    writer.writerow(["row", "x", "seed", names[0], "paper_mteb_percent", *names[1:]])
    for same in zip(*(one.results for one in every), strict=True):
        for number, (score, *others) in enumerate(zip(*(result.scores for result in same), strict=True)):
            writer.writerow([same[0].name, same[0].x, number, score, same[0].paper, *others])
    return text.getvalue()
