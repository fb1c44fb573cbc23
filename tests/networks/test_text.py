from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import NoReturn

import huggingface_hub.constants
import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForMaskedLM, BertModel

from wsseg.errors import NotFoundError, WssegError
from wsseg.networks.text import HuggingFaceText, TextEncoder, WordEmbedding

SENTENCES = [
    "The nuclei are evenly distributed.",
    "The nuclei are irregularly distributed.",
    "The nuclei are sparsely distributed.",
    "The nuclei density in the upper left is high.",
    "The nuclei density in the lower right is high.",
    "The nuclei density is higher around.",
]
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "nuclei", "dense", "even", "##ly", "the", "are", "."]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A BERT of 32 channels that reads up to 16 tokens."""
    return _save(tmp_path / "bert", BertModel)


def _save(folder: Path, kind: type[BertModel] | type[BertForMaskedLM]) -> Path:
    torch.manual_seed(0)
    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    kind(BertConfig(vocab_size=len(VOCABULARY), max_position_embeddings=16, **settings)).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    return folder


def test_words_of_a_batch_as_long_as_its_longest_text() -> None:
    encoder = WordEmbedding(8)
    tokens, mask = encoder(["Evenly distributed, all of it!", "nuclei", ""])
    assert tokens.shape == (3, 5, 8)
    assert mask.sum(1).tolist() == [5, 1, 0]
    assert mask.dtype == torch.bool
    assert not tokens[~mask].any()
    torch.testing.assert_close(encoder(["nuclei"])[0][0], tokens[1, :1])


def test_words_are_told_apart_by_their_letters_alone() -> None:
    encoder = WordEmbedding(8)
    torch.testing.assert_close(*(encoder([text])[0] for text in ("Density: HIGH.", "density high")))
    torch.testing.assert_close(*(encoder([text])[0] for text in ("Kerne größer", "kerne gro\u0308ßer")))
    assert not torch.equal(encoder(["upper left"])[0], encoder(["left upper"])[0])
    words = sorted({word for sentence in SENTENCES for word in re.findall(r"\w+", sentence.lower())})
    rows = encoder([" ".join(words)])[0][0] - encoder.places.weight[: len(words)]
    assert len({tuple(row) for row in rows.detach().round(decimals=4).tolist()}) == len(words)  # no two share a row


def test_long_texts_keep_all_their_words() -> None:
    tokens, mask = WordEmbedding(8)(["word " * 100])
    assert mask.all()
    assert mask.shape == (1, 100)
    torch.testing.assert_close(tokens[0, 63], tokens[0, 99])  # they share a place, and here the word too


def test_words_are_learned() -> None:
    encoder = WordEmbedding(8, buckets=16)
    encoder(["evenly distributed"])[0].sum().backward()
    assert encoder.words.weight.grad is not None
    assert encoder.words.weight.grad.any(1).sum() == 2


@pytest.mark.parametrize("empty", ["", "  ", "\n"])
@pytest.mark.usefixtures("no_network")
def test_empty_texts_have_no_token(empty: str, bert: Path) -> None:
    for encoder in (WordEmbedding(8), HuggingFaceText(str(bert)), HuggingFaceText(str(bert), limit=4)):
        tokens, mask = encoder([empty])
        assert tokens.shape == (1, 1, encoder.width)
        assert mask.tolist() == [[False]]
        assert encoder([empty, "the nuclei"])[1].any(1).tolist() == [False, True]


@pytest.mark.usefixtures("no_network")
def test_language_model_reads_every_text_by_itself(bert: Path) -> None:
    encoder = HuggingFaceText(str(bert))
    tokens, mask = encoder(["The nuclei are evenly dense.", "nuclei"])
    assert tokens.shape == (2, 9, 32)  # of the longer text with [CLS] and [SEP]; "evenly" is two
    assert mask.sum(1).tolist() == [9, 3]
    assert not tokens[~mask].any()
    torch.testing.assert_close(encoder(["nuclei"])[0][0], tokens[1, :3])
    assert encoder(["nuclei " * 50])[1].sum() == 16


@pytest.mark.usefixtures("no_network")
def test_limit_is_the_published_arithmetic(bert: Path) -> None:
    """Texts of 10 tokens, those of the padding as the model puts them out."""
    texts = ["nuclei", "The nuclei are evenly dense. The nuclei are dense."]
    tokens, mask = HuggingFaceText(str(bert), limit=10)(texts)
    inputs = AutoTokenizer.from_pretrained(bert)(
        texts, return_tensors="pt", padding="max_length", truncation=True, max_length=10
    )
    with torch.no_grad():
        expected = AutoModel.from_pretrained(bert)(**inputs).last_hidden_state
    torch.testing.assert_close(tokens, expected)
    assert mask.sum(1).tolist() == [3, 10]


@pytest.mark.usefixtures("no_network")
def test_language_model_is_frozen_and_in_no_package(bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = HuggingFaceText(str(bert)).train()
    assert not encoder.state_dict()
    assert not list(encoder.parameters())
    first, _ = encoder(["nuclei", "dense"])  # in training too: no dropout
    monkeypatch.setattr(BertModel, "forward", None)  # from now on only what is remembered can be read
    second, _ = encoder(["nuclei", "nuclei", "dense"])
    torch.testing.assert_close(second[[0, 2]], first)
    torch.testing.assert_close(second[1], first[0])
    assert not first.requires_grad
    assert encoder.to("meta")(["nuclei"])[0].device.type == "meta"


@pytest.mark.usefixtures("no_network")
def test_language_model_by_its_name_in_the_cache(bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    revision = "0" * 40
    cached = tmp_path / "hub/models--clinic--bert"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs/main").write_text(revision, encoding="utf-8")
    (cached / "snapshots").mkdir()
    bert.rename(cached / "snapshots" / revision)
    assert HuggingFaceText("clinic/bert").width == 32
    (cached / "snapshots" / revision / "model.safetensors").unlink()
    with pytest.raises(WssegError, match=r"no file named model\.safetensors"):
        HuggingFaceText("clinic/bert")


@pytest.mark.usefixtures("no_network")
def test_checkpoint_of_masked_training_has_no_pooler(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = _save(tmp_path / "masked", BertForMaskedLM)
    capfd.readouterr()
    encoder: TextEncoder = HuggingFaceText(str(folder))
    assert encoder(["nuclei"])[0].shape == (1, 3, 32)
    assert capfd.readouterr() == ("", "")  # nothing is printed between the lines of the command


@pytest.mark.parametrize("name", ["clinic/bert", "not/a/name", "/nowhere", ""])
@pytest.mark.usefixtures("no_network")
def test_missing_model_says_what_to_do(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(NotFoundError, match="download it where there is a network") as caught:
        HuggingFaceText(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("config.json", None, "Unrecognized model .* needed are config.json"),
        ("config.json", "{", "not a valid JSON file"),
        ("config.json", '{"model_type": "vit"}', "not a text encoder"),
        ("vocab.txt", None, "knows no word"),
        ("model.safetensors", None, r"no file named model\.safetensors"),
        ("model.safetensors", "damaged", "not a text encoder"),
    ],
)
@pytest.mark.usefixtures("no_network")
def test_incomplete_model_says_what_is_needed(file: str, content: str | None, reason: str, bert: Path) -> None:
    (bert / file).unlink()
    if content is not None:
        (bert / file).write_text(content, encoding="utf-8")
    with pytest.raises(WssegError, match=reason) as caught:
        HuggingFaceText(str(bert))
    assert "model.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("no_network")
def test_weights_of_another_model_are_not_filled_up_with_random_ones(bert: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(bert / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, bert / "model.safetensors", {"format": "pt"})
    with pytest.raises(WssegError, match=r"its weights lack encoder\.layer\.1\.output\.dense\.weight"):
        HuggingFaceText(str(bert))
