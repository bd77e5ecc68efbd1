"""Generation: what it gives, when it stops, and how often it compiles."""

import keras
import numpy as np
import pytest

from keras_tx import layers
from keras_tx.applications import GPT
from keras_tx.decoding import Beam, Greedy, Sample, generate, trace_report

PROMPTS = [[3, 4, 5], [6, 7, 8, 9, 10, 1, 2], [5] * 40]


def test_greedy_equals_naive_greedy_for_prompts_of_unequal_length(any_model, naive):
    tokens = generate(any_model, PROMPTS, 6)
    for row, prompt in zip(tokens, PROMPTS, strict=True):
        assert row[: len(prompt) + 6].tolist() == naive(any_model, prompt, 6)
        assert not row[len(prompt) + 6 :].any()


def test_an_array_of_prompts_gives_an_array_of_their_rows(own, naive):
    prompts = np.array([[1, 2], [3, 4]])
    tokens = generate(own, prompts, 3)
    assert tokens.shape == (2, 5)
    assert tokens.dtype == np.int32
    assert [naive(own, prompt, 3) for prompt in prompts] == tokens.tolist()


def test_a_row_stops_at_what_it_generated_and_is_padded(own):
    free = generate(own, PROMPTS[:2], 8)
    stop = int(free[0, 5])
    tokens = generate(own, PROMPTS[:2], 8, stop_ids=[stop], pad_id=9)
    first = free[0, 3:11].tolist()
    end = 3 + first.index(stop) + 1
    assert tokens[0, :end].tolist() == free[0, :end].tolist()
    assert (tokens[0, end:] == 9).all()


def test_a_stop_in_the_prompt_does_not_stop(own, naive):
    prompt = [3, 4, 5]
    expected = naive(own, prompt, 4)
    unused = next(i for i in prompt if i not in expected[3:])
    assert generate(own, [prompt], 4, stop_ids=unused)[0].tolist() == expected


def test_the_padding_id_may_be_a_stop(own, naive):
    expected = naive(own, [3, 4, 5], 6)
    stop = expected[4]
    end = expected.index(stop, 3) + 1
    tokens = generate(own, [[3, 4, 5]], 6, stop_ids=[stop], pad_id=stop)[0].tolist()
    assert tokens == expected[:end] + [stop] * (9 - end)


def test_a_stop_may_be_a_sequence_of_tokens(own, naive):
    expected = naive(own, [6, 7], 8)
    sequence = expected[4:6]
    tokens = generate(own, [[6, 7]], 8, stop_ids=[sequence])[0].tolist()
    end = next(i for i in range(4, 11) if expected[i - 2 : i] == sequence and i >= 4)
    assert tokens[:end] == expected[:end]
    assert not any(tokens[end:])


def test_temperature_zero_is_greedy_and_equal_seeds_give_equal_tokens(own):
    greedy = generate(own, PROMPTS, 5, sampler=Greedy())
    assert np.array_equal(greedy, generate(own, PROMPTS, 5, sampler=Sample(temperature=0)))
    drawn = [generate(own, PROMPTS, 5, sampler=Sample(2.0), seed=seed) for seed in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_rows_do_not_depend_on_the_batch(own):
    together = generate(own, PROMPTS, 5)
    for row, prompt in zip(together, PROMPTS, strict=True):
        assert row[: len(prompt) + 5].tolist() == generate(own, [prompt], 5)[0].tolist()


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="torch compiles nothing")
def test_twenty_differing_calls_compile_at_most_four_programs():
    model = GPT(11, 200, num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=8)
    before = sum(trace_report().values())
    rng = np.random.default_rng(0)
    for call in range(20):
        prompts = [rng.integers(0, 11, rng.integers(1, 90)).tolist() for _ in range(1 + call % 4)]
        stops = [None, 3, [4, 5], [[6, 7], 8]][call % 4]
        generate(model, prompts, int(rng.integers(1, 60)), stop_ids=stops, seed=call)
    assert 1 <= sum(trace_report().values()) - before <= 4


def test_no_new_tokens_gives_the_prompts(own):
    assert generate(own, [[1, 2], [3]], 0).tolist() == [[1, 2], [3, 0]]


def test_no_prompts_give_no_rows(own):
    assert generate(own, [], 3).shape == (0, 3)


def test_the_position_table_can_be_filled_to_its_end(own, naive):
    prompt = [1 + i % 9 for i in range(60)]
    assert generate(own, [prompt], 4)[0].tolist() == naive(own, prompt, 4)


def test_a_model_that_was_changed_after_it_generated_is_compiled_anew(shake, naive):
    keras.utils.set_random_seed(0)  # of some weights the adapters change no token
    ids = keras.Input((None,), dtype="int32")
    x = layers.TransformerDecoder(16, 2)(layers.TokenAndPositionEmbedding(11, 64, 8)(ids))
    head = keras.layers.Dense(11)
    model = shake(keras.Model(ids, head(x)))
    before = generate(model, [[1, 2, 3]], 8).tolist()
    head.enable_lora(2)
    for weight in head.trainable_weights:
        if "lora" in weight.path:
            weight.assign(30 * np.random.default_rng(1).standard_normal(weight.shape))
    after = generate(model, [[1, 2, 3]], 8).tolist()
    assert after == [naive(model, [1, 2, 3], 8)]
    assert after != before


def test_the_smallest_temperature_takes_the_likeliest_tokens(own):
    coldest = generate(own, PROMPTS, 6, Sample(temperature=1e-38))
    np.testing.assert_array_equal(coldest, generate(own, PROMPTS, 6))


class Letters:
    """A tokenizer of letters, 'a' to 'k', that spells no empty list, as some of keras-hub's."""

    def tokenize(self, text):
        return [ord(letter) - 97 for letter in text if letter != " "]

    def detokenize(self, ids):
        assert len(ids)
        return "".join(chr(97 + int(i)) for i in ids)


@pytest.mark.parametrize("sampler", [Greedy(), Beam(4, num_return=2)], ids=["greedy", "beam"])
def test_a_text_without_tokens_stays_empty_beside_others(own, sampler):
    full = generate(own, ["bc", "defg"], 4, sampler, tokenizer=Letters())
    none = ["", ""] if isinstance(sampler, Beam) else ""
    texts = generate(own, ["bc", "", "defg", " "], 4, sampler, tokenizer=Letters())
    assert texts == [full[0], none, full[1], none]
    assert generate(own, ["", " "], 4, sampler, tokenizer=Letters()) == [none, none]
    assert generate(own, ["", "b"], 0, sampler, tokenizer=Letters())[0] == none
    if isinstance(sampler, Beam):
        _, scores = generate(own, ["bc", ""], 4, sampler, tokenizer=Letters(), return_scores=True)
        assert np.all(np.isfinite(scores[0]))
        assert np.all(scores[1] == -np.inf)
