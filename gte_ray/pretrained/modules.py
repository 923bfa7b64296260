"""The modules of a sentence-transformers model: which there are, and the settings of those after the transformer."""

from dataclasses import dataclass

from gte_ray.config import Pooling
from gte_ray.errors import RunError
from gte_ray.pretrained.settings_files import SettingsFiles

POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "cls", "lasttoken": "last"}
"""Pooling modes by their sentence-transformers names."""
OLD_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Boolean keys of older releases, and their pooling modes."""
ACTIVATIONS = "torch.nn.modules"
IDENTITY = f"{ACTIVATIONS}.linear.Identity"
DENSE_ACTIVATIONS = (
    IDENTITY,
    *(f"{ACTIVATIONS}.activation.{name}" for name in ("Tanh", "ReLU", "GELU", "SiLU", "Sigmoid")),
)
"""Activations of dense layers, by the names that sentence-transformers writes."""


@dataclass(frozen=True)
class DenseSettings:
    """A linear layer and its activation, after pooling."""

    path: str
    """Its folder in the model's, with its weights."""
    in_features: int
    out_features: int
    bias: bool
    activation: str
    """One of DENSE_ACTIVATIONS."""


@dataclass(frozen=True)
class Modules:
    """What follows the transformer."""

    transformer: str
    """Subfolder of the transformer; empty for the model's own folder."""
    pooling: Pooling
    include_prompt: bool
    """Whether the prompt's tokens are pooled with the text's."""
    dense: tuple[DenseSettings, ...]
    normalize: bool


def read_modules(reader: SettingsFiles) -> Modules:
    """The modules of the model. Raises RunError for one that is not followed."""
    found = reader.parse("modules.json")
    try:
        types, paths = [m["type"] for m in found], [m["path"] for m in found]
    except (TypeError, KeyError) as error:
        raise RunError(f"{reader.name}: modules.json is no list of modules with type and path") from error
    names = [kind.rsplit(".", 1)[-1] if kind.startswith("sentence_transformers.") else kind for kind in types]
    after = names[2:-1] if names[-1:] == ["Normalize"] else names[2:]
    if names[:2] != ["Transformer", "Pooling"] or set(after) - {"Dense"}:
        raise RunError(
            f"{reader.name}: modules.json names {', '.join(names) or 'no modules'}; allowed are sentence-transformers' "
            "Transformer, Pooling and, after them, Dense and Normalize"
        )
    if names[-1] == "Normalize":
        _check_normalize(reader, paths[-1])
    pooling, include_prompt = _pooling(reader, paths[1])
    dense = tuple(_dense(reader, path) for path in paths[2 : 2 + len(after)])
    return Modules(paths[0], pooling, include_prompt, dense, names[-1] == "Normalize")


def _pooling(reader: SettingsFiles, path: str) -> tuple[Pooling, bool]:
    """The pooling mode, and whether the prompt's tokens are pooled with the text's."""
    file = f"{path}/config.json"
    if not (reader.folder / file).is_file():
        raise RunError(f"{reader.name}: {file} is missing, which says how to pool")
    settings = reader.read(file)
    modes = [mode for key, mode in OLD_POOLINGS.items() if settings.get(key)] or ["mean"]
    mode = settings.get("pooling_mode", modes)
    mode = mode[0] if isinstance(mode, list) and len(mode) == 1 else mode
    if not isinstance(mode, str) or mode not in POOLINGS:
        shown = mode if isinstance(mode, str) else "+".join(map(str, mode))
        raise reader.refusal(file, "pooling_mode", shown, ", ".join(POOLINGS))
    return POOLINGS[mode], bool(settings.get("include_prompt", True))


def _check_normalize(reader: SettingsFiles, path: str) -> None:
    for key, value in reader.read(f"{path}/config.json").items():
        if value not in ("sentence_embedding", None):
            raise reader.refusal(f"{path}/config.json", key, value, '"sentence_embedding"')


def _dense(reader: SettingsFiles, path: str) -> DenseSettings:
    """A dense layer's settings, with sentence-transformers' defaults."""
    file = f"{path}/config.json"
    settings = reader.read(file)
    read = {"in_features", "out_features", "bias", "activation_function"}
    for key, value in settings.items():
        if key not in read and value not in ("sentence_embedding", None, False):
            raise reader.refusal(file, key, value, "sentence-transformers' default")
    activation = settings.get("activation_function", f"{ACTIVATIONS}.activation.Tanh")
    if activation not in DENSE_ACTIVATIONS:
        raise reader.refusal(file, "activation_function", activation, ", ".join(DENSE_ACTIVATIONS))
    for key in ("in_features", "out_features"):
        if not isinstance(settings.get(key), int) or settings[key] < 1:
            raise reader.refusal(file, key, settings.get(key), "a number of at least 1")
    bias = bool(settings.get("bias", True))
    return DenseSettings(path, settings["in_features"], settings["out_features"], bias, activation)
