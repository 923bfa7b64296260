"""A model's folder to the Hugging Face hub. Nothing goes there unless it is asked for."""

import re

from huggingface_hub import HfApi
from huggingface_hub.utils import disable_progress_bars

from gte_ray.errors import RunError, UsageError
from gte_ray.runtime import storage

OF_ITS_WEIGHTS = ["onnx/*", "quantization.json", "*.safetensors*"]
"""Files of the repository that would be another model's beside this one, if the folder lacks them."""
LOGIN = "`hf auth login`, or a token in HF_TOKEN, says who you are"


def check_push(name: str) -> None:
    """Raises UsageError for what is no OWNER/NAME, RunError if the hub cannot be reached or does not know the user."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UsageError(
            f"--push is {name!r}; allowed is the name of a repository of the hub, as in user/name"
        )
    try:
        HfApi().whoami()
    except Exception as error:  # of the hub's own client, whose kinds change with its releases
        raise RunError(f"--push {name}: {_reason(error)}; {LOGIN}") from error


def push(folder: str, name: str, private: bool, message: str) -> str:
    """Uploads all files of the model in `folder`, a path or URI, and returns the address of the repository.

    It is made if there is none, `private` then or for everybody. Raises RunError if the hub refuses it.
    """
    disable_progress_bars()
    api = HfApi()
    try:
        address = api.create_repo(name, private=private, exist_ok=True)
        with storage.local_folder(folder) as local:
            api.upload_folder(
                repo_id=name, folder_path=local, commit_message=message, delete_patterns=OF_ITS_WEIGHTS
            )
    except Exception as error:  # as above
        raise RunError(f"--push {name}: {_reason(error)}; the model is in {folder}") from error
    return str(address)


def _reason(error: Exception) -> str:
    """The first line of what the hub, or the way to it, says."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
