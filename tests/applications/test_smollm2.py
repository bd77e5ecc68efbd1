"""SmolLM2, a language model with real weights, where `make chat` has installed it."""

import importlib

import keras
import numpy as np
import pytest
import smollm2

from keras_tx.applications import load_tokenizer

try:
    FILE = smollm2.path()
except FileNotFoundError as error:
    FILE, pytestmark = None, pytest.mark.skip(reason=str(error))

PROMPT = "The capital of France is"


def logits(model, ids):
    return keras.ops.convert_to_numpy(model(np.array([ids])))[0]


@pytest.mark.once
def test_it_knows_the_capital_of_france():
    model, tokenizer = smollm2.load()
    assert model.count_params() == 134_515_008
    best = int(logits(model, tokenizer.tokenize(PROMPT))[-1].argmax())
    assert tokenizer.detokenize([best]) == " Paris"


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="transformers runs on torch")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_its_logits_are_those_of_transformers_on_the_same_weights():
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    model, tokenizer = smollm2.load()
    text = load_tokenizer(FILE).chat_prompt([{"role": "user", "content": f"{PROMPT} what? Größe, 12345\n"}])
    folder, name = FILE.parent, FILE.name
    theirs = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
    ids = tokenizer.tokenize(text).tolist()
    assert ids == theirs(text, add_special_tokens=False)["input_ids"]
    # Its own reading of the file, of which `from_pretrained` asks for one more package.
    config = transformers.AutoConfig.from_pretrained(folder, gguf_file=name)
    reference = transformers.LlamaForCausalLM(config).eval()
    read = importlib.import_module("transformers.modeling_gguf_pytorch_utils").load_gguf_checkpoint
    tensors = read(str(FILE), return_tensors=True, model_to_load=reference, torch_dtype=torch.float32)["tensors"]
    assert set(reference.load_state_dict(tensors, strict=False).missing_keys) <= {"lm_head.weight"}  # which is tied
    with torch.no_grad():
        expected = reference(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(expected).max() > 10
    np.testing.assert_allclose(logits(model, ids), expected, atol=1e-4)
