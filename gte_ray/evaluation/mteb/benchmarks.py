"""Benchmarks as lists of tasks: mteb's own, and the paper's where mteb has none or a different one."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import mteb
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification

from gte_ray.errors import UsageError
from gte_ray.evaluation.mteb.beir_folder import FolderRetrieval, is_folder
from gte_ray.evaluation.mteb.own import Described, OwnRetrieval, task_metadata
from gte_ray.evaluation.mteb.paper import BEIR, BEIR_TASKS, CODESEARCHNET, LANGUAGES, MTEB, SST2, PaperRow

CODE_SETTINGS = ("all", "1k")
FEW_CODES = 1_000
"""Candidates of the small setting of CodeSearchNet (Table 13)."""
CODE_DATASET = "code-search-net/code_search_net"
SST2_DATASET = "stanfordnlp/sst2"
SST2_LABELS = {"plain": "{}", "prompted": "this is an example of {} movie review"}
"""Templates that turn a label into a text (section 4.1)."""


@dataclass(frozen=True)
class Benchmark:
    """A named list of tasks, and the paper's scores on them."""

    name: str
    tasks: tuple[AbsTask, ...]
    metrics: tuple[str, ...] = ()
    """Metrics in addition to each task's main score, by mteb's names."""
    paper: tuple[PaperRow, ...] = ()
    by_category: bool = False
    """Whether the table has a column per mteb category instead of a row per task."""
    notes: tuple[str, ...] = ()
    """What a user should know about the data before scoring."""


def benchmark(name: str, check: bool = False, flag: str = "--benchmark") -> Benchmark:
    """Return the benchmark of that name, or of a folder in BEIR's layout.

    `check` reads a folder's files, and raises RunError with a one-sentence message if they cannot be scored.
    Raises UsageError if there is neither benchmark nor folder.
    """
    if name in BENCHMARKS:
        return BENCHMARKS[name]()
    folder = Path(name)
    if is_folder(folder):
        task = FolderRetrieval(folder)
        return Benchmark(folder.name, (task,), ("recall_at_100",), notes=task.check() if check else ())
    raise UsageError(
        f"{flag} is {name!r}; allowed are heldout, {', '.join(BENCHMARKS)}, or a folder with corpus.jsonl, "
        "queries.jsonl and qrels/test.tsv"
    )


def _mteb() -> Benchmark:
    tasks = tuple(mteb.get_benchmark("MTEB(eng, v1)").tasks)
    return Benchmark("mteb-en", tasks, paper=MTEB, by_category=True)


def _beir() -> Benchmark:
    tasks = {task.metadata.name: task for task in mteb.get_benchmark("BEIR").tasks}
    return Benchmark("beir", tuple(tasks[name] for name in BEIR_TASKS), ("recall_at_100",), BEIR)


def _codesearchnet() -> Benchmark:
    tasks = tuple(CodeSearch(language, setting) for setting in CODE_SETTINGS for language in LANGUAGES)
    return Benchmark("codesearchnet", tasks, paper=CODESEARCHNET)


def _sst2() -> Benchmark:
    return Benchmark("sst2", tuple(SentimentByLabels(kind) for kind in SST2_LABELS), paper=SST2)


BENCHMARKS: dict[str, Callable[[], Benchmark]] = {
    "mteb-en": _mteb,
    "beir": _beir,
    "codesearchnet": _codesearchnet,
    "sst2": _sst2,
}


class CodeSearch(OwnRetrieval):
    """CodeSearchNet in one language: find the function for a docstring of the test set.

    Candidates are all functions of the validation and test sets (Table 7), or those of 1,000 pairs drawn from
    the test set with a fixed seed (Table 13). Scored by the mean reciprocal rank.
    """

    metadata = task_metadata("codesearchnet", "Retrieval", CODE_DATASET, "main", "mrr_at_1000", "eng-Latn")

    def __init__(self, language: str, setting: str, path: str = CODE_DATASET, **named: Any):
        self.language, self.setting = language, setting
        name = f"CodeSearchNet-{setting}-{language}"
        self.metadata = task_metadata(name, "Retrieval", path, "main", "mrr_at_1000", "eng-Latn")
        super().__init__(**named)

    def load_data(self, *arguments: Any, **named: Any) -> None:
        if self.data_loaded:
            return
        splits = [
            datasets.load_dataset(self.metadata.dataset["path"], self.language, split=split)
            for split in ("test", "validation")
        ]
        pairs = [(row["func_documentation_string"], row["func_code_string"]) for row in splits[0]]
        others = [row["func_code_string"] for row in splits[1]]
        if self.setting == "1k":
            pairs, others = random.Random(0).sample(pairs, min(FEW_CODES, len(pairs))), []
        codes = list(dict.fromkeys([code for _, code in pairs] + others))
        number = {code: str(i) for i, code in enumerate(codes)}
        relevant: dict[str, dict[str, int]] = {}
        for docstring, code in pairs:
            relevant.setdefault(docstring, {})[number[code]] = 1
        queries = {f"q{i}": docstring for i, docstring in enumerate(relevant)}
        self.set_texts(
            {number[code]: code for code in codes},
            queries,
            {query: relevant[docstring] for query, docstring in queries.items()},
        )


class SentimentByLabels(Described, AbsTaskZeroShotClassification):
    """SST-2 without training: choose the label whose text is closest to the sentence (section 4.1)."""

    metadata = task_metadata("sst2", "ZeroShotClassification", SST2_DATASET, "main", "accuracy", "eng-Latn")
    input_column_name = "sentence"
    label_column_name = "label"

    def __init__(self, kind: str, path: str = SST2_DATASET, **named: Any):
        self.template = SST2_LABELS[kind]
        name = f"SST2-{kind}"
        self.metadata = task_metadata(name, "ZeroShotClassification", path, "main", "accuracy", "eng-Latn")
        super().__init__(**named)

    def load_data(self, *arguments: Any, **named: Any) -> None:
        if self.data_loaded:
            return
        # The labels of the test set were never published.
        rows = datasets.load_dataset(self.metadata.dataset["path"], split="validation")
        self.dataset = datasets.DatasetDict({"test": rows})
        self.data_loaded = True

    def get_candidate_labels(self) -> list[str]:
        return [self.template.format(label) for label in ("negative", "positive")]
