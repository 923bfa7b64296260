"""Models of the weights of others: against torch's average, the formula, and sentence-transformers."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense

from gte_ray.errors import RunError
from gte_ray.exporting.merge import Method, merge, slerp
from gte_ray.merge import main
from gte_ray.model.load import load_model
from gte_ray.pretrained.identity import identity
from tests.model.folders import PROMPTS, TEXTS, bare_folder, copy, edit, model_folder

WEIGHTS = ("model.safetensors", "2_Dense/model.safetensors")


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> list[str]:
    """Three that differ in their weights."""
    folder = tmp_path_factory.mktemp("models")
    bare = bare_folder(folder / "bare")
    dense = [Dense(24, 12)]
    first = model_folder(bare, folder / "first", "cls", dense=dense, prompts={"query": "river "})
    made = [first, copy(first, folder / "second"), copy(first, folder / "third")]
    for seed, other in enumerate(made[1:]):
        generator = torch.Generator().manual_seed(seed)
        for file in (Path(other, name) for name in WEIGHTS):
            moved = {k: v + torch.randn(v.shape, generator=generator) / 5 for k, v in load_file(file).items()}
            save_file(moved, file, {"format": "pt"})
    return made


def weights(folder: str) -> dict[str, torch.Tensor]:
    return {f"{file} {name}": w for file in WEIGHTS for name, w in load_file(Path(folder, file)).items()}


def test_the_mean_is_torchs(models, tmp_path):
    found = weights(merge(models, Method(), str(tmp_path / "mean")))
    encoders = [load_model(name).encoder for name in models]
    averaged = torch.optim.swa_utils.AveragedModel(encoders[0])
    for encoder in encoders:
        averaged.update_parameters(encoder)
    state = averaged.module.state_dict()
    expected = {f"{WEIGHTS[0]} {k.removeprefix('backbone.')}": v for k, v in state.items() if "backbone" in k}
    expected |= {
        f"{WEIGHTS[1]} {k.removeprefix('dense.0.')}": v for k, v in state.items() if k.startswith("dense")
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-6, atol=1e-7)


def test_weights_of_a_mean_are_relative(models, tmp_path):
    found = weights(merge(models[:2], Method(weights=(3.0, 1.0)), str(tmp_path / "mean")))
    first, second = map(weights, models[:2])
    for name, value in found.items():
        torch.testing.assert_close(value, 0.75 * first[name] + 0.25 * second[name])


@given(st.integers(0, 2**32 - 1), st.floats(0, 1), st.sampled_from([(1,), (3, 4), (50,)]))
def test_slerp_is_the_arc_of_the_plane_that_two_tensors_span(seed, t, shape):
    a, b = torch.randn(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = slerp(a, b, t)
    x, y = a.flatten().numpy(), b.flatten().numpy()
    omega = np.arccos(np.clip(x @ y / np.linalg.norm(x) / np.linalg.norm(y), -1, 1))
    if np.sin(omega) < 0.04:  # on the line
        expected = (1 - t) * x + t * y
    else:
        expected = (np.sin((1 - t) * omega) * x + np.sin(t * omega) * y) / np.sin(omega)
    assert found.flatten().numpy() == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert found.shape == a.shape
    if np.sin(omega) >= 0.04:  # of tensors of the same norm, all have it
        same = slerp(a, b * (a.norm() / b.norm()), t)
        assert same.norm().item() == pytest.approx(a.norm().item())


def test_slerp_of_what_has_no_angle_is_on_the_line():
    a = torch.tensor([1.0, 2.0])
    assert slerp(a, a, 0.3).equal(a)
    assert slerp(torch.zeros(2), a, 0.25) == pytest.approx(a / 4)
    assert slerp(a, -a, 0.5) == pytest.approx(torch.zeros(2))


@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
def test_slerp_of_models_is_that_of_each_tensor(models, t, tmp_path):
    found = weights(merge(models[:2], Method(slerp=t), str(tmp_path / "arc")))
    first, second = map(weights, models[:2])
    for name, value in found.items():
        torch.testing.assert_close(value, slerp(first[name], second[name], t), rtol=0, atol=0)


def test_the_merged_model_is_used_and_known_as_any_other(models, tmp_path):
    folder = merge(models[:2], Method(slerp=0.5), str(tmp_path / "own/arc"))
    ours, theirs = load_model(folder), SentenceTransformer(folder, device="cpu")
    assert np.abs(ours.queries(TEXTS, 64) - theirs.encode_query(TEXTS)).max() <= 1e-5
    assert np.abs(ours.documents(TEXTS, 64) - theirs.encode_document(TEXTS)).max() <= 1e-5
    for name in models[:2]:
        assert np.abs(ours.embed(TEXTS, 64) - load_model(name).embed(TEXTS, 64)).max() > 1e-3
    card = Path(folder, "README.md").read_text()
    assert card.startswith("---\n") and "# arc\n" in card
    assert f"0.5 of the way on the arc from `{models[0]}` to `{models[1]}`" in card
    assert 'model.encode_query(["' in card and "a vector of 12 dimensions and length 1" in card
    assert identity(folder) == identity(copy(folder, tmp_path / "copied"))
    assert identity(folder) != identity(models[0])


def test_models_that_differ_in_more_than_their_weights_are_refused(models, tmp_path):
    def said(file: str, **values: object) -> str:
        folder = edit(copy(models[0], tmp_path / file.replace("/", "-")), file, **values)
        with pytest.raises(RunError) as error:
            merge([models[0], folder], Method(), str(tmp_path / "never"))
        return str(error.value)

    assert "its pooling is mean, not cls as of" in said("1_Pooling/config.json", pooling_mode="mean")
    assert "its longest text has tokens: 9, not 30" in said("sentence_bert_config.json", max_seq_length=9)
    assert "its prompts are" in said(PROMPTS, prompts={"query": "stone "})
    other = bare_folder(tmp_path / "bare", num_hidden_layers=1)
    smaller = model_folder(
        other, tmp_path / "smaller", "cls", dense=[Dense(24, 12)], prompts={"query": "river "}
    )
    with pytest.raises(
        RunError, match=r"the shapes of its weights are others as of .* in their weights alone"
    ):
        merge([models[0], smaller], Method(), str(tmp_path / "never"))
    assert not (tmp_path / "never").exists()


def test_what_is_no_model_is_not_replaced(models, tmp_path):
    kept = tmp_path / "thesis"
    kept.mkdir()
    merge(models[:2], Method(), str(kept))  # there is nothing in it
    merge(models[1:], Method(), str(kept))  # a model
    (kept / "modules.json").unlink()
    for place in (kept, kept / "README.md"):
        with pytest.raises(RunError, match="holds something else than a model, which would be lost"):
            merge(models[:2], Method(), str(place))
    assert (kept / "README.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["a"], "at least two models are needed"),
        (["a", "b", "--weights", "1"], "--weights is '1'; allowed is a number above 0 for each of 2 models"),
        (["a", "b", "--weights", "1", "0"], "--weights is '1 0'; allowed is a number above 0"),
        (["a", "b", "c", "--slerp", "0.5"], "--slerp is between two models, without --weights"),
        (["a", "b", "--slerp", "1.5"], "--slerp is 1.5; allowed is a number from 0 to 1"),
    ],
    ids=str,
)
def test_what_cannot_be_merged_is_said(run_main, arguments, said):
    code, _, err = run_main(main, "merge", *arguments, "--to", "never")
    assert code == 2 and said in err


def test_the_command_names_the_model(run_main, models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = run_main(main, "merge", *models, "--weights", "1", "2", "1", "--to", "made")
    assert (code, err) == (0, "") and f"model   {tmp_path}/made" in out
    text = Path("made/README.md").read_text()
    assert f"the mean of 1 · `{models[0]}` + 2 · `{models[1]}` + 1 · `{models[2]}`" in text
