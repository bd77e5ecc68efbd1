"""Streams give what generate gives, piece by piece, and a session does not forget."""

import sys

import numpy as np
import pytest
from keras import ops

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
    assert "".join(stream(own, [1, 2, 3], 9, tokenizer=Letters(), tokens_per_step=2)) == text
    assert generate(own, [[1, 2, 3], "b"], 9, tokenizer=Letters())[0] == text


def test_streams_of_one_session_take_turns(own):
    session = Session(own, max_length=32)
    first, second = (stream(session, [1, 2, 3], 15, tokens_per_step=5) for _ in range(2))
    next(first)
    next(second)
    with pytest.raises(ValueError, match="must finish or drop one stream before it begins the next"):
        next(first)
    third = stream(session, [4], 15)
    list(second)
    with pytest.raises(ValueError, match="must fit into what the session has left"):
        list(third)  # it fitted when it was made
    assert session.num_tokens == 18  # the first was dropped


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


class TestATurnIsTakenUpWholeOrNotAtAll:
    """Whatever ends a turn, and wherever: the next answer is that of `generate` on what the session says it has read."""

    STREAM = sys.modules["keras_tx.decoding.stream"]
    AGAIN = ((4, KeyboardInterrupt), (2, RuntimeError))

    @pytest.fixture
    def session(self, own):
        session = Session(own, max_length=64)
        joined(stream(session, [3, 4, 5], 4))
        return session

    @staticmethod
    def goes_on(session, expected):
        """Asserts that the session has read these tokens, and goes on from them as `generate` does."""
        assert session.ids == expected
        assert session.num_tokens == len(expected)
        sampler = Sample(0, repetition_penalty=1.5)  # which asks for the tokens that were seen
        asked = [*expected, 8]
        assert joined(stream(session, [8], 5, sampler)) == generate(session.model, [asked], 5, sampler)[0, -5:].tolist()

    @pytest.mark.parametrize(
        ("place", "error"),
        [
            *((place, KeyboardInterrupt) for place in range(4)),
            *(pytest.param(*x, marks=pytest.mark.once) for x in AGAIN),
        ],
    )
    def test_when_a_program_fails(self, session, monkeypatch, place, error):
        told, calls, run = session.ids, [], self.STREAM.programs.run
        if place == 4:  # after many short turns all is read again: one program more
            while session.slots + 32 + 3 <= session.capacity:
                joined(stream(session, [1], 1))
            told = session.ids

        def failing(decoder, name, *rest):
            calls.append(name)
            if len(calls) > place % 4:
                raise error
            return run(decoder, name, *rest)

        monkeypatch.setattr(self.STREAM.programs, "run", failing)
        with pytest.raises(error):
            joined(stream(session, [6, 7], 3, tokens_per_step=1))
        monkeypatch.undo()
        assert calls[0] == "append"
        assert len(calls) == place % 4 + 1
        self.goes_on(session, told)

    @pytest.mark.once
    def test_at_every_line_that_an_interrupt_can_hit(self, session):
        told, whole, hit = session.turns, [*session.ids, 6, 7], 0
        taken = set()
        while True:
            session.turns, lines = told, [0]

            def interrupt(frame, event, _, lines=lines, place=hit):
                if frame.f_code.co_filename != self.STREAM.__file__:
                    return None
                if event == "line":
                    lines[0] += 1
                    if lines[0] == place + 1:
                        raise KeyboardInterrupt
                return interrupt

            before = sys.gettrace()
            try:
                sys.settrace(interrupt)
                joined(stream(session, [6, 7], 2, tokens_per_step=1))
            except KeyboardInterrupt:
                sys.settrace(before)
            else:
                break
            finally:
                sys.settrace(before)
            taken.add(session.turns is not told)
            assert session.turns is told or session.ids[:-2] == whole
            hit += 1
        assert hit > 50
        assert taken == {True, False}
        self.goes_on(session, session.ids)

    @pytest.mark.parametrize("end", ["close", "drop", "throw", "break"])
    def test_when_whoever_takes_the_pieces_ends_it(self, session, end):
        told, pieces = session.ids, stream(session, [6, 7], 6, tokens_per_step=2)
        assert len(next(pieces)) == 2
        assert session.ids == told  # nothing is taken up yet
        if end == "close":
            pieces.close()
        elif end == "throw":
            with pytest.raises(OSError, match="socket"):
                pieces.throw(OSError("socket"))
        elif end == "break":
            for _ in pieces:
                break
        del pieces
        self.goes_on(session, told)

    def test_when_its_last_piece_was_handed_out_it_is_taken_up(self, session):
        told, pieces = session.ids, stream(session, [6, 7], 4, tokens_per_step=2)
        new = [*next(pieces), *next(pieces)]
        pieces.close()
        self.goes_on(session, [*told, 6, 7, *new])

    def test_when_its_prompt_alone_is_read(self, session):
        told = session.ids
        assert joined(stream(session, [6, 7], 0)) == []
        self.goes_on(session, [*told, 6, 7])

    @pytest.mark.once
    def test_when_it_is_never_begun_or_does_not_fit(self, session):
        told = session.ids
        stream(session, [6, 7], 4)
        with pytest.raises(ValueError, match="must fit into what the session has left"):
            stream(session, [6, 7], 64)
        self.goes_on(session, told)

    def test_when_a_logit_is_nan(self, session):
        told, head = session.ids, session.model.get_layer("head")
        bias = np.array(ops.convert_to_numpy(head.bias))
        head.bias.assign(np.full_like(bias, np.nan))
        try:
            with pytest.raises(ValueError, match="must give logits that are numbers"):
                joined(stream(session, [6, 7], 4))
        finally:
            head.bias.assign(bias)
        self.goes_on(session, told)

    @pytest.mark.once
    def test_when_its_text_cannot_be_spelled(self, session):
        class Mute(Letters):
            def detokenize(self, ids):
                raise RuntimeError("no such letter")

        told = session.ids
        with pytest.raises(RuntimeError, match="no such letter"):
            list(stream(session, "bc", 4, tokenizer=Mute(), tokens_per_step=2))
        self.goes_on(session, told)


def test_numbers_of_numpy_are_taken(own):
    assert Session(own, np.int64(40)).max_length == 40
    assert [len(piece) for piece in stream(own, [3], np.int32(4), tokens_per_step=np.int64(2))] == [2, 2]
    for name, value in (("tokens_per_step", 0), ("tokens_per_step", True), ("max_length", 2.0)):
        with pytest.raises(ValueError, match=f"`{name}` must be a positive integer. Received: {name}={value}"):
            Session(own, value) if name == "max_length" else stream(own, [3], 4, tokens_per_step=value)
