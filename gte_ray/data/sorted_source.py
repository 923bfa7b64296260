"""A source between the two passes of the external sort: its runs, what was dropped, the sources it is split into."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from gte_ray.data.benchmarks import IN_BENCHMARK
from gte_ray.data.hashing import digest
from gte_ray.data.ids import VOCABULARY_ROWS, vocabulary_texts
from gte_ray.data.inputs import Input
from gte_ray.data.manifest import ITS_FILES, SourceInfo
from gte_ray.data.merge import Kept, first_pairs
from gte_ray.data.sort import Counts, SortedRun, SortedUnit
from gte_ray.data.sorted_run import RunFile
from gte_ray.data.split import Split
from gte_ray.errors import RunError
from gte_ray.readers.reading import OTHERWISE
from gte_ray.readers.values import Examples, unite_examples

SHARED = "document held out"
"""Reason for which pairs are dropped with --held-out-documents."""
BEYOND = "beyond the limit"
"""Reason for which pairs of a source with a limit are dropped."""
GROUP_CHARACTERS = 60
"""Most characters of a value in the name of its source."""


@dataclass
class SortedSource:
    """A source after the first pass."""

    listed: Input
    split: Split
    units: list[SortedUnit] = field(default_factory=list)
    group: str | None = None
    """The value that all its pairs have where the source is split; None for a whole source."""
    siblings: int = 0
    counted: bool = True
    """Whether what was dropped is counted with it: with the first of those that a source is split into."""

    @property
    def name(self) -> str:
        name = self.listed.source.name
        return name if self.group is None else group_name(name, self.group)

    @property
    def _runs(self) -> list[SortedRun]:
        runs = [run for unit in self.units for run in unit.runs]
        return runs if self.group is None else [run for run in runs if run.group == self.group]

    @property
    def rows(self) -> int:
        return sum(run.rows for run in self._runs)

    @property
    def bytes(self) -> int:
        return sum(run.bytes for run in self._runs)

    @property
    def kept(self) -> Kept:
        return Kept.of(self.rows, self.listed.source.limit)

    @property
    def runs(self) -> tuple[RunFile, ...]:
        return tuple(run.file for run in self._runs)

    @property
    def scored(self) -> bool:
        """Whether a teacher's scores came with some pairs."""
        return any(run.scored for run in self._runs)

    @property
    def dropped(self) -> Counter[str]:
        return _total(count.dropped for count in self._counts)

    @property
    def _counts(self) -> list[Counts]:
        return [unit.counts for unit in self.units] if self.counted else []

    @property
    def pairs(self) -> str:
        """Digest of the pairs as they were read, duplicates included, of which of them are kept, and of the split."""
        checksum = sum(run.checksum for run in self._runs) % 2**64
        return digest(checksum, self.rows, self.kept, self.split.identity)

    def check(self) -> None:
        """Raises RunError if the source has no pair, or if more of its rows are none than may be."""
        dropped, files = self.dropped, self.listed.files
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in sorted(dropped.items()))
        total = dropped.total()
        left_out = sum(count for reason, count in dropped.items() if reason.startswith(OTHERWISE.reason))
        lost = total - left_out - dropped[IN_BENCHMARK.reason]
        if self.rows and (lost <= self.rows or self.listed.source.allow_drops):
            return
        if self.rows:
            raise RunError(
                f"source {self.name}: {lost:,} of {lost + self.rows:,} rows are no pairs of texts ({reasons}), the first "
                f"file is {files[0].uri}; look at them with --preview, and if they are to be left out, give --allow-drops"
                f"{self._examples()}"
            )
        read = f"none of {total:,} rows is a pair of texts ({reasons})" if total else "there are no rows"
        raise RunError(
            f"source {self.name}: {read} in {len(files):,} file(s), the first {files[0].uri}; allowed are rows of texts "
            "in columns of known names, or of those named as NAME=GLOB:TASK:QUERY_COLUMN,DOCUMENT_COLUMN"
            f"{self._examples()}"
        )

    def _examples(self) -> str:
        """A line for each of the first rows that were dropped, with its reason."""
        kept: Examples = {}
        for counts in self._counts:
            unite_examples(kept, counts.examples)
        return "".join(f"\n  {reason}: {row}" for reason in sorted(kept) for row in kept[reason])

    def first_texts(self) -> list[str]:
        """The texts that a vocabulary is trained on: those that the finished source would give."""
        rows = first_pairs(self.runs, VOCABULARY_ROWS, self.kept, self.split)
        return vocabulary_texts(rows)

    def described(self, info: SourceInfo) -> SourceInfo:
        """`info` with what only the first pass knows."""
        later = Counter({reason: info.dropped.get(reason, 0) for reason in (SHARED, BEYOND)})
        dropped = self.dropped + later
        dropped["duplicate"] = self.rows - info.rows - info.held_out - later.total()
        counts = self._counts
        unused, matched = _total(count.unused for count in counts), self.listed.source.matched_columns
        return replace(
            info,
            split_of="" if self.group is None else self.listed.source.name,
            siblings=self.siblings,
            task=self.listed.source.task,
            read=self.rows + self.dropped.total(),
            dropped={reason: count for reason, count in sorted(dropped.items()) if count},
            reader="; ".join(sorted({layout for unit in self.units for layout in unit.counts.layouts})),
            input_fingerprint=self.listed.fingerprint,
            skipped_files=self.listed.skipped,
            unused={name: count for name, count in unused.items() if name not in matched},
            teacher=ITS_FILES if self.scored else "",
            lost_negatives=dict(_total(count.lost_negatives for count in counts)),
            settings=self.listed.settings,
        )


def group_name(name: str, group: str) -> str:
    """The name of the source of one value. Another value never has the same."""
    plain = re.sub(r"[^\w.-]+", "-", group.lower()).strip("-._")[:GROUP_CHARACTERS]
    return f"{name}.{plain}" if plain == group else f"{name}.{plain}-{digest(group)[:6]}"


def split_source(source: SortedSource) -> list[SortedSource]:
    """A source of its own for each value that `source` is split by; itself if it is not."""
    if not source.listed.source.reading.split_by:
        return [source]
    groups = sorted({run.group for unit in source.units for run in unit.runs})
    return [
        replace(source, group=group, siblings=len(groups), counted=number == 0)
        for number, group in enumerate(groups)
    ]


def _total(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for some in counts:
        total.update(some)
    return total
