"""python -m gte_ray.evaluate: scores embedding models on a benchmark (paper, section 4)."""

import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import tyro

from gte_ray.cli.console import plain_console, print_mlflow, run_command
from gte_ray.cli.flags import BUILTIN_STORE
from gte_ray.cli.model_flags import FlatModelFlags, ModelFlags
from gte_ray.errors import RunError, UsageError
from gte_ray.evaluation.benchmark_names import HELD_OUT, load_benchmark, resolved
from gte_ray.runtime import storage
from gte_ray.runtime.cluster import until_interrupted, want_ray

if TYPE_CHECKING:
    from gte_ray.evaluation.mteb.benchmarks import Benchmark
    from gte_ray.evaluation.scoreboard import Scoreboard
    from gte_ray.evaluation.task_results import OnResult, TaskResult


@dataclass(frozen=True)
class Arguments:
    """Scores models on a benchmark and shows the paper's scores beside them. Tasks that were scored before are
    not scored again."""

    models: tyro.conf.Positional[tuple[str, ...]]
    """Folders of models, folders at URIs, Hugging Face ids, or bm25."""
    benchmark: str = HELD_OUT
    """heldout (the held-out pairs of --store), mteb-en (56 tasks, Table 6), beir (Table 5), codesearchnet (Tables 7
    and 13), sst2 (Table 4), mteb-en-v2, mteb-multilingual, mteb-code, longembed, any benchmark or task of mteb by its
    name, or a folder in BEIR's layout; ./beir is a folder of that name."""
    store: str = BUILTIN_STORE
    """Pair store of heldout."""
    limit: int = 1_000
    """Most held-out pairs of a source."""
    output: str = "evaluations"
    """Folder or URI where results are kept."""
    computing: FlatModelFlags = ModelFlags()
    max_length: int = 0
    """Tokens at which texts are cut; 0 for where each model's folder says. MTEB takes 512."""
    dimensions: int = 0
    """First dimensions of each vector that are compared; 0 for all."""
    micro_batch_tokens: int = 16_384
    """Tokens per forward pass."""
    tracking_uri: str = field(
        default_factory=lambda: os.environ.get("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    )
    """MLflow tracking server or database."""
    experiment: str = "gte_ray evaluation"
    """MLflow experiment."""
    verbose: bool = False
    """Show Ray's logs."""


def main() -> None:
    arguments = tyro.cli(Arguments, prog="python -m gte_ray.evaluate")
    arguments.computing.check()
    for name in ("micro_batch_tokens", "limit"):
        if getattr(arguments, name) < 1:
            raise UsageError(
                f"--{name.replace('_', '-')} is {getattr(arguments, name)}; allowed is at least 1"
            )
    for name, of in (("max_length", "tokens"), ("dimensions", "first dimensions")):
        if getattr(arguments, name) < 0:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is {getattr(arguments, name)}; allowed is a number of {of}, or 0")
    if not arguments.models:
        raise UsageError("at least one model is needed")
    from gte_ray.retrieval.bm25 import BM25

    models = tuple(storage.absolute_folder(model, BM25) for model in arguments.models)
    arguments = replace(
        arguments,
        models=models,
        benchmark=resolved(arguments.benchmark),
        store=storage.absolute(arguments.store),
    )
    benchmark = _benchmark(arguments)
    _check(arguments)
    want_ray(arguments.computing.cpus, arguments.verbose)
    until_interrupted(lambda interruption: _evaluate(arguments, benchmark))


def _check(arguments: Arguments) -> None:
    """Prints warnings about the models. Raises RunError if one of them cannot be scored."""
    from gte_ray.model.load import check_model
    from gte_ray.retrieval.bm25 import BM25

    console = plain_console()
    for model in dict.fromkeys(arguments.models):
        if model == BM25:
            continue
        for note in check_model(
            model, arguments.max_length, arguments.dimensions, arguments.computing.prompts
        ):
            console.print(f"warning: {note}", style="yellow", soft_wrap=True)


def _benchmark(arguments: Arguments) -> "Benchmark | None":
    """The benchmark, or None for the held-out pairs. Raises RunError or UsageError if it does not exist."""
    if arguments.benchmark == HELD_OUT:
        from gte_ray.data.store import open_store

        open_store(arguments.store)
        return None
    return load_benchmark("--benchmark", arguments.benchmark, check=True)


def _evaluate(arguments: Arguments, benchmark: "Benchmark | None") -> None:
    from gte_ray.cli.tables import benchmark_table, comparison_table
    from gte_ray.evaluation.compare import compare
    from gte_ray.evaluation.scoreboard import labels
    from gte_ray.report.benchmark import Benchmarked, record

    console, short = plain_console(), labels(arguments.models)

    def on_result(result: "TaskResult", cached: bool) -> None:
        label = short[result.model]
        if result.error:
            console.print(f"{label}  {result.error}", style="yellow", soft_wrap=True)
        elif not cached:
            console.print(f"{label}  {result.task}  {100 * result.scores['main']:.1f}")

    for note in benchmark.notes if benchmark is not None else ():
        console.print(f"note: {note}", style="yellow", markup=False, soft_wrap=True)
    results, boards = _score(arguments, benchmark, on_result)
    for board in boards:
        console.print(benchmark_table(board))
    comparisons = compare(boards[0].name, results)
    for comparison in comparisons:
        if comparison.rows:
            console.print(comparison_table(comparison))
        if comparison.note:
            console.print(f"note: {comparison.note}", markup=False, soft_wrap=True)
    benchmarked = Benchmarked(
        arguments.benchmark,
        arguments.store,
        arguments.models,
        tuple(results),
        tuple(boards),
        tuple(comparisons),
    )
    unwritten = record(benchmarked, arguments.tracking_uri, arguments.experiment)
    if unwritten:
        console.print(f"warning: {unwritten}", style="yellow")
    print_mlflow(console, arguments.tracking_uri)
    failed = [result for result in results if result.error]
    if failed:
        raise RunError(f"{len(failed)} of {len(results)} tasks could not be scored")


def _score(
    arguments: Arguments, benchmark: "Benchmark | None", on_result: "OnResult"
) -> "tuple[list[TaskResult], list[Scoreboard]]":
    """All results, and a scoreboard for each metric."""
    from gte_ray.evaluation.scoreboard import scoreboard
    from gte_ray.evaluation.task_results import SPREAD, Scoring

    pool = arguments.computing.pool()
    output = storage.absolute(arguments.output)
    scoring = Scoring(
        arguments.benchmark,
        output,
        pool,
        arguments.micro_batch_tokens,
        arguments.max_length,
        arguments.dimensions,
        arguments.computing.prompts,
    )
    cut = f", texts of up to {arguments.max_length} tokens" if arguments.max_length else ""
    cut += f", {arguments.dimensions} dimensions" if arguments.dimensions else ""
    cut += f", {arguments.computing.prompts.in_words()}" if arguments.computing.prompts else ""
    if benchmark is None:
        from gte_ray.evaluation.heldout_benchmark import HeldOutScoring, score_held_out

        held_out = HeldOutScoring(arguments.store, arguments.limit, scoring)
        results = score_held_out(held_out, arguments.models, on_result)
        return results, [scoreboard(f"{HELD_OUT}, nDCG@10{cut}", results, "main", (), False)]
    from gte_ray.evaluation.mteb.score import score

    results = score(benchmark, scoring, arguments.models, on_result)
    name = f"{benchmark.name}{cut}"
    boards = [scoreboard(name, results, "main", benchmark.paper, benchmark.by_category)]
    for metric in benchmark.metrics:
        title = f"{benchmark.name}, {metric}{cut}"
        boards.append(scoreboard(title, results, metric, (), benchmark.by_category))
    drawn = [result for result in results if SPREAD in result.scores]
    if drawn:
        title = f"{benchmark.name}, standard deviation over draws{cut}"
        boards.append(scoreboard(title, drawn, SPREAD, (), by_category=False))
    return results, boards


if __name__ == "__main__":
    run_command(main)
