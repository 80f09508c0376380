import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from archspec.errors import DataError
from archspec.train.data.tokenizer import ByteTokenizer, FileTokenizer

TEXTS = ["the cat sat on the mat", "the dog ate the cat", "ünïcode"] * 20


def save(path, special):
    """A byte-level BPE of 280 tokens, as published ones are."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.save(str(path))
    return tokenizer


def test_a_tokenizer_file(tmp_path, opened):
    path = tmp_path / "tokenizer.json"
    theirs = save(path, ["<|endoftext|>"])
    ours = FileTokenizer(path, None)
    assert ours.eos_id == theirs.token_to_id("<|endoftext|>") == 0
    assert ours.vocab_size == theirs.get_vocab_size()
    assert ours.dtype == "uint16"
    ids = ours.encode(TEXTS[:3])
    assert [theirs.decode(i.tolist()) for i in ids] == TEXTS[:3]
    (tmp_path / "sample.txt").write_text("the cat sat on the mat\n" * 50)
    source = opened(
        {"text": "sample.txt", "tokenizer": "tokenizer.json", "evaluation": "sample.txt"}
    )
    first = theirs.decode(source.evaluation().token_ids[0].tolist())
    assert ("the cat sat on the mat\n" * 2).startswith(first)
    assert len(first) > 8  # characters in 8 tokens
    assert source.bytes_per_target == pytest.approx(23 * 50 / (source.epoch_tokens + 1), rel=0.1)
    assert source.sha256 != opened({"text": "sample.txt"}).sha256


def test_the_end_of_documents_can_be_named(tmp_path):
    path = tmp_path / "tokenizer.json"
    theirs = save(path, ["<s>", "<stop>"])
    assert FileTokenizer(path, "<stop>").eos_id == theirs.token_to_id("<stop>")
    with pytest.raises(DataError, match=r"has no token '<stpo>' .*; did you mean '<stop>'\?"):
        _ = FileTokenizer(path, "<stpo>").eos_id
    with pytest.raises(DataError, match=r"none of the tokens .* by eos_token; known: <s>, <stop>"):
        _ = FileTokenizer(path, None).eos_id


def test_what_is_no_tokenizer_is_refused(tmp_path, opened):
    path = tmp_path / "tokenizer.json"
    path.write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer.json: is no tokenizer.json that can be read: "):
        FileTokenizer(path, None)
    with pytest.raises(DataError, match=r"nowhere.json: there is no such file"):
        FileTokenizer(tmp_path / "nowhere.json", None)
    with pytest.raises(DataError, match=r"eos_token='</s>' is a token of a tokenizer, but none is"):
        opened({"text": "pydoc", "eos_token": "</s>"})
    save(path, ["</s>"])
    with pytest.raises(DataError, match=r"vocab_size >= 280 must hold.* vocab_size=275"):
        opened({"text": "pydoc", "tokenizer": "tokenizer.json"}, vocab_size=275)


def test_text_comes_back(tmp_path):
    save(tmp_path / "tokenizer.json", ["<|endoftext|>"])
    for codec in (FileTokenizer(tmp_path / "tokenizer.json"), ByteTokenizer()):
        for text in ("the cat ate", "  ünïcode\n", ""):
            assert codec.decode(codec.encode([text])[0].tolist()) == text
    ours = FileTokenizer(tmp_path / "tokenizer.json")
    first = ours.encode(["the"])[0].tolist()
    assert ours.decode([*first, 280, 999, 0, *first]) == "the<280><999><|endoftext|>the"


def test_bytes():
    ours = ByteTokenizer()
    assert ours.decode([72, 256, 0xC3, 300]) == "H<256>\ufffd<300>"
    (ids,) = ours.encode(["aä"])
    assert ids.tolist() == list("aä".encode())
    assert (ours.eos_id, ours.dtype) == (257, "uint16")
