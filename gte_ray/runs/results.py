"""The results of a finished run, and the file in its folder that marks it as finished."""

from dataclasses import dataclass

from gte_ray.config.typed import read
from gte_ray.errors import RunError
from gte_ray.evaluation.scores import Scores
from gte_ray.runtime import storage

RESULTS_FILE = "results.json"


@dataclass(frozen=True)
class Results:
    """The results of a finished run."""

    scores: Scores
    model_folder: str
    mlflow_run: str
    """MLflow's id of the run. Empty if MLflow could not be reached."""
    mlflow_experiment: str = ""
    """MLflow's id of the experiment; empty also in the results of older versions."""


def is_finished(run_folder: str) -> bool:
    """Whether the run at `run_folder` has results."""
    return storage.exists(storage.join(run_folder, RESULTS_FILE))


def read_results(run_folder: str) -> Results:
    """The results of a finished run. Raises RunError if their file is damaged."""
    path = storage.join(run_folder, RESULTS_FILE)
    try:
        return read(Results, storage.read_json(path))
    except ValueError as error:
        raise RunError(
            f"{path}: is damaged ({' '.join(str(error).split())[:200]}); once it is deleted, the run's command scores the model "
            "again, without training"
        ) from error


def write_results(run_folder: str, results: Results) -> None:
    """Writes the file that marks the run as finished."""
    storage.write_json(
        storage.join(run_folder, RESULTS_FILE),
        {
            "scores": results.scores.to_dict(),
            "model_folder": results.model_folder,
            "mlflow_run": results.mlflow_run,
            "mlflow_experiment": results.mlflow_experiment,
        },
    )
