"""Raw sources to a pair store: exact de-duplication, global shuffle and held-out split in one external sort.

A first pass over the input writes runs of pairs sorted by their hash; a second merges each range of hashes
from all runs into one part. Equal pairs meet in one range, so they are found, and ascending hash order is the
shuffle. Both passes are Ray Data over units of bounded size, those of all sources in one go, so memory does not
grow with the input. (Ray Data's own hash repartition holds all rows in its aggregators until the last one has
come.) Each unit is recorded when it is done, and the same command after a kill or a full disk does only those
that are not.

Nothing is visible before the manifest, which is written last; a finished source has a `source.json`, and is
not done again while its input stays as it is. Folders that the manifest names are never written to while it
names them: changed pairs go to a folder of another name, and the old one is deleted after the new manifest.
"""

import errno
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from gte_ray.data.add_ids import add_ids
from gte_ray.data.benchmarks import delete_others, gather
from gte_ray.data.finished import FinishedSources, of_input, of_pairs, write_manifest
from gte_ray.data.ids import Ids, Report, Tokenization, first_texts, tokenization
from gte_ray.data.inputs import Input, choose_split, fingerprint, list_input, prepared_again, staying_sources
from gte_ray.data.journal import scratch_folder
from gte_ray.data.manifest import SOURCE_FILE, Manifest, SourceInfo
from gte_ray.data.sort import PartSize
from gte_ray.data.sorted_source import SortedSource
from gte_ray.data.split import Split
from gte_ray.data.store import Store, open_store
from gte_ray.data.two_passes import merge_sources, sort_sources
from gte_ray.errors import RunError, UsageError
from gte_ray.readers.spec import SourceSpec
from gte_ray.runtime import storage

PART_ROWS = 131_072
"""Most pairs of a part, on average: what a task of the second pass holds in memory."""
PART_BYTES = 2**29
"""The same in bytes, which counts where pairs have many negatives."""


def prepare(
    uri: str,
    sources: Sequence[SourceSpec],
    *,
    seed: int | None = None,
    held_out_share: float | None = None,
    held_out_rows: int | None = None,
    held_out_documents: bool | None = None,
    ids: Ids | None = None,
    remove: Sequence[str] = (),
    decontaminate: Sequence[str] | None = None,
    report: Report = lambda phase, pairs: None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Store:
    """Prepares `sources` into the store at `uri`; those that are finished are not done again.

    `seed` and what is held out are as in the store where they are None, and as in `Split` for a new one. Other
    sources that the store has stay in it, but for those that `remove` names. With `ids` the store holds token
    ids too; without, a source that is added gets ids by the tokenizer that the others have. Pairs that are in the
    benchmarks at `decontaminate` are left out, none if it is empty, and if it is None those as before. What changed of a
    source that is prepared again is told in a sentence.

    Ray must be initialised. Raises UsageError for settings out of range, RunError for input that cannot be
    read, with the file's name, for a source without a pair, and for a full disk; what was finished stays.
    """
    names = _names(sources, remove)
    storage.check_reachable(uri)
    split = choose_split(
        uri,
        seed=seed,
        held_out_share=held_out_share,
        held_out_rows=held_out_rows,
        held_out_documents=held_out_documents,
        benchmarks=None if decontaminate is None else _benchmarks(uri, decontaminate, report),
    )
    staying_sources(uri, names, remove, split)  # what cannot be is told before the work
    with _full_disk_in_one_sentence(uri):
        earlier = FinishedSources(uri)  # all input is looked at before the first source is begun
        inputs = [list_input(earlier, source, split) for source in sources]
        prepared_again(uri, inputs, tell)
        staying = staying_sources(uri, names, remove, split)
        manifest = _prepare_sources(uri, inputs, staying, split, ids, report)
        write_manifest(uri, manifest, remove)
        delete_others(uri, split.benchmarks)
    return open_store(uri)


def _names(sources: Sequence[SourceSpec], remove: Sequence[str]) -> list[str]:
    """Raises UsageError if two sources have one name, or if there is nothing to do."""
    names = Counter(source.name for source in sources)
    twice = [name for name, count in names.items() if count > 1]
    if twice or not (sources or remove):
        raise UsageError(
            f"--source: {'name given twice: ' + twice[0] if twice else 'at least one is needed'}"
        )
    return list(names)


def unfinished(uri: str, sources: Sequence[SourceSpec], split: Split) -> list[SourceSpec]:
    """Those of `sources`, all with stamps, that an earlier call of prepare did not finish."""
    earlier = FinishedSources(uri)
    return [
        source
        for source in sources
        if earlier.source(source.name, of_input(fingerprint(source, [], split))) is None
    ]


@contextmanager
def _full_disk_in_one_sentence(uri: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunError(
            f"{uri}: no space is left on the device; finished sources are kept, and the same command goes on"
        ) from error


def _prepare_sources(
    uri: str,
    inputs: Sequence[Input],
    staying: Sequence[SourceInfo],
    split: Split,
    ids: Ids | None,
    report: Report,
) -> Manifest:
    """Sorts and merges those of the `inputs` that are not finished; the manifest with all sources."""
    infos = {info.name: info for listed in inputs for info in listed.finished}
    size = PartSize(PART_ROWS, PART_BYTES)
    sorted_sources = sort_sources(
        uri, [listed for listed in inputs if not listed.finished], split, size, report
    )
    given = {listed.source.name: [info.name for info in listed.finished] for listed in inputs}
    for source in sorted_sources:
        given[source.listed.source.name].append(source.name)
    names = [name for parts in given.values() for name in parts]
    _refuse_twice([*(info.name for info in staying), *names])
    earlier = FinishedSources(uri)
    unfinished = Counter(source.listed.source.name for source in sorted_sources)
    for source in sorted_sources:
        # Files may change in time and name and hold the same pairs.
        info = earlier.source(source.name, of_pairs(source.pairs))
        if info is not None:
            infos[source.name] = finish_store(uri, source, info, unfinished)
    waiting = [source for source in sorted_sources if source.name not in infos]
    present = Store(uri, Manifest(**asdict(split), sources=(*staying, *infos.values())))
    wanted = _wanted(present, waiting, staying, ids, names, report)
    for source, info in merge_sources(uri, waiting, size, wanted, report):
        infos[source.name] = finish_store(uri, source, info, unfinished)
    manifest = Manifest(**asdict(split), sources=(*staying, *(infos[name] for name in names)))
    return manifest if wanted is None else add_ids(Store(uri, manifest), wanted, report)


def _wanted(
    present: Store,
    waiting: Sequence[SortedSource],
    staying: Sequence[SourceInfo],
    ids: Ids | None,
    names: Sequence[str],
    report: Report,
) -> Tokenization | None:
    """Which token ids all sources are to have; None to leave them as they are."""
    sources = {source.name: source for source in present.manifest.sources}
    if ids is None:
        known = [source.tokenizer for source in staying if source.tokenizer]
        if not known or not (waiting or any(sources[name].tokenizer is None for name in names)):
            return None
        ids = Ids(stored=known[0])
    common = None if waiting else present.manifest.tokenizer
    if (
        ids.vocabulary
        and common
        and (common.vocabulary, common.max_length) == (ids.vocabulary, ids.max_length)
    ):
        return None

    def texts() -> list[str]:
        later = {source.name: source for source in waiting}
        order = dict.fromkeys([*(source.name for source in staying), *names])
        return [
            text
            for name in order
            for text in (later[name].first_texts() if name in later else first_texts(present, sources[name]))
        ]

    return tokenization(present.uri, ids, texts, report)


def _benchmarks(uri: str, paths: Sequence[str], report: Report) -> str:
    """What identifies the texts of benchmarks, which the store then has; empty for none."""
    return gather(uri, paths, report) if paths else ""


def _refuse_twice(names: Sequence[str]) -> None:
    """Raises UsageError if a source that another is split into has the name of a third."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UsageError(f"split_by gives a source {twice[0]}, which there is already; rename one of the two")


def finish_store(uri: str, source: SortedSource, info: SourceInfo, unfinished: Counter[str]) -> SourceInfo:
    """Records a source as finished, and deletes its runs with the last one of those that it was split into."""
    info = source.described(info)
    storage.write_json(storage.join(uri, info.folder, SOURCE_FILE), asdict(info))
    given = source.listed.source.name
    unfinished[given] -= 1
    if not unfinished[given]:
        storage.delete(scratch_folder(uri, given))
    return info
