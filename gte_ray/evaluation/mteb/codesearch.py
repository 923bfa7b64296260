"""CodeSearchNet (1909.09436) as the paper scores it (Tables 7 and 13)."""

import random
from typing import Any

import datasets

from gte_ray.evaluation.mteb.own import OwnRetrieval, Texts, task_metadata

CODE_SETTINGS = ("all", "1k")
FEW_CODES = 1_000
"""Candidates of the small setting (Table 13)."""
DRAWS = 5
"""Times that they are drawn: the score is the mean."""
ALL_CODE = ("code-search-net/code_search_net", "bd0cf261e357a3eb5c8fba490d23ec1a1cd59555")
"""Data set and revision of all functions."""
FILTERED_CODE = ("google/code_x_glue_ct_code_to_text", "2678080e78a4b20ad79d1f0a514f04d815912564")
"""Data set and revision of those whose docstrings passed the filter of GraphCodeBERT (2009.08366): in English, of 3 to 256
tokens, without tags and links."""


class CodeSearch(OwnRetrieval):
    """CodeSearchNet in one language: find the function for a docstring. Scored by the mean reciprocal rank.

    In the setting `all` queries are the docstrings of the filtered test set, and candidates all functions of the validation
    and test sets, filtered or not (Table 7). In `1k` both are 1,000 pairs of the test set as it was published (Table 13),
    drawn `DRAWS` times with fixed seeds, each a subset of the task.
    """

    metadata = task_metadata("codesearchnet", "Retrieval", *ALL_CODE, "mrr_at_1000")

    def __init__(
        self,
        language: str,
        setting: str,
        path: str = ALL_CODE[0],
        filtered: str = FILTERED_CODE[0],
        **named: Any,
    ):
        self.language, self.setting, self.filtered = language, setting, filtered
        name = f"CodeSearchNet-{setting}-{language}"
        revision = f"{ALL_CODE[1]}-{FILTERED_CODE[1][:7]}" if setting == "all" else f"{ALL_CODE[1]}-{DRAWS}"
        subsets = () if setting == "all" else tuple(f"draw-{number}" for number in range(1, DRAWS + 1))
        self.metadata = task_metadata(name, "Retrieval", path, revision, "mrr_at_1000", subsets=subsets)
        super().__init__(**named)
        self.drawn = setting == "1k"

    def load_data(self, *arguments: Any, **named: Any) -> None:
        if self.data_loaded:
            return
        pairs = self._pairs("test")
        if self.setting == "1k":
            few = min(FEW_CODES, len(pairs))
            drawn = [random.Random(seed).sample(pairs, few) for seed in range(DRAWS)]
            self.set_texts({f"draw-{number}": _texts(those, []) for number, those in enumerate(drawn, 1)})
            return
        rows = datasets.load_dataset(self.filtered, self.language, split="test", revision=FILTERED_CODE[1])
        others = [code for _, code in pairs + self._pairs("validation")]
        self.set_texts({"default": _texts([(row["docstring"], row["code"]) for row in rows], others)})

    def _pairs(self, split: str) -> list[tuple[str, str]]:
        """Docstrings and functions."""
        path = self.metadata.dataset["path"]
        rows = datasets.load_dataset(path, self.language, split=split, revision=ALL_CODE[1])
        return [(row["func_documentation_string"], row["func_code_string"]) for row in rows]


def _texts(pairs: list[tuple[str, str]], others: list[str]) -> Texts:
    """Different docstrings, each with its functions, among these and `others`."""
    codes = list(dict.fromkeys([code for _, code in pairs] + others))
    number = {code: str(i) for i, code in enumerate(codes)}
    relevant: dict[str, dict[str, int]] = {}
    for docstring, code in pairs:
        relevant.setdefault(docstring, {})[number[code]] = 1
    queries = {f"q{i}": docstring for i, docstring in enumerate(relevant)}
    return Texts(
        {number[code]: code for code in codes},
        queries,
        {query: relevant[docstring] for query, docstring in queries.items()},
    )
