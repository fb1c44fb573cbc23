"""Text as the tokens that an image attends to."""

from __future__ import annotations

import re
import unicodedata
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from wsseg.errors import NotFoundError, WssegError

PLACES = 64
"""Places in a text that a word embedding tells apart."""

REMEMBERED = 1024
"""Texts whose tokens are kept; those of a sentence take some 0.1 MB."""


class TextEncoder(nn.Module, ABC):
    """Encodes texts of any length.

    Attributes:
        width: channels of a token.
    """

    width: int

    @abstractmethod
    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens of texts, as long as the longest of them and at least 1.

        Returns:
            Tokens (batch, length, width), and whether there is a token
            (batch, length), bool; nowhere in an empty text.
        """


class WordEmbedding(TextEncoder):
    """A vector per word and one per place in the text, trained with whatever reads them.

    A word's row is its CRC-32 modulo ``buckets``: a word that training never
    saw needs no new row, and a package needs no vocabulary beside its weights.
    Two words may share a row; of 20 words in 1024 rows that happens to one
    pair in six such vocabularies. Words are runs of letters and digits,
    whatever their case. All words from the 64th on share a place.

    Args:
        width: channels of a token.
        buckets: rows of the table.
    """

    def __init__(self, width: int, buckets: int = 1024) -> None:
        super().__init__()
        self.width = width
        self.words = nn.Embedding(buckets, width)
        self.places = nn.Embedding(PLACES, width)

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens and mask; all zero in the rest of shorter texts."""
        device = self.words.weight.device
        rows = [self._rows(text) for text in texts]
        mask = _stack([torch.ones_like(row, dtype=torch.bool) for row in rows]).to(device)
        places = torch.arange(mask.shape[1], device=device).clamp(max=PLACES - 1)
        tokens = self.words(_stack(rows).to(device)) + self.places(places)
        return tokens * mask[..., None], mask

    def _rows(self, text: str) -> Tensor:
        words = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).lower())
        return torch.tensor([zlib.crc32(word.encode()) % self.words.num_embeddings for word in words], dtype=torch.long)


class HuggingFaceText(TextEncoder):
    """A pretrained language model from local files, frozen; every text is encoded once.

    Its weights are in neither ``parameters()`` nor ``state_dict()``, hence in
    no package, since they are held in a tuple, where PyTorch does not look for
    modules. So the model stays on the CPU, and its tokens go to the device of
    this module. Nothing is fetched, no pickle is read, and no code that comes
    with a model is run.

    Args:
        name: a folder, or the name of a model in Hugging Face's local cache.
        limit: tokens that every text is cut or filled up to, [CLS] and [SEP]
            counted, as published (10). What fills up is the model's own output
            for [PAD], where the mask is False. None cuts only what is longer
            than the model was made for, 512 tokens of a BERT.

    Raises:
        WssegError: the files are missing, incomplete or of something else.
    """

    place: Tensor

    def __init__(self, name: str, limit: int | None = None) -> None:
        super().__init__()
        self.register_buffer("place", torch.empty(0), persistent=False)  # moves with the module
        self.limit = limit
        folder = _folder(name)
        try:
            self._frozen = _load(folder)
            # The first text also sets up the tokenizer, which two threads must not do at once.
            self.width = self._read("word")[0].shape[1]
        except Exception as error:  # transformers has no family of errors
            reason = str(error).strip().partition("\n")[0].rstrip(".: ")
            raise WssegError(
                f"{folder}: not a text encoder ({reason}), needed are config.json, the tokenizer's files and"
                " model.safetensors, which save_pretrained of transformers makes of a pytorch_model.bin"
            ) from error
        self._remembered = lru_cache(REMEMBERED)(self._read)

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Tokens, float32, and mask; without a gradient."""
        tokens, masks = zip(*map(self._remembered, texts), strict=True)
        return _stack(tokens).to(self.place.device), _stack(masks).to(self.place.device)

    @torch.no_grad()
    def _read(self, text: str) -> tuple[Tensor, Tensor]:
        """Tokens (length, width), float32, and mask (length,) of one text."""
        if not text.strip():  # without the empty frame of [CLS] and [SEP]
            return torch.zeros(0, self.width), torch.zeros(0, dtype=torch.bool)
        tokenizer, model, longest = self._frozen
        padding = "max_length" if self.limit else False
        length = min(self.limit or longest, longest)
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=length, padding=padding)
        with torch.autocast("cpu", enabled=False):  # what is remembered must not depend on who asked first
            return model(**ids).last_hidden_state[0], ids["attention_mask"][0].bool()


def _folder(name: str) -> Path:
    from huggingface_hub import snapshot_download

    if name and (folder := Path(name)).is_dir():
        return folder
    try:
        # transformers only ever sees a folder: given a name, it asks the network to convert a pickle.
        return Path(snapshot_download(name, local_files_only=True))
    except (OSError, ValueError) as error:
        raise NotFoundError(
            f'text encoder "{name}": neither a folder nor in the local cache of Hugging Face, and nothing is fetched'
            " here; download it where there is a network (hf download NAME --local-dir FOLDER) and give its folder"
        ) from error


def _load(folder: Path) -> tuple[Any, nn.Module, int]:
    """Tokenizer, model and the most tokens that it can read."""
    from transformers import AutoModel, AutoTokenizer  # takes seconds, which other models need not wait for
    from transformers.utils import logging

    logging.disable_progress_bar()  # the command line has its own
    logging.set_verbosity_error()  # no table of the weights that a text encoder does without
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    model, found = AutoModel.from_pretrained(
        folder, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **local
    )
    # Random weights stand in for missing ones. The pooler is not used, and checkpoints of masked training have none.
    if missing := sorted(key for key in found["missing_keys"] if not key.startswith("pooler.")):
        raise WssegError(f"its weights lack {missing[0]}")
    tokenizer = AutoTokenizer.from_pretrained(folder, **local)
    if len(tokenizer) <= len(tokenizer.all_special_tokens):  # what transformers makes of a missing vocabulary
        raise WssegError("its tokenizer knows no word")
    most = getattr(model.config, "max_position_embeddings", tokenizer.model_max_length)
    return tokenizer, model.eval().requires_grad_(False), min(tokenizer.model_max_length, most)


def _stack(parts: Sequence[Tensor]) -> Tensor:
    """Filled up with zeros to the longest, at least to 1: (batch, length, ...)."""
    stacked = pad_sequence(list(parts), batch_first=True)
    return stacked if stacked.shape[1] else stacked.new_zeros(len(parts), 1, *stacked.shape[2:])
