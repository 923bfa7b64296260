"""Each of the paper's sources, in the layout in which it is published, gives the pairs that it should."""

import tomllib

import pytest

from gte_ray.readers import catalogue as entries
from gte_ray.readers.catalogue import catalogue, groups
from gte_ray.readers.preview import preview
from gte_ray.readers.sample import write_sample
from gte_ray.readers.source_file import read_source_file, source_of
from gte_ray.readers.spec import PRE_TRAINING_TASKS

CRANE = ("Fold a paper crane", "Begin with a square sheet and crease both diagonals.", [])
TEA = "Why does tea cool faster in a wide cup?"
EXPECTED = {
    "commoncrawl": ([("Garden sheds", "Sheds are built of larch.\nThey last.", [])], {"empty": 1}),
    "clueweb": (
        [("Larch", "A conifer that drops its needles.\nIts timber lasts.", [])],
        {"not as where says": 1},
    ),
    "msmarco-documents": (
        [("Larch", 'A conifer that "drops" its needles.', [])],
        {"not as where says": 1},
    ),
    "arxiv": ([("On knots\n  and nets", "  We show that knots are nets.\n", [])], {}),
    "biorxiv": (
        [("How moss drinks", "We watched moss.", []), ("How moss drinks", "We watched moss for longer.", [])],
        {},
    ),
    "medrxiv": ([("Sleep and shift work", "Nurses slept less.", [])], {}),
    "pubmed": ([("Masks in wards", "We counted masks.", [])], {"empty": 1}),
    "semantic-scholar": ([("On knots", "We show that knots are nets.", [])], {}),
    "clueweb-anchors": ([("trees that drop needles", "Larch is a conifer that drops its needles.", [])], {}),
    "wikipedia-dual-link": (
        [("The larch sheds its needles in autumn.", "Larch Larches are conifers.", [])],
        {},
    ),
    "wikipedia-co-mention": ([("Ships were built of larch.", "Masts A mast of larch lasts.", [])], {}),
    "s2orc-citations": ([("We show that nets are knots.", "We show that knots are nets.", [])], {}),
    "reddit-title-body": ([("My first sourdough", "I fed the starter for a week and it doubled.", [])], {}),
    "reddit-post-comment": ([(TEA, "More of it meets the air.", [])], {}),
    "wikipedia": ([("Larch", "Its timber is durable.", []), ("Larch", "Larches are conifers.", [])], {}),
    "dbpedia": ([("Larch", "Larches are conifers in the genus Larix.", [])], {}),
    "stackexchange-title-body": ([(TEA, "I poured two cups and measured.", [])], {}),
    "stackexchange-question-answer": (
        [("Why does tea cool faster? I poured two cups.", "More of it meets the air.", [])],
        {},
    ),
    "yahoo-title-answer": ([("why is the sky blue", "Short waves scatter more.", [])], {}),
    "yahoo-title-question": ([("why is the sky blue", "I looked up today. Why is it blue?", [])], {}),
    "yahoo-question-answer": ([("I looked up today. Why is it blue?", "Short waves scatter more.", [])], {}),
    "wikihow": ([CRANE], {}),
    "amazon-qa": (
        [("does the lamp dim?", "Yes, by remote.", []), ("does the lamp dim?", "It does.", [])],
        {},
    ),
    "ccnews": ([("Crew wins again", "The crew of the river club won.", [])], {}),
    "microsoft-news": ([("Crew wins again", "A short account of the race.", [])], {"empty": 1}),
    "npr": ([("A Bridge Reopens", "After a year of work the bridge is open.", [])], {}),
    "cnn-dailymail": ([("A bridge is open again .", "After a year of work the bridge is open .", [])], {}),
    "agnews": ([("Shares rise", "Shares rose on Monday.", [])], {}),
    "codesearchnet": ([("Adds two numbers.", "def add(a, b):\n    return a + b", [])], {}),
    "stackoverflow-title-body": ([("How to add two numbers", "I wrote a + b and it fails.", [])], {}),
    "amazon-reviews": ([("Works", "The lamp works and dims.", [])], {}),
    "debate": ([("Trams should be free", "They take cars off the road.", [])], {}),
    "gooaq": ([("how tall is a larch", "Up to 45 metres.", [])], {}),
    "msmarco": (
        [
            (
                "which trees drop needles",
                "Larches drop their needles.",
                ["Pines keep theirs.", "Needles are leaves."],
            )
        ],
        {},
    ),
    "natural-questions": (
        [("who drew the map", "Old maps. Ada Vale drew it.", ["Maps. Maps are drawn.", "No title."])],
        {},
    ),
    "triviaqa": ([("which tree sheds needles", "Larch. It sheds them.", [])], {}),
    "web-questions": (
        [("where does larch grow", "Larch. It grows in the Alps.", ["Pine. It grows in sand."])],
        {},
    ),
    "hotpotqa": (
        [("which tree of the Alps sheds needles", "Larch grows in the Alps.", ["Pine grows in sand."])],
        {},
    ),
    "nli": ([("A dog, brown, runs", "An animal is moving", ["A dog sleeps"])], {}),
    "fever": (
        [("Larches are evergreen.", "Larch. It sheds its needles.", ["Pine. It is evergreen."])],
        {},
    ),
    "quora": ([("how old is the moon", "What is the age of the moon?", ["How far is the moon?"])], {}),
    "stackexchange-duplicates": ([("Why does tea cool?", "What makes tea lose heat?", [])], {}),
    "medi": (
        [
            ("who drew the map", "Old maps: Ada Vale drew it.", ["Maps are drawn."]),
            ("a dog runs", "an animal moves", ["a dog sleeps"]),
        ],
        {},
    ),
    "berri": (
        [
            ("who drew the map", "Old maps. Ada Vale drew it.", ["Maps are drawn."]),
            ("how old is the moon", "What is the age of the moon?", []),
        ],
        {},
    ),
}
GROUPS_OF_ROWS = {
    "medi": ["7", "12"],
    "berri": ["Find a passage that answers this", "Find the same question"],
}


@pytest.mark.parametrize("name", catalogue())
def test_the_pairs_of_a_sample(name, tmp_path):
    path = write_sample(catalogue()[name], tmp_path)
    found = preview(source_of(name, {"files": str(path)}, name), count=10)
    pairs, dropped = EXPECTED[name]
    assert [(pair.query, pair.document, list(filter(None, pair.negatives))) for pair in found.pairs] == pairs
    assert found.dropped == dropped
    assert [pair.group for pair in found.pairs] == GROUPS_OF_ROWS.get(name, [""] * len(pairs))


def test_the_catalogue_is_the_papers():
    assert EXPECTED.keys() == catalogue().keys()
    *pre_training, fine_tuning = groups()
    assert [group.task for group in pre_training] == list(PRE_TRAINING_TASKS)
    assert [(group.datasets, group.pairs // 10**6) for group in pre_training] == [
        *((3, 147), (5, 45), (4, 106), (2, 327), (2, 38), (7, 12), (5, 3), (2, 20), (3, 91))
    ]  # Table 1
    assert all(len(group.entries) == group.datasets for group in pre_training)
    assert len(fine_tuning.entries) == fine_tuning.datasets + 1  # MEDI and BERRI are one there


def test_published_numbers_fit_the_groups():
    published = {group.name: sum(entry.published for entry in group.entries) for group in groups()}
    sizes = {group.name: group.pairs for group in groups()}
    # The paper has room for what is published of mathematics alone: 1,100,953.
    published["Community QA"] -= catalogue()["stackexchange-question-answer"].published - 1_100_953
    for name in (
        "Social Media",
        "Knowledge Base",
        "Code",
        "Others",
        "News",
        "Community QA",
        "Academic Paper",
    ):
        assert abs(published[name] - sizes[name]) <= max(0.1 * sizes[name], 10**6), name


def test_the_template_is_a_file_of_all_sources(tmp_path):
    (tmp_path / "all.toml").write_text(entries.template())
    sources = read_source_file(str(tmp_path / "all.toml"))
    assert [source.name for source in sources] == list(catalogue())
    by_name = {source.name: source for source in sources}
    assert by_name["medi"].reading.split_by == "task_id"
    assert by_name["stackexchange-title-body"].exclude == "stackoverflow.com-*"


@pytest.mark.parametrize("name", catalogue())
def test_the_settings_that_are_shown_are_those_that_are_used(name, tmp_path):
    shown = entries.as_toml(name, dict(catalogue()[name].settings))
    assert tomllib.loads(shown)["sources"][name] == dict(catalogue()[name].settings)


def test_a_setting_of_an_entry_can_be_replaced(tmp_path):
    (tmp_path / "s.toml").write_text(
        "[sources.wikipedia]\nfiles='w.jsonl'\nquery='{title}: {section}'\n"
        "[sources.gooaq]\n[sources.stackexchange-title-body]\nexclude=''\n"
    )
    wikipedia, gooaq, stackexchange = read_source_file(str(tmp_path / "s.toml"))
    assert (wikipedia.glob, wikipedia.task) == ("w.jsonl", "knowledge-base")
    assert wikipedia.reading.named == ("{title}: {section}", "text")
    assert gooaq.glob.startswith("hf://datasets/sentence-transformers/embedding-training-data/gooaq")
    assert stackexchange.exclude == ""
