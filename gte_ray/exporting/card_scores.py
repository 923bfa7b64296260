"""What a model card says of scores: a section in Markdown, and entries that the Hugging Face hub reads."""

from huggingface_hub import EvalResult

from gte_ray.evaluation.heldout import SourceScores, mean_scores
from gte_ray.evaluation.scores import Scores
from gte_ray.report.markdown import markdown_table

METRICS = {
    "ndcg_at_10": "nDCG@10",
    "mrr_at_10": "MRR@10",
    "recall_at_1": "recall@1",
    "recall_at_10": "recall@10",
}
"""Fields of a source's scores, and how they are written."""


def eval_results(row: SourceScores) -> list[EvalResult]:
    """The scores of a source, which the library makes one entry of; task and values as sentence-transformers has them."""
    return [
        EvalResult(
            task_type="information-retrieval",
            task_name="Information Retrieval",
            dataset_type="held-out-pairs",  # of no dataset that others have
            dataset_name=f"held-out pairs of the training source {row.source}",
            dataset_config=row.source,  # without it, the library takes all sources for one dataset
            metric_type=kind,
            metric_name=name,
            metric_value=round(float(getattr(row, kind)), 4),
        )
        for kind, name in METRICS.items()
    ]


def scores_section(scores: Scores) -> str:
    columns = [part for part in (scores.after, scores.bm25, scores.before) if part]
    rows = list(zip(*columns, strict=True))
    if len(rows) > 1:
        rows.append(tuple(map(mean_scores, columns)))
    seen = {row.source: _percent(row.documents) for row in scores.seen}
    header = ["source", "queries", "documents", *["nDCG@10 before"] * bool(scores.before)]
    header += ["nDCG@10", "BM25 nDCG@10", "MRR@10", "BM25 MRR@10", "recall@1", "recall@10", "documents seen"]
    cells = [
        [
            *(a.source, f"{a.queries:,}", f"{a.documents:,}"),
            *(_percent(before.ndcg_at_10) for before in b),
            *map(_percent, (a.ndcg_at_10, m.ndcg_at_10)),
            *map(_percent, (a.mrr_at_10, m.mrr_at_10, a.recall_at_1, a.recall_at_10)),
            seen.get(a.source, ""),
        ]
        for a, m, *b in rows
    ]
    return (
        "## Scores\n\nHeld-out documents of each source retrieved by its held-out queries, in percent. "
        + "`before` is the model before training; " * bool(scores.before)
        + "BM25 has the same queries and candidates. The sources are "
        "those of the training: this is no measure of other domains. `documents seen` are those of the "
        "candidates that are also, letter by letter, in pairs that the model was trained on, with other queries: "
        "queries are held out, documents are not.\n\n" + markdown_table(header, cells, numbers=True)
    )


def dimensions_section(scores: Scores, whole: int) -> str:
    """The scores of the first dimensions alone, beside those of the `whole`."""
    columns = [(whole, scores.after), *scores.dimensions]
    cells = [
        [row.source, *(_percent(rows[number].ndcg_at_10) for _, rows in columns)]
        for number, row in enumerate(scores.after)
    ]
    if len(cells) > 1:
        cells.append(["mean", *(_percent(mean_scores(rows).ndcg_at_10) for _, rows in columns)])
    return (
        "## Dimensions\n\nTrained so that the first dimensions of a vector serve as a smaller one, with length 1 again "
        "(`SentenceTransformer(folder, truncate_dim=…)`). nDCG@10 of the same queries and documents, by dimensions:\n\n"
        + markdown_table(["source", *(str(k) for k, _ in columns)], cells, numbers=True)
    )


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"
