"""What is recorded of a pair store: its sources, their parts, and how they were made."""

from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from itertools import accumulate
from typing import Any

from gte_ray.data.split import Split

STORE_VERSION = 1
ITS_FILES = "its files"
"""The teacher of a source whose scores came with its pairs."""
MANIFEST = "manifest.json"
SOURCE_FILE = "source.json"
"""Record in the folder of a source, written once all its parts are complete."""


@dataclass(frozen=True)
class Part:
    path: str
    """Relative to the store."""
    rows: int
    bytes: int


@dataclass(frozen=True)
class TokenizerInfo:
    """Which tokenizer made the token ids in the store."""

    fingerprint: str
    max_length: int
    """Maximum tokens of a text in the stored ids, special tokens included."""
    vocabulary: int
    """Entries requested when it was trained on the store; 0 for a tokenizer from elsewhere."""

    @property
    def folder(self) -> str:
        """Relative to the store."""
        return f"tokenizer-{self.fingerprint}"


@dataclass(frozen=True)
class SourceInfo:
    """One source in the manifest."""

    name: str
    task: str
    rows: int
    """Pairs to train on."""
    held_out: int
    """Pairs set aside for evaluation."""
    read: int
    """Pairs read from the input, dropped ones included."""
    dropped: dict[str, int]
    """Number of dropped pairs, by reason."""
    reader: str
    """The layout in which the input was read."""
    input_fingerprint: str
    """Identifies the input files and all settings that shape the output."""
    content: str
    """Digest of the pairs alone: equal for equal pairs."""
    parts: tuple[Part, ...]
    held_out_parts: tuple[Part, ...]
    tokenizer: TokenizerInfo | None = None
    """Tokenizer of the columns `query_ids`, `document_ids` and `negative_ids`; None if there are none."""
    negatives: int = 0
    """Number of hard negatives of all pairs to train on."""
    teacher: str = ""
    """What gave the scores in the columns `score` and `negative_scores`; empty if there are none."""
    input_pairs: str = ""
    """Digest of the pairs and scores as they were read, duplicates included, the seed and the held-out share."""
    skipped_files: dict[str, int] = field(default_factory=dict)
    """Number of files of other formats that matched the pattern, by file name suffix."""
    unused: dict[str, int] = field(default_factory=dict)
    """Number of rows with each of the input columns that were not read."""
    lost_negatives: dict[str, int] = field(default_factory=dict)
    """Number of hard negatives left out, by reason."""
    shared_documents: int = 0
    """Number of pairs to train on whose document a held-out pair has too."""
    split_of: str = ""
    """The source as it was given, of which this is the part with one value; empty if it is not split."""
    siblings: int = 0
    """Number of sources that it was split into."""
    settings: dict[str, Any] = field(default_factory=dict)
    """How it was read, to tell what changed: its settings, those of the split, and a digest of its files."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - a newer version's source is prepared again

    @property
    def folder(self) -> str:
        """Relative to the store."""
        return self.parts[0].path.split("/")[0]

    @property
    def bytes(self) -> int:
        return sum(part.bytes for part in self.parts)

    @cached_property
    def ends(self) -> list[int]:
        """Number of rows up to the end of each part, first in the source's order."""
        return list(accumulate(part.rows for part in self.parts))


@dataclass(frozen=True)
class Manifest:
    seed: int
    held_out_share: float
    sources: tuple[SourceInfo, ...]
    version: int = STORE_VERSION
    held_out_rows: int = 0
    held_out_documents: bool = False
    benchmarks: str = ""

    @property
    def split(self) -> Split:
        return Split(**{field.name: getattr(self, field.name) for field in fields(Split)})

    @property
    def tokenizer(self) -> TokenizerInfo | None:
        """The tokenizer whose ids all sources have; None if there is no common one."""
        tokenizers = {source.tokenizer for source in self.sources}
        return tokenizers.pop() if len(tokenizers) == 1 else None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)
