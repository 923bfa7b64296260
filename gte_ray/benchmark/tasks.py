"""Benchmarks as lists of tasks: mteb's own, and those of the paper that it does not have as the paper has them."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import mteb
from mteb.abstasks import AbsTaskRetrieval
from mteb.abstasks.abstask import AbsTask
from mteb.abstasks.task_metadata import TaskMetadata
from mteb.abstasks.zeroshot_classification import AbsTaskZeroShotClassification

from gte_ray import storage
from gte_ray.benchmark.paper import BEIR, BEIR_TASKS, CODESEARCHNET, LANGUAGES, MTEB, SST2, PaperRow
from gte_ray.data.sort import digest
from gte_ray.errors import UsageError

CODE_SETTINGS = ("all", "1k")
FEW_CODES = 1_000
"""Candidates of the small setting of CodeSearchNet (Table 13)."""
CODE_DATASET = "code-search-net/code_search_net"
SST2_DATASET = "stanfordnlp/sst2"
SST2_LABELS = {"plain": "{}", "prompted": "this is an example of {} movie review"}
"""How a label becomes a text (section 4.1)."""


@dataclass(frozen=True)
class Benchmark:
    """A named list of tasks, and what the paper has to show for it."""

    name: str
    tasks: tuple[AbsTask, ...]
    metrics: tuple[str, ...] = ()
    """Further metrics beside each task's main score, by mteb's names."""
    paper: tuple[PaperRow, ...] = ()
    by_category: bool = False
    """Whether the table has a column for each of mteb's categories instead of a row for each task."""


def benchmark(name: str) -> Benchmark:
    """The benchmark of that name, or that of a folder in BEIR's layout; UsageError where there is none."""
    if name in BENCHMARKS:
        return BENCHMARKS[name]()
    folder = Path(name)
    if (folder / "corpus.jsonl").is_file():
        return Benchmark(folder.name, (FolderRetrieval(folder),), ("recall_at_100",))
    raise UsageError(
        f"--benchmark is {name!r}; allowed are heldout, {', '.join(BENCHMARKS)}, or a folder with corpus.jsonl, "
        "queries.jsonl and qrels/test.tsv"
    )


def _mteb() -> Benchmark:
    tasks = tuple(mteb.get_benchmark("MTEB(eng, v1)").tasks)
    return Benchmark("mteb-en", tasks, paper=MTEB, by_category=True)


def _beir() -> Benchmark:
    found = {task.metadata.name: task for task in mteb.get_benchmark("BEIR").tasks}
    return Benchmark("beir", tuple(found[name] for name in BEIR_TASKS), ("recall_at_100",), BEIR)


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


def _metadata(name: str, kind: Any, path: str, revision: str, main_score: str, language: str) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        description=name,
        dataset={"path": path, "revision": revision},
        type=kind,
        category="t2t",
        eval_splits=["test"],
        eval_langs=[language],
        main_score=main_score,
    )


class _Described(AbsTask):
    """A task whose object, not its class, says what it is. mteb forgets that when it unloads the data."""

    def unload_data(self) -> None:
        metadata = self.metadata
        super().unload_data()
        self.metadata = metadata


class _OwnRetrieval(_Described, AbsTaskRetrieval):
    """A retrieval task of texts that are at hand."""

    def _set(
        self, corpus: dict[str, str], queries: dict[str, str], relevant: dict[str, dict[str, int]]
    ) -> None:
        def rows(texts: dict[str, str]) -> datasets.Dataset:
            return datasets.Dataset.from_dict({"id": list(texts), "text": list(texts.values())})

        split = {
            "corpus": rows(corpus),
            "queries": rows(queries),
            "relevant_docs": relevant,
            "top_ranked": None,
        }
        self.dataset = {"default": {"test": split}}  # type: ignore[dict-item]
        self.data_loaded = True


class FolderRetrieval(_OwnRetrieval):
    """A folder in BEIR's layout: corpus.jsonl, queries.jsonl (`_id`, `title`, `text`), qrels/test.tsv."""

    metadata = _metadata("folder", "Retrieval", "folder", "0", "ndcg_at_10", "eng-Latn")

    def __init__(self, folder: Path, **named: Any):
        files = [str(folder / name) for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")]
        missing = [file for file in files if not Path(file).is_file()]
        if missing:
            raise UsageError(f"{missing[0]}: missing from a benchmark in BEIR's layout")
        self.folder = folder
        revision = digest(storage.stamps(files))
        self.metadata = _metadata(folder.name, "Retrieval", str(folder), revision, "ndcg_at_10", "eng-Latn")
        super().__init__(**named)

    def load_data(self, *arguments: Any, **named: Any) -> None:
        if self.data_loaded:
            return
        relevant: dict[str, dict[str, int]] = {}
        for line in (self.folder / "qrels/test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
            query, document, score = line.split("\t")
            relevant.setdefault(query, {})[document] = int(score)
        queries = self._read("queries.jsonl")
        self._set(self._read("corpus.jsonl"), {query: queries[query] for query in relevant}, relevant)

    def _read(self, name: str) -> dict[str, str]:
        texts = {}
        with (self.folder / name).open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                texts[row["_id"]] = f"{row.get('title') or ''} {row['text']}".strip()
        return texts


class CodeSearch(_OwnRetrieval):
    """CodeSearchNet: the function for a docstring of the test set, in one language.

    Candidates are all functions of the validation and test sets (Table 7), or those of 1,000 pairs that are
    drawn from the test set with a fixed seed (Table 13). Scored by the mean reciprocal rank.
    """

    metadata = _metadata("codesearchnet", "Retrieval", CODE_DATASET, "main", "mrr_at_1000", "eng-Latn")

    def __init__(self, language: str, setting: str, path: str = CODE_DATASET, **named: Any):
        self.language, self.setting = language, setting
        name = f"CodeSearchNet-{setting}-{language}"
        self.metadata = _metadata(name, "Retrieval", path, "main", "mrr_at_1000", "eng-Latn")
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
        self._set(
            {number[code]: code for code in codes},
            queries,
            {query: relevant[docstring] for query, docstring in queries.items()},
        )


class SentimentByLabels(_Described, AbsTaskZeroShotClassification):
    """SST-2 without training: the label whose text is closest to the sentence (section 4.1)."""

    metadata = _metadata("sst2", "ZeroShotClassification", SST2_DATASET, "main", "accuracy", "eng-Latn")
    input_column_name = "sentence"
    label_column_name = "label"

    def __init__(self, kind: str, path: str = SST2_DATASET, **named: Any):
        self.template = SST2_LABELS[kind]
        name = f"SST2-{kind}"
        self.metadata = _metadata(name, "ZeroShotClassification", path, "main", "accuracy", "eng-Latn")
        super().__init__(**named)

    def load_data(self, *arguments: Any, **named: Any) -> None:
        if self.data_loaded:
            return
        # The labels of its test set were never published.
        rows = datasets.load_dataset(self.metadata.dataset["path"], split="validation")
        self.dataset = datasets.DatasetDict({"test": rows})
        self.data_loaded = True

    def get_candidate_labels(self) -> list[str]:
        return [self.template.format(label) for label in ("negative", "positive")]
