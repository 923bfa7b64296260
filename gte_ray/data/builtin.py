"""The built-in corpus: real text pairs available on every machine with gte_ray.

They are extracted from the standard library and the installed distributions, whose code is parsed but never
imported. The same environment gives the same pairs.
"""

import hashlib
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from gte_ray.data import builtin_text
from gte_ray.data.builtin_text import SourcePair, distribution_pairs, file_pairs, topic_pairs
from gte_ray.data.hashing import digest
from gte_ray.data.ids import Ids, Report
from gte_ray.data.prepare_store import prepare, unfinished
from gte_ray.data.split import Split
from gte_ray.data.step_plan import ROW_GROUP_ROWS
from gte_ray.data.store import Store
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime import storage
from gte_ray.runtime.parquet import write_parquet
from gte_ray.runtime.pool import run_tasks

TASK_OF = {
    "functions": "code",
    "comments": "code",
    "docstrings": "web-page",
    "readmes": "web-page",
    "names": "knowledge-base",
    "parameters": "knowledge-base",
    "packages": "knowledge-base",
    "references": "hyperlink",
    "help": "others",
}
"""The closest task type of Table 1 for each source."""
BUILTIN_HELD_OUT_SHARE = 0.05
"""Share of the queries held out for evaluation. It is large because the sources are small."""
OWN_PACKAGE = "gte_ray"
"""Left out, so that a change to this project does not change its corpus."""
PACKAGE_FILES = 50
"""Maximum number of files per package, so that the largest packages do not dominate."""
TASK_FILES = 150
"""Files read by one task."""
LARGEST_FILE = 400_000
"""Size in bytes above which a file is assumed to be generated, and is skipped."""


class _Job(NamedTuple):
    """What one task reads."""

    number: int
    files: tuple[str, ...] | None
    """Python files; None for the metadata of the installed packages."""


def prepare_builtin(
    uri: str, ids: Ids | None, report: Report, seed: int = 0, held_out_share: float = BUILTIN_HELD_OUT_SHARE
) -> Store:
    """Extracts the built-in corpus and prepares it into the store at `uri`, unless that is already done.

    Ray must be initialised. Raises the errors of `prepare`.
    """
    raw = storage.join(uri, ".builtin")
    stamp = environment_stamp()
    sources = [
        SourceSpec(name, storage.join(raw, f"{name}-*.parquet"), task, stamp=stamp)
        for name, task in TASK_OF.items()
    ]
    split = Split(seed, held_out_share)
    if unfinished(uri, sources, split):
        storage.delete(raw)
        files = [file for group in package_files() for file in group]
        shares = [None, *(tuple(files[i : i + TASK_FILES]) for i in range(0, len(files), TASK_FILES))]
        jobs = [_Job(number, share) for number, share in enumerate(shares)]
        for pairs in run_tasks(jobs, partial(_extract, folder=raw)):
            report("reading installed packages", pairs)
    store = prepare(uri, sources, **split.identity, ids=ids, report=report)
    storage.delete(raw)
    return store


def environment_stamp() -> str:
    """16 hex digits of all that determines the corpus: Python, the packages, and the code that reads them."""
    packages = sorted({(d.metadata["Name"], d.version) for d in distributions()})
    code = [hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in (__file__, builtin_text.__file__)]
    return digest(sys.version, packages, code)


def package_files() -> list[list[str]]:
    """Python files of the standard library and of each installed package, one list each, in a fixed order."""
    groups: dict[str, set[Path]] = defaultdict(set)
    library = Path(sysconfig.get_paths()["stdlib"])
    groups["python"] = {path for path in library.rglob("*.py") if "site-packages" not in path.parts}
    for distribution in distributions():
        for file in distribution.files or ():
            if file.suffix == ".py" and ".." not in file.parts:
                groups[file.parts[0]].add(Path(str(distribution.locate_file(file))))
    groups.pop(OWN_PACKAGE, None)
    chosen = []
    for name in sorted(groups):
        files = sorted(str(path) for path in groups[name] if not _is_test(path))
        # Ordered by a hash of the path inside the environment, so that every machine picks the same files.
        files.sort(key=lambda path: hashlib.blake2b(_inner_path(path).encode(), digest_size=8).digest())
        chosen.append(sorted(files[:PACKAGE_FILES]))
    return [files for files in chosen if files]


def _is_test(path: Path) -> bool:
    return any(part in ("test", "tests", "testing", "idlelib") for part in path.parts[-5:]) or (
        path.name.startswith("test_")
    )


def _inner_path(path: str) -> str:
    """The path without its prefix, which differs between machines with the same packages."""
    return path.split("site-packages/")[-1].split("/lib/python")[-1]


def _extract(job: _Job, folder: str) -> Iterator[int]:
    """Writes the pairs of a job, a file for each source; how many there were."""
    pairs: dict[str, list[SourcePair]] = defaultdict(list)
    for pair in metadata_pairs() if job.files is None else _code_pairs(job.files):
        pairs[pair.source].append(pair)
    for source, source_pairs in pairs.items():
        columns = {
            "query": pa.array([pair.query for pair in source_pairs], pa.large_string()),
            "document": pa.array([pair.document for pair in source_pairs], pa.large_string()),
        }
        path = storage.join(folder, f"{source}-{job.number:05}.parquet")
        write_parquet(pa.table(columns), path, ROW_GROUP_ROWS)
    yield sum(map(len, pairs.values()))


def metadata_pairs() -> Iterator[SourcePair]:
    for distribution in sorted(distributions(), key=lambda d: d.metadata["Name"]):
        if distribution.metadata["Name"].replace("-", "_") != OWN_PACKAGE:
            yield from distribution_pairs(distribution)
    yield from topic_pairs()


def _code_pairs(files: Sequence[str]) -> Iterator[SourcePair]:
    for name in files:
        path = Path(name)
        if path.is_file() and path.stat().st_size <= LARGEST_FILE:
            yield from file_pairs(path.read_text(encoding="utf-8", errors="replace"))
