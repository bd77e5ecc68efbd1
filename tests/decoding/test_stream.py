"""Streams give what generate gives, piece by piece, and a session does not forget."""

import numpy as np
import pytest

from keras_tx.decoding import Greedy, Sample, Session, generate, stream


class Letters:
    """A tokenizer of letters, id 0 being 'a'."""

    def tokenize(self, text):
        return np.array([ord(letter) - 97 for letter in text], "int32")

    def detokenize(self, ids):
        return "".join(chr(97 + int(i)) for i in ids)


def joined(pieces):
    return [token for piece in pieces for token in piece]


@pytest.mark.parametrize("sampler", [Greedy(), Sample(1.5, top_k=5, repetition_penalty=1.3)])
@pytest.mark.parametrize("tokens_per_step", [1, 4, 100])
def test_the_pieces_together_are_what_generate_gives(own, sampler, tokens_per_step):
    pieces = list(stream(own, [3, 4, 5], 10, sampler=sampler, seed=5, tokens_per_step=tokens_per_step))
    assert joined(pieces) == generate(own, [[3, 4, 5]], 10, sampler=sampler, seed=5)[0, 3:].tolist()
    assert [len(piece) for piece in pieces[:-1]] == [tokens_per_step] * (len(pieces) - 1)


def test_a_session_goes_on_from_its_earlier_turns(own, naive):
    session = Session(own)
    first = joined(stream(session, [3, 4, 5], 5))
    second = joined(stream(session, [6, 7], 5))
    everything = naive(own, [3, 4, 5], 5)
    assert first == everything[3:]
    assert second == naive(own, [*everything, 6, 7], 5)[10:]


def test_a_session_pays_for_its_new_tokens_alone(own):
    session = Session(own)
    joined(stream(session, [3] * 20, 5))
    used = session.slots
    joined(stream(session, [6], 5))
    assert session.slots - used == 32 + 5  # one chunk for the prompt, whatever came before
    session.reset()
    assert joined(stream(session, [3, 4, 5], 4)) == generate(own, [[3, 4, 5]], 4)[0, 3:].tolist()


def test_a_stop_ends_the_stream_and_is_its_last_token(own, naive):
    expected = naive(own, [3, 4, 5], 8)[3:]
    end = expected.index(expected[2]) + 1
    assert joined(stream(own, [3, 4, 5], 8, stop_ids=expected[2], tokens_per_step=3)) == expected[:end]


def test_text_comes_in_pieces_that_make_the_whole(own):
    text = "".join(stream(own, "bcd", 9, tokenizer=Letters(), tokens_per_step=2))
    assert "bcd" + text == generate(own, ["bcd"], 9, tokenizer=Letters())[0]


def test_streams_of_one_session_take_turns(own):
    session = Session(own, max_length=40)
    first, second = (stream(session, [1, 2, 3], 15, tokens_per_step=5) for _ in range(2))
    next(first)
    next(second)
    with pytest.raises(ValueError, match="must finish or drop one stream before it begins the next"):
        next(first)
    third = stream(session, [4], 15)
    list(second)
    with pytest.raises(ValueError, match="must fit into what the session has left"):
        list(third)  # it fitted when it was made
    assert session.num_tokens <= 40


def test_many_short_turns_fit_as_far_as_their_tokens_do(own, naive):
    session, tokens = Session(own, max_length=40), []
    for turn in range(20):
        tokens.append(turn % 11)
        (piece,) = stream(session, tokens[-1:], 1)
        tokens += piece
        if turn in (0, 7, 8, 19):  # the slots run out after the eighth
            assert tokens == naive(own, tokens[:-1], 1)
    assert session.num_tokens == 40
    with pytest.raises(ValueError, match="40 of 40 tokens in use"):
        next(stream(session, [1], 0), None)
