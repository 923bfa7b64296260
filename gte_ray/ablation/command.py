"""The command behind `ablations/run.py`: its flags, its ablation files, and what it prints."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gte_ray.ablation.metric import parse_metrics
from gte_ray.ablation.study import Ablation, baseline
from gte_ray.ablation.terminal import TrialsDisplay
from gte_ray.ablation.trials import to_run
from gte_ray.cli.console import plain_console, print_mlflow
from gte_ray.cli.flags import BUILTIN_STORE, HARD_STORE, WARM_MODEL, FlatConfig, defaults, parse
from gte_ray.cli.progress import clock
from gte_ray.config import Config
from gte_ray.errors import RunError, UsageError
from gte_ray.recipes import for_adapters
from gte_ray.runtime.cluster import Interruption, start_ray, until_interrupted

if TYPE_CHECKING:
    from gte_ray.ablation.report import Report

NOT_ABLATIONS = ("run", "__init__")
TRIAL_SECONDS = 40.0
"""Time of a trial beyond its steps: process start, export and scoring."""
UNKNOWN = ("?", "?")
"""Number of trials and time of an ablation whose store does not exist yet."""


@dataclass(frozen=True)
class Arguments:
    """Repeats a table or figure of the paper: one run for each row, under one run in MLflow."""

    config: FlatConfig
    words: tyro.conf.Positional[tuple[str, ...]] = ()
    """NAME or a Python file: the ablation to run. report NAME: its report again, from MLflow alone."""
    profile: str = "laptop"
    """Size of the runs: laptop (tiny models, built-in corpus), warm (the same, not from random weights but from a language
    model, which gte_ray.warmup makes once), or paper (its models, batches and steps)."""
    seeds: int = 1
    """Runs of each row, with seeds that count up from --seed; 3 or more give a spread to judge by."""
    finetuning_store: str = ""
    """Pair store with hard negatives, for ablations that fine-tune; the laptop profile makes one of the
    built-in corpus."""
    metric: tuple[str, ...] = ()
    """What rows are compared by: heldout (held-out pairs, if not given), or a benchmark on which each row's model is scored
    once it is trained: mteb-en (as in the paper), beir, codesearchnet, sst2, any other that evaluate takes, or a folder in
    BEIR's layout. Of several, each has a table and says whether the claim holds by it; the figure is of the first. Of a
    report, those of the one before if not given."""
    metric_length: int = 0
    """Tokens at which a benchmark's texts are cut; 0 for where each model's folder says. The paper takes 512."""
    list: bool = False
    """Show what there is and exit."""
    verbose: bool = False
    """Show the logs of Ray, DeepSpeed and MLflow. MLflow logs little once its database exists."""


@dataclass(frozen=True)
class _ProfileFlags:
    """The flags that determine the defaults of all others, and those with which no store is read."""

    words: tyro.conf.Positional[tuple[str, ...]] = ()
    profile: str = "laptop"
    store: str = ""
    list: bool = False
    recipe: str = ""
    lora_rank: int | None = None


def main(folder: Path) -> None:
    """Run the command; `folder` holds the ablations."""
    arguments = parse(
        Arguments,
        "python ablations/run.py",
        defaults_of=lambda flags: defaults(flags, _ProfileFlags, _defaults),
    )
    console = plain_console()
    if arguments.list:
        _list(folder, arguments, console)
        return
    if arguments.seeds < 1:
        raise UsageError(f"--seeds is {arguments.seeds}; allowed is at least 1")
    words = arguments.words
    reporting = len(words) == 2 and words[0] == "report"
    if not reporting and len(words) != 1:
        raise UsageError(f"one ablation is needed, or report and one; {_known(folder)}")
    name, ablation = load(words[-1], folder)
    if reporting:
        _report_again(name, ablation, arguments, console)
    else:
        _run(name, ablation, arguments, console)


def load(word: str, folder: Path) -> tuple[str, Ablation]:
    """Return the name and the ablation that `word` names: one in `folder`, or a Python file.

    Raises UsageError if there is none.
    """
    path = Path(word) if word.endswith(".py") else folder / f"{word}.py"
    if not path.is_file() or path.stem in NOT_ABLATIONS:
        raise UsageError(f"there is no ablation {word!r}; {_known(folder)}")
    spec = importlib.util.spec_from_file_location(f"ablation_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    ablation = getattr(module, "ABLATION", None)
    if not isinstance(ablation, Ablation):
        raise UsageError(f"{path}: ABLATION is not defined there, or is not an Ablation")
    return path.stem, ablation


def names(folder: Path) -> list[str]:
    """Return the names of the ablations in a folder."""
    return sorted(path.stem for path in folder.glob("*.py") if path.stem not in NOT_ABLATIONS)


def _known(folder: Path) -> str:
    return f"there are {', '.join(names(folder))}, or give the path of a file"


def _defaults(first: _ProfileFlags) -> Config:
    store = first.store
    if not store:
        reads_none = first.list or first.words[:1] == ("report",)
        if first.profile == "paper" and not reads_none:
            raise UsageError("--profile paper needs --store: the built-in corpus is too small for it")
        store = "STORE" if first.profile == "paper" else BUILTIN_STORE
    return for_adapters(baseline(first.profile, store), first.lora_rank)


def _list(folder: Path, arguments: Arguments, console: Console) -> None:
    table = Table(title=f"ablations, profile {arguments.profile}", title_justify="left", box=SIMPLE_HEAD)
    for column in ("name", "paper", "question", "trials", "time"):
        table.add_column(column, justify="right" if column in ("trials", "time") else "left")
    sizes = []
    for name in names(folder):
        _, ablation = load(name, folder)
        if arguments.profile not in ablation.profiles:
            continue
        sizes.append(_size(name, ablation, arguments))
        table.add_row(name, ablation.title, ablation.question, *sizes[-1])
    console.print(table)
    if UNKNOWN in sizes:
        if arguments.profile != "paper":
            remedy = "the first run makes the built-in one"
        else:
            remedy = "give --store, and --finetuning-store for those that fine-tune"
        console.print(f"Trials and times depend on a store that is not there yet: {remedy}.", soft_wrap=True)


def _size(name: str, ablation: Ablation, arguments: Arguments) -> tuple[str, str]:
    """Return the number of trials, and their forecast time if they run one after another."""
    from gte_ray.ablation.run_study import plan_study
    from gte_ray.runs.forecast import forecast

    try:
        study = plan_study(
            name, ablation, arguments.profile, arguments.config, arguments.seeds,
            _finetuning_store(ablation, arguments),
        )  # fmt: skip
    except (RunError, UsageError):
        return UNKNOWN  # a store does not exist yet
    runs = [trial.run for trial in to_run(study.trials)]
    seconds = [forecast(run.config, run.store, run.plan).seconds + TRIAL_SECONDS for run in runs]
    return str(len(runs)), clock(sum(seconds))


def _report_again(name: str, ablation: Ablation, arguments: Arguments, console: Console) -> None:
    from gte_ray.ablation.results import report_again

    uri = arguments.config.run.tracking_uri
    given = arguments.metric or arguments.metric_length
    metrics = parse_metrics(arguments.metric, arguments.metric_length) if given else ()
    _print(report_again(name, ablation, arguments.profile, uri, metrics), console)


def _run(name: str, ablation: Ablation, arguments: Arguments, console: Console) -> None:
    from gte_ray.ablation.run_study import plan_study, run_study
    from gte_ray.ablation.tune import TRIAL_CPUS
    from gte_ray.cli.progress import ConsoleDisplay
    from gte_ray.cli.stores import ensure_hard_store, ensure_store, ensure_warm_model

    config = arguments.config
    metrics = parse_metrics(arguments.metric, arguments.metric_length)
    if arguments.profile not in ablation.profiles:
        raise UsageError(
            f"--profile is {arguments.profile!r}; allowed for {name} are {', '.join(ablation.profiles)}"
        )
    if config.model.base == WARM_MODEL and config.data.store != BUILTIN_STORE:
        raise UsageError(
            f"--profile {arguments.profile} on a store of one's own needs --model: a folder that "
            f"`python -m gte_ray.warmup --store {config.data.store} --to FOLDER` makes"
        )
    ensure_store(config, console, arguments.verbose)
    ensure_warm_model(config, console)
    finetuning_store = _finetuning_store(ablation, arguments)
    ensure_hard_store(finetuning_store, config, console, arguments.verbose)
    study = plan_study(
        name, ablation, arguments.profile, config, arguments.seeds, finetuning_store, metrics=metrics
    )
    start_ray(study.largest.cpus + TRIAL_CPUS, arguments.verbose)

    def work(interruption: Interruption) -> None:
        with TrialsDisplay(console) as progress:
            report = run_study(study, ConsoleDisplay(console), progress.show, interruption, arguments.verbose)
        _print(report, console)
        place = report.experiment_id, report.parent
        print_mlflow(console, config.run.tracking_uri, *place, compared_by=report.metric.mean)
        if report.failed:
            raise RunError(f"{len(report.failed)} row(s) have trials that failed")

    until_interrupted(work)


def _finetuning_store(ablation: Ablation, arguments: Arguments) -> str:
    """Return the store with hard negatives; empty if it is not needed, or is needed but not given."""
    if not ablation.finetunes:
        return ""
    builtin = arguments.config.data.store == BUILTIN_STORE
    return arguments.finetuning_store or (HARD_STORE if builtin else "")


def _print(report: "Report", console: Console) -> None:
    from gte_ray.ablation.report import verdict
    from gte_ray.ablation.terminal import console_table

    for one in (report, *report.others):
        console.print(console_table(one))
        console.print(verdict(one))
    for result in report.results:
        if result.failure:
            console.print(f"{result.name} failed: {result.failure}", style="red", soft_wrap=True)
