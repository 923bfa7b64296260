"""How the stream makes token ids of a store's columns: for the model that is trained, and for its guide."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gte_ray.data.batch import TokenLists
from gte_ray.data.negatives import flat
from gte_ray.data.tokenize import TextTokenizer


@dataclass(frozen=True)
class TokenReader:
    """The tokens of one model: from the store's texts after the tokenizer's prompts, or from its token ids."""

    tokenizer: TextTokenizer
    max_length: int
    """Most tokens of a text, prompt and special tokens included."""
    stored_ids: bool = False
    """Whether the store's token ids are used, which have no prompts: see `make_stream`."""

    @property
    def columns(self) -> tuple[str, str, str]:
        """Columns of the store for queries, documents and negatives."""
        if self.stored_ids:
            return "query_ids", "document_ids", "negative_ids"
        return "query", "document", "negatives"

    def queries(self, column: pa.Array) -> TokenLists:
        return self._tokens(column, self.tokenizer.prompts.query)

    def documents(self, column: pa.Array) -> TokenLists:
        """Also those of hard negatives."""
        return self._tokens(column, self.tokenizer.prompts.document)

    def _tokens(self, column: pa.Array, prompt: str) -> TokenLists:
        if not self.stored_ids:
            return self.tokenizer.encode(column, self.max_length, prompt)
        values, offsets = flat(column)
        content = TokenLists(values.to_numpy(), offsets.astype(np.int64))
        return self.tokenizer.with_specials(content, self.max_length)
