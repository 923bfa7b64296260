"""Prompts that are given in place of a model's, and models that lack theirs."""

import pytest

from gte_ray.pretrained.prompts import GivenPrompts, Prompts, lacking


def test_given_prompts_take_the_places_of_the_models():
    own = Prompts.of({"query": "q: ", "passage": "p: ", "sts": "s: "}, "sts")
    assert own.given(GivenPrompts()) is own
    query = own.given(GivenPrompts("ask: "))
    assert (query.query, query.document, query.default) == ("ask: ", "p: ", "s: ")
    both = own.given(GivenPrompts("", "d: "))
    assert (both.query, both.document) == ("", "d: ")
    assert both.to_folder() == {
        "prompts": {"sts": "s: ", "query": "", "document": "d: "}, "default_prompt_name": "sts"
    }  # fmt: skip
    assert Prompts.of(both.to_folder()["prompts"], "sts") == both
    assert Prompts().given(GivenPrompts(document="d: ")).to_folder()["prompts"] == {
        "query": "",
        "document": "d: ",
    }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("intfloat/e5-base-v2", "--prompt-query 'query: ' --prompt-document 'passage: '"),
        ("intfloat/multilingual-e5-small", "--prompt-query 'query: '"),
        ("/models/E5-large/", "--prompt-query 'query: '"),
        (
            "BAAI/bge-base-en-v1.5",
            "--prompt-query 'Represent this sentence for searching relevant passages: '",
        ),
        ("intfloat/multilingual-e5-large-instruct", ""),
        ("BAAI/bge-m3", ""),
        ("runs/some5-base/model", ""),
        ("thenlper/gte-base", ""),
    ],
)
def test_a_family_that_is_made_for_prompts_is_told_where_its_folder_has_none(name, said):
    notes = lacking(name, Prompts())
    assert bool(notes) == bool(said)
    assert all(note.startswith(f"{name}: its family is made for prompts") for note in notes)
    assert all(said in note for note in notes)
    assert lacking(name, Prompts.of({"query": "query: "})) == ()
