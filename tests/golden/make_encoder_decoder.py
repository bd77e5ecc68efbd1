"""Makes encoder_decoder_tiny.npz: logits and generated ids of small Marian and BART models of `transformers`.

    python -m tests.golden.make_encoder_decoder

needs torch and transformers. The weights are those of `seeded.tensor`; the file holds the configs, the ids and what the
models gave for them.
"""

import json
from pathlib import Path

import numpy as np

from . import seeded

SIZES = {
    "vocab_size": 23,
    "d_model": 12,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 3,
    "decoder_attention_heads": 3,
    "encoder_ffn_dim": 20,
    "decoder_ffn_dim": 20,
    "max_position_embeddings": 20,
    "forced_eos_token_id": None,
}
CONFIGS = {
    "marian": {**SIZES, "scale_embedding": True, "activation_function": "swish", "pad_token_id": 22},
    "bart": {**SIZES, "pad_token_id": 1, "bos_token_id": None},
}
START = {"marian": 22, "bart": 2}
ROWS = ([5, 6, 7], [8, 9, 10, 11, 12, 13, 4], [14])
NEW, BEAMS = 8, ((4, 1.0), (4, 0.0))  # tokens; widths and length penalties
TIED = ("encoder.embed_tokens", "decoder.embed_tokens")


def values(name, shape, config):
    """The weights of a tensor, `None` for one that is fixed; those of maps are large, so that texts vary."""
    if "embed_positions" in name and "scale_embedding" in config:
        return None
    if name == "lm_head.weight" or any(tied in name for tied in TIED):
        name = "model.shared.weight"
    is_map = len(shape) == 2 and "layers" in name
    return seeded.tensor(name, shape) * np.float32(4 if is_map else 1)


def model(kind, **options):
    """A model of `transformers` with the weights of its tensors' names."""
    import torch
    import transformers

    classes = {
        "marian": (transformers.MarianConfig, transformers.MarianMTModel),
        "bart": (transformers.BartConfig, transformers.BartForConditionalGeneration),
    }
    make_config, make_model = classes[kind]
    config = {**CONFIGS[kind], **options}
    made = make_model(make_config(**config, decoder_start_token_id=START[kind])).eval()
    state = made.state_dict()
    for name, value in state.items():
        array = values(name, tuple(value.shape), config)
        state[name] = value if array is None else torch.tensor(array)
    made.load_state_dict(state)
    return made


def inputs(kind):
    """Sources of unequal length, padded, and targets behind the start."""
    source = np.full((len(ROWS), max(map(len, ROWS))), CONFIGS[kind]["pad_token_id"], "int32")
    for place, row in zip(source, ROWS, strict=True):
        place[: len(row)] = row
    target = np.random.RandomState(0).randint(3, 22, (len(ROWS), 5)).astype("int32")
    target[:, 0] = START[kind]
    return source, target


def logits(made, kind, source, target):
    """What a model of `transformers` gives for ids."""
    import torch

    source, target = (torch.tensor(np.asarray(ids, "int64")) for ids in (source, target))
    mask = (source != CONFIGS[kind]["pad_token_id"]).long()
    with torch.no_grad():
        return made(input_ids=source, attention_mask=mask, decoder_input_ids=target).logits.numpy()


def generated(made, kind, source, width, length_penalty=1.0):
    """The ids that a model of `transformers` generates, padded to one length."""
    import torch

    source = torch.tensor(np.asarray(source, "int64"))
    padding = CONFIGS[kind]["pad_token_id"]
    found = made.generate(
        source,
        attention_mask=(source != padding).long(),
        num_beams=width,
        length_penalty=length_penalty,
        do_sample=False,
        max_new_tokens=NEW,
    ).numpy()
    return np.pad(found, ((0, 0), (0, 1 + NEW - found.shape[1])), constant_values=padding).astype("int32")


def main():
    """Writes the file beside this script."""
    arrays, configs = {}, {}
    for kind in CONFIGS:
        source, target = inputs(kind)
        # The end is a token that the model likes to write.
        end = int(generated(model(kind, eos_token_id=None), kind, source, 1)[1, 4])
        made = model(kind, eos_token_id=end)
        configs[kind] = {**made.config.to_diff_dict(), "architectures": [type(made).__name__]}
        arrays |= {f"{kind}/source": source, f"{kind}/target": target}
        arrays[f"{kind}/logits"] = logits(made, kind, source, target)
        arrays[f"{kind}/greedy"] = generated(made, kind, source, 1)
        for number, beam in enumerate(BEAMS):
            arrays[f"{kind}/beam_{number}"] = generated(made, kind, source, *beam)
    np.savez_compressed(Path(__file__).with_name("encoder_decoder_tiny.npz"), configs=json.dumps(configs), **arrays)


if __name__ == "__main__":
    main()
