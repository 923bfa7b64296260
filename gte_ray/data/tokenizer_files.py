"""Loads tokenizers with transformers, and checks what `TextTokenizer` requires of them."""

from typing import Any

from tokenizers import normalizers

from gte_ray.errors import RunError
from gte_ray.pretrained.files import ModelNotFound, model_folder
from gte_ray.pretrained.prompts import Prompts
from gte_ray.pretrained.settings import read_settings


def load_pretrained(name: str) -> tuple[Any, Prompts]:
    """Loads the fast tokenizer of a Hugging Face id, a folder or a folder at a URI, and the model's prompts.

    It lower-cases if the model's settings say so, as in sentence-transformers. Raises RunError if there is no
    tokenizer, or if its ids would differ from those of `TextTokenizer`.
    """
    try:
        with model_folder(name, weights=False) as folder:
            settings = read_settings(folder, name)
            loaded = _load(str(folder / settings.transformer), name)
    except ModelNotFound as error:
        raise _not_loaded(name, error) from error
    _check(loaded, name)
    if settings.lower_case:
        backend = loaded.backend_tokenizer
        steps = [normalizers.Lowercase(), *([backend.normalizer] if backend.normalizer else [])]
        backend.normalizer = normalizers.Sequence(steps)
    return loaded, settings.prompts


def _load(folder: str, name: str) -> Any:
    import transformers  # takes seconds; only the driver needs it, not the tasks that tokenise

    try:
        return transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # the tokenizers library may raise anything for a file of a newer release
        raise _not_loaded(name, error) from error


def _not_loaded(name: str, error: Exception) -> RunError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0].removeprefix(f"{name}: ")
    return RunError(
        f"{name}: no tokenizer could be loaded; a Hugging Face id that can be reached from here, or a folder "
        f"with a tokenizer.json that the installed library tokenizers knows, is allowed ({reason})"
    )


def _check(loaded: Any, name: str) -> None:
    if not loaded.is_fast or loaded.pad_token_id is None:
        raise RunError(f"{name}: needs a tokenizer.json and a padding token")
    if loaded.truncation_side != "right":
        raise RunError(
            f"{name}: its tokenizer says truncation_side = {loaded.truncation_side!r}; allowed is 'right', "
            "so that the end of a long text is cut off"
        )
    if "token_type_ids" in loaded.model_input_names and any(loaded("a")["token_type_ids"]):
        raise RunError(f"{name}: its tokenizer gives tokens of a text several types; allowed is type 0 alone")
