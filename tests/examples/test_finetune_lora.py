"""The fine-tuning of a language model: pairs of docstrings, a loss on the answers alone, and adapters that learn."""

import docstring_pairs
import finetune_lora
import keras
import numpy as np
import pytest

from keras_tx.adapters import enable_lora
from keras_tx.applications import Llama, load_tokenizer

from ..applications.huggingface import tokenizer_folders as folders

SOURCE = '''
"""Of the module, which is left out.

{rest}
"""
class Box:
    """Holds things of any kind{end}

    {rest}
    """
    def put(self, thing, *, twice=False):
        """Puts a thing into the box{end}

        {rest}
        """
    def short(self):
        """Has no more to say than this.

        Indeed.
        """
def long():
    """Says in its first line what others
    say in two.

    {rest}
    """
'''
REST = " ".join(f"word{number}" for number in range(20))


def source(end="."):
    return SOURCE.replace("{rest}", REST).replace("{end}", end)


@pytest.mark.once
def test_pairs_of_a_source():
    found = docstring_pairs.pairs(source(), "shop.boxes")
    assert found == [
        ("shop.boxes.Box", REST, "Holds things of any kind."),
        ("shop.boxes.Box.put(self, thing, *, twice=False)", REST, "Puts a thing into the box."),
    ]
    assert docstring_pairs.pairs("def f(:", "shop") == []


@pytest.mark.once
def test_no_first_line_is_in_both_parts(tmp_path, monkeypatch):
    folder = tmp_path / "shop_of_pairs"
    folder.mkdir()
    for number in range(60):  # each has two lines of its own, and each pair of files has the same ones
        (folder / f"module_{number}.py").write_text(source(f" {number // 2}" + "." * (number % 2)))
    monkeypatch.syspath_prepend(tmp_path)
    training, held_out = docstring_pairs.load(["shop_of_pairs", "not_installed_at_all"])
    assert len(training) + len(held_out) == 2 * 30
    assert 0 < len(held_out) < len(training)
    files = [{pair.signature.split(".")[1] for pair in part} for part in (training, held_out)]
    assert not files[0] & files[1]
    assert docstring_pairs.load(["shop_of_pairs"]) == (training, held_out)
    with pytest.raises(ImportError, match="None of these packages is installed: not_installed_at_all"):
        docstring_pairs.load(["not_installed_at_all"])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    config = {"chat_template": folders.TEMPLATE, "eos_token": "<|im_end|>"}
    return load_tokenizer(
        folders.write(tmp_path_factory.mktemp("tokenizer"), folders.byte_pairs(), tokenizer_config=config)
    )


@pytest.fixture(scope="module")
def model(tokenizer):
    keras.utils.set_random_seed(0)
    size = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "intermediate_dim": 16}
    made = Llama(tokenizer.vocabulary_size(), **size, tied=True)
    enable_lora(made, 4, finetune_lora.TARGETS, alpha=8)
    return made


def eager(fitted):
    fitted.run_eagerly, fitted.jit_compile = True, False  # the program is not the point
    return fitted


PAIRS = [
    docstring_pairs.Pair("box.put(thing)", "Größe " * 90, "Puts it."),
    docstring_pairs.Pair("box.get()", "The quick fox.", "The quick brown fox. " * 9),
]


@pytest.mark.once
def test_the_loss_is_that_of_the_answers_tokens_alone(model, tokenizer):
    inputs, labels = finetune_lora.examples(tokenizer, PAIRS)
    texts = finetune_lora.prompts(tokenizer, PAIRS)
    total = finetune_lora.PROMPT_LENGTH + finetune_lora.ANSWER_LENGTH
    assert inputs["token_ids"].shape == (2, total)
    for text, ids, positions, answer, pair in zip(texts, *inputs.values(), labels, PAIRS, strict=True):
        prompt = tokenizer.tokenize(text)
        assert len(prompt) <= finetune_lora.PROMPT_LENGTH
        assert f"<|im_start|>user\n{pair.signature}\n" in text
        assert text.endswith("<|im_end|>\n<|im_start|>assistant\n")
        real = answer[answer != 0]
        np.testing.assert_array_equal(ids[: len(prompt) + len(real)], [*prompt, *real])
        assert not ids[len(prompt) + len(real) :].any()
        np.testing.assert_array_equal(ids[positions + 1][: len(real)], real)
        assert real[-1] == tokenizer.stop_ids[0]
        assert pair.summary.startswith(tokenizer.detokenize(real[:-1]))
    fitted = eager(finetune_lora.trainer(model, 1))
    whole = keras.ops.convert_to_numpy(model(inputs["token_ids"]))
    rows = np.take_along_axis(whole, inputs["positions"][..., None], axis=1)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(fitted(inputs)), rows, atol=1e-5)
    chances = np.exp(rows - rows.max(-1, keepdims=True))
    chances /= chances.sum(-1, keepdims=True)
    of_labels = np.take_along_axis(chances, labels[..., None], axis=-1)[..., 0]
    loss, summaries = finetune_lora.measure(fitted, model, tokenizer, PAIRS)
    np.testing.assert_allclose(loss, -np.log(of_labels[labels != 0]).mean(), rtol=1e-5)
    assert len(summaries) == 2
    assert not any("<|im_start|>" in summary or "\n" in summary for summary in summaries)


@pytest.mark.once
def test_training_changes_the_adapters_and_ends_in_time(model, tokenizer, monkeypatch, capsys):
    monkeypatch.setattr(finetune_lora, "RATE", 0.02)
    fitted = eager(finetune_lora.trainer(model, 6))
    before = [keras.ops.convert_to_numpy(weight) for weight in fitted.weights]
    assert finetune_lora.tune(fitted, tokenizer, PAIRS * 12 + PAIRS[:1], minutes=9)[0] == 24
    changed = {
        weight.path.split("/")[-1]
        for weight, values in zip(fitted.weights, before, strict=True)
        if np.any(keras.ops.convert_to_numpy(weight) != values)
    }
    assert changed == {"lora_kernel_a", "lora_kernel_b"}
    shown = capsys.readouterr().out
    assert "step 6 of 6" in shown
    assert finetune_lora.tune(fitted, tokenizer, PAIRS * 12, minutes=0)[0] < 24
    assert "as --minutes says" in capsys.readouterr().out


@pytest.mark.once
def test_the_nearest_text_is_the_baseline():
    pairs = [*PAIRS, docstring_pairs.Pair("dog.run()", "A lazy dog.", "Runs.")]
    asked = [docstring_pairs.Pair("cat.run()", "The lazy dog runs.", "?"), PAIRS[0]]
    assert finetune_lora.nearest_summaries(pairs, asked) == ["Runs.", "Puts it."]
