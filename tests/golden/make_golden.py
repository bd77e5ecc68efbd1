"""Writes what torch and transformers compute, as small arrays that the tests compare with on every backend.

    python tests/golden/make_golden.py

The weights are drawn with numpy, so that a run gives the same files whatever the version of torch. `ARRAYS` names the functions;
each returns the arrays of one file.
"""

from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
BATCH, LENGTH, CONTEXT, WIDTH, HEADS, INTERMEDIATE = 2, 5, 4, 16, 4, 24

REAL = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], bool)
CONTEXT_REAL = np.array([[1, 1, 0, 0], [1, 1, 1, 1]], bool)


def _numbers(seed):
    random = np.random.default_rng(seed)
    return lambda *shape: random.normal(0, 0.5, shape).astype("float32")


def _with_weights(module, seed):
    """Gives every parameter of a torch module its value; returns the module and its parameters as arrays."""
    import torch

    draw = _numbers(seed)
    with torch.no_grad():
        for _, parameter in sorted(module.named_parameters()):
            parameter.copy_(torch.from_numpy(draw(*parameter.shape)))
    weights = {f"weights/{name}": parameter.detach().numpy() for name, parameter in module.named_parameters()}
    return module.eval(), weights


def attention():
    """torch.nn.MultiheadAttention: self-attention with padding, causal, and attention to a context."""
    import torch

    module, arrays = _with_weights(torch.nn.MultiheadAttention(WIDTH, HEADS, batch_first=True), seed=1)
    draw = _numbers(2)
    x, context = draw(BATCH, LENGTH, WIDTH), draw(BATCH, CONTEXT, WIDTH)
    inputs, other = torch.from_numpy(x), torch.from_numpy(context)
    future = torch.triu(torch.ones(LENGTH, LENGTH, dtype=torch.bool), 1)
    arrays |= {"x": x, "context": context, "real": REAL, "context_real": CONTEXT_REAL}
    with torch.no_grad():
        for name, call in {
            "padded": lambda: module(
                inputs, inputs, inputs, key_padding_mask=torch.from_numpy(~REAL), average_attn_weights=False
            ),
            "causal": lambda: module(inputs, inputs, inputs, attn_mask=future, average_attn_weights=False),
            "cross": lambda: module(
                inputs, other, other, key_padding_mask=torch.from_numpy(~CONTEXT_REAL), average_attn_weights=False
            ),
        }.items():
            outputs, scores = call()
            arrays |= {f"{name}/outputs": outputs.numpy(), f"{name}/scores": scores.numpy()}
    return arrays


def encoder():
    """torch.nn.TransformerEncoderLayer: both places of the norm, both activations, with padding."""
    import torch

    arrays = {"x": _numbers(4)(BATCH, LENGTH, WIDTH), "real": REAL}
    for norm_first in (False, True):
        for activation in ("relu", "gelu"):
            module = torch.nn.TransformerEncoderLayer(
                WIDTH, HEADS, INTERMEDIATE, activation=activation, batch_first=True, norm_first=norm_first
            )
            module, weights = _with_weights(module, seed=3)
            arrays |= weights
            outputs = module(torch.from_numpy(arrays["x"]), src_key_padding_mask=torch.from_numpy(~REAL))
            arrays[f"{'pre' if norm_first else 'post'}-{activation}"] = outputs.detach().numpy()
    return arrays


def decoder():
    """torch.nn.TransformerDecoderLayer: both places of the norm, causal, with padding on both sides."""
    import torch

    draw = _numbers(6)
    arrays = {"x": draw(BATCH, LENGTH, WIDTH), "context": draw(BATCH, CONTEXT, WIDTH)}
    arrays |= {"real": REAL, "context_real": CONTEXT_REAL}
    future = torch.triu(torch.ones(LENGTH, LENGTH, dtype=torch.bool), 1)
    for norm_first in (False, True):
        module = torch.nn.TransformerDecoderLayer(
            WIDTH, HEADS, INTERMEDIATE, activation="gelu", batch_first=True, norm_first=norm_first
        )
        module, weights = _with_weights(module, seed=5)
        arrays |= weights
        outputs = module(
            torch.from_numpy(arrays["x"]),
            torch.from_numpy(arrays["context"]),
            tgt_mask=future,
            tgt_key_padding_mask=torch.from_numpy(~REAL),
            memory_key_padding_mask=torch.from_numpy(~CONTEXT_REAL),
        )
        arrays["pre" if norm_first else "post"] = outputs.detach().numpy()
    return arrays


def grouped():
    """torch.nn.functional.scaled_dot_product_attention with fewer key heads than query heads, causal and not."""
    import torch

    draw = _numbers(7)
    query, key, value = draw(BATCH, LENGTH, HEADS, 4), draw(BATCH, LENGTH, 2, 4), draw(BATCH, LENGTH, 2, 4)
    arrays = {"query": query, "key": key, "value": value}
    heads_first = [torch.from_numpy(each).transpose(1, 2) for each in (query, key, value)]
    for name, causal in {"all": False, "causal": True}.items():
        outputs = torch.nn.functional.scaled_dot_product_attention(*heads_first, is_causal=causal, enable_gqa=True)
        arrays[name] = outputs.transpose(1, 2).contiguous().numpy()
    return arrays


def rotary():
    """The rotary positions of transformers' Llama, for positions counted from 0 and for others."""
    import torch
    from transformers.models.llama.modeling_llama import LlamaConfig, LlamaRotaryEmbedding, apply_rotary_pos_emb

    draw = _numbers(8)
    query, key = draw(BATCH, LENGTH, HEADS, 8), draw(BATCH, LENGTH, 2, 8)
    positions = np.array([[0, 1, 2, 3, 4], [0, 0, 7, 100, 1000]])
    config = LlamaConfig(hidden_size=8 * HEADS, num_attention_heads=HEADS, num_key_value_heads=2)
    cosine, sine = LlamaRotaryEmbedding(config)(torch.from_numpy(query), torch.from_numpy(positions))
    heads_first = [torch.from_numpy(each).transpose(1, 2) for each in (query, key)]
    rotated = [each.transpose(1, 2).contiguous().numpy() for each in apply_rotary_pos_emb(*heads_first, cosine, sine)]
    return {
        "query": query,
        "key": key,
        "positions": positions.astype("int32"),
        "rotated_query": rotated[0],
        "rotated_key": rotated[1],
    }


ARRAYS = {each.__name__: each for each in (attention, encoder, decoder, grouped, rotary)}


def main():
    for name, make in ARRAYS.items():
        path = FOLDER / f"{name}.npz"
        np.savez_compressed(path, **make())
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
