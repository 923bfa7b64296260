"""The table of an ablation, ours beside the paper's, and whether the claim holds, from the numbers alone."""

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import mean, stdev

from scipy import stats

from gte_ray.ablation.study import Ablation
from gte_ray.report.markdown import code, escaped, markdown_table

CONFIDENCE = 0.95
"""Of the interval of the paired difference between two rows (Student's t)."""
NEGLIGIBLE = 0.5
"""Points of difference below which a row counts as no better than another."""


@dataclass(frozen=True)
class Result:
    """One row of the table with what was measured."""

    name: str
    x: float | None
    paper: float | None
    """Average on MTEB, percent."""
    step: int
    """Steps after which the scores are taken."""
    fingerprints: tuple[str, ...]
    """Of the runs, one for each seed."""
    series: str = ""
    scores: tuple[float | None, ...] = ()
    """Mean held-out nDCG@10 of each seed, percent; None for a trial that failed or is missing."""
    by_source: Mapping[str, float] = field(default_factory=dict)
    """Held-out nDCG@10 of each source, percent, averaged over seeds."""
    failure: str = ""

    @property
    def measured(self) -> list[float]:
        return [score for score in self.scores if score is not None]

    @property
    def shown(self) -> str:
        """The mean over seeds, and how far they spread."""
        found = self.measured
        if not found:
            return "failed" if self.failure else "missing"
        spread = f" ± {stdev(found):.1f}" if len(found) > 1 else ""
        missing = f" ({len(found)} of {len(self.scores)} seeds)" if len(found) < len(self.scores) else ""
        return f"{mean(found):.1f}{spread}{missing}"

    @property
    def shown_paper(self) -> str:
        return "" if self.paper is None else f"{self.paper:.1f}"


@dataclass(frozen=True)
class Report:
    """A whole ablation."""

    name: str
    ablation: Ablation
    profile: str
    command: str
    results: tuple[Result, ...]

    @property
    def failed(self) -> list[Result]:
        return [result for result in self.results if None in result.scores]


def verdict(report: Report) -> str:
    """One line: whether the claim holds here, does not, or cannot be told, with the differences."""
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
    """The paired difference in words, and 1, -1 or 0: the relation holds, does not, cannot be told."""
    pairs = zip(row.scores, other.scores, strict=True)
    differences = [one - two for one, two in pairs if one is not None and two is not None]
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
    """report.md, also the note that MLflow shows of the parent run."""
    ablation = report.ablation
    seeds = len(report.results[0].scores)
    text = [
        f"# {escaped(f'{ablation.title}: {ablation.question}')}",
        f"Claim: {escaped(ablation.claim)}",
        f"**{escaped(verdict(report))}**",
        markdown_table(
            [ablation.axis, "ours", "the paper's"], [[x.name, x.shown, x.shown_paper] for x in report.results]
        ),
        f"Ours: mean over sources of held-out nDCG@10 in percent, {seeds} seed(s), ± standard deviation over "
        f"seeds; profile {report.profile}. The paper's: average on MTEB in percent. The two are different "
        "measures on different data, so only the order of the rows can be compared.",
        code(report.command),
    ]
    failures = [
        f"- {escaped(f'{result.name}: {result.failure}')}" for result in report.results if result.failure
    ]
    if failures:
        text += ["Failed trials:", "\n".join(failures)]
    sources = sorted({source for result in report.results for source in result.by_source})
    if sources:
        rows = [
            [source, *(f"{x.by_source[source]:.1f}" if source in x.by_source else "" for x in report.results)]
            for source in sources
        ]
        text += [
            "Each source:",
            markdown_table(["source", *(result.name for result in report.results)], rows),
        ]
    return "\n\n".join(text) + "\n"


def table_csv(report: Report) -> str:
    """table.csv: one line for each row and seed."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["row", "x", "seed", "ndcg_at_10_percent", "paper_mteb_percent"])
    for result in report.results:
        for number, score in enumerate(result.scores):
            writer.writerow([result.name, result.x, number, score, result.paper])
    return text.getvalue()
