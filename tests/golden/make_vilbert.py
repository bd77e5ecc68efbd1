"""Makes vilbert_tiny.npz: the outputs of a small ViLBERT, for which no library has a model, from its equations written plainly.

    python -m tests.golden.make_vilbert

needs scipy. The weights are those of `seeded.tensor`, by the names of the authors' code; the file holds the config, the shapes of
the tensors, the inputs and the outputs, which are computed in float64, row by row and without padding. The equations: Lu et al.
2019, section 2.2, and `vilbert/vilbert.py` of the authors for their order and the names.
"""

import json
from pathlib import Path

import numpy as np
from scipy.special import erf

from . import seeded

CONFIG = {
    "vocab_size": 13, "max_position_embeddings": 7, "type_vocab_size": 2, "hidden_size": 8, "num_hidden_layers": 4,
    "num_attention_heads": 2, "intermediate_size": 20, "v_feature_size": 6, "v_target_size": 5, "v_hidden_size": 12,
    "v_num_hidden_layers": 3, "v_num_attention_heads": 3, "v_intermediate_size": 10, "bi_hidden_size": 16,
    "bi_num_attention_heads": 4, "t_biattention_id": [1, 3], "v_biattention_id": [0, 2], "hidden_act": "gelu",
    "v_hidden_act": "gelu", "hidden_dropout_prob": 0.1, "v_hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.2,
    "v_attention_probs_dropout_prob": 0.2, "pooling_method": "mul",
}  # fmt: skip
NUM_ANSWERS = 4
INPUTS = {
    "token_ids": np.array([[2, 5, 6, 7, 8, 3], [2, 9, 3, 0, 0, 0], [2, 4, 11, 3, 12, 3]], "int32"),
    "segment_ids": np.array([[0] * 6, [0] * 6, [0, 0, 0, 0, 1, 1]], "int32"),
    "region_features": np.random.RandomState(1).normal(size=(3, 4, 6)).astype("float32"),
    "boxes": np.array(
        [
            [[0, 0, 1, 1], [0.125, 0.25, 0.5, 0.75], [0.5, 0.5, 0.5, 1], [0.25, 0, 1, 0.375]],
            [[0, 0, 1, 1], [0, 0.625, 0.25, 0.875], [0, 0, 0, 0], [0, 0, 0, 0]],
            [[0, 0, 1, 1], [0.75, 0.25, 1, 0.5], [0, 0, 0.5, 0.25], [0, 0, 0, 0]],
        ],
        "float32",
    ),
    "num_regions": np.array([4, 2, 3], "int32"),
}
WHERE = {
    "mask_positions": np.array([[1, 4], [1, 0], [2, 5]], "int32"),
    "region_mask_positions": np.array([[2, 3], [1, 0], [2, 1]], "int32"),
}


def shapes(config):
    """The shapes of all tensors that the authors' code writes for a model of answers, the unused ones among them."""
    d, e, p, v = (config[name] for name in ("hidden_size", "v_hidden_size", "bi_hidden_size", "vocab_size"))
    f, g = config["intermediate_size"], config["v_intermediate_size"]
    found = {
        "bert.embeddings.word_embeddings.weight": (v, d),
        "bert.embeddings.position_embeddings.weight": (config["max_position_embeddings"], d),
        "bert.embeddings.token_type_embeddings.weight": (config["type_vocab_size"], d),
        "cls.predictions.bias": (v,),
        "cls.predictions.decoder.weight": (v, d),
    }

    def dense(name, width, units):
        found.update({f"{name}.weight": (units, width), f"{name}.bias": (units,)})

    def norm(name, width):
        found.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    def network(name, kind, width, inner):
        dense(f"{name}.{kind}intermediate.dense", width, inner)
        dense(f"{name}.{kind}output.dense", inner, width)
        norm(f"{name}.{kind}output.LayerNorm", width)

    norm("bert.embeddings.LayerNorm", d)
    dense("bert.v_embeddings.image_embeddings", config["v_feature_size"], e)
    dense("bert.v_embeddings.image_location_embeddings", 5, e)
    norm("bert.v_embeddings.LayerNorm", e)
    for kind, count, width, inner in (("layer", 4, d, f), ("v_layer", 3, e, g)):
        for block in (f"bert.encoder.{kind}.{index}" for index in range(count)):
            for part in ("self.query", "self.key", "self.value", "output.dense"):
                dense(f"{block}.attention.{part}", width, width)
            norm(f"{block}.attention.output.LayerNorm", width)
            network(block, "", width, inner)
    for block in (f"bert.encoder.c_layer.{index}" for index in range(2)):
        for number, width, inner in (("1", e, g), ("2", d, f)):
            for part in ("query", "key", "value"):
                dense(f"{block}.biattention.{part}{number}", width, p)
            dense(f"{block}.biOutput.dense{number}", p, width)
            dense(f"{block}.biOutput.q_dense{number}", p, width)
            norm(f"{block}.biOutput.LayerNorm{number}", width)
            network(block, "v_" if number == "1" else "t_", width, inner)
    for name, width in (("t", d), ("v", e)):
        dense(f"bert.{name}_pooler.dense", width, p)
    for name, width in (("predictions", d), ("imagePredictions", e)):
        dense(f"cls.{name}.transform.dense", width, width)
        norm(f"cls.{name}.transform.LayerNorm", width)
    dense("cls.imagePredictions.decoder", e, config["v_target_size"])
    dense("cls.bi_seq_relationship", p, 2)
    dense("vil_prediction.logit_fc.0", p, 2 * p)
    norm("vil_prediction.logit_fc.2", 2 * p)
    dense("vil_prediction.logit_fc.3", 2 * p, NUM_ANSWERS)
    for name, width in (("vil_logit", p), ("vision_logit", e), ("linguisic_logit", d)):
        dense(name, width, 1)
    return found


def weights(config):
    """The tensors by name; the tied table is that of the words."""
    found = {name: seeded.tensor(name, shape) for name, shape in shapes(config).items()}
    return {**found, "cls.predictions.decoder.weight": found["bert.embeddings.word_embeddings.weight"]}


class Equations:
    """What a model computes for one text and one image, in float64."""

    def __init__(self, config, tensors):
        self.config = config
        self.tensors = {name: value.astype("float64") for name, value in tensors.items()}

    def dense(self, name, x):
        return x @ self.tensors[f"{name}.weight"].T + self.tensors[f"{name}.bias"]

    def norm(self, name, x):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-12)
        return x * self.tensors[f"{name}.weight"] + self.tensors[f"{name}.bias"]

    def attend(self, query, key, value, num_heads):
        """Attention (T, P) of queries (T, P) to keys and values (S, P), in heads."""
        outputs = []
        for q, k, v in zip(*(np.split(x, num_heads, axis=-1) for x in (query, key, value)), strict=True):
            weights = np.exp(q @ k.T / np.sqrt(q.shape[-1]))
            outputs.append(weights / weights.sum(-1, keepdims=True) @ v)
        return np.concatenate(outputs, axis=-1)

    def network(self, name, kind, x):
        inner = gelu(self.dense(f"{name}.{kind}intermediate.dense", x))
        return self.norm(f"{name}.{kind}output.LayerNorm", self.dense(f"{name}.{kind}output.dense", inner) + x)

    def block(self, name, x, num_heads):
        parts = (self.dense(f"{name}.attention.self.{part}", x) for part in ("query", "key", "value"))
        y = self.dense(f"{name}.attention.output.dense", self.attend(*parts, num_heads))
        return self.network(name, "", self.norm(f"{name}.attention.output.LayerNorm", x + y))

    def co_attention(self, name, text, regions):
        streams, heads, outputs = {"1": regions, "2": text}, self.config["bi_num_attention_heads"], {}
        for own, other in (("1", "2"), ("2", "1")):
            query = self.dense(f"{name}.biattention.query{own}", streams[own])
            key, value = (self.dense(f"{name}.biattention.{part}{other}", streams[other]) for part in ("key", "value"))
            y = self.dense(f"{name}.biOutput.dense{own}", self.attend(query, key, value, heads))
            outputs[own] = self.norm(f"{name}.biOutput.LayerNorm{own}", streams[own] + y)
        return self.network(name, "t_", outputs["2"]), self.network(name, "v_", outputs["1"])

    def trunk(self, ids, segments, features, boxes):
        config, tables = (
            self.config,
            [f"bert.embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type")],
        )
        words, positions, kinds = (self.tensors[name] for name in tables)
        text = self.norm("bert.embeddings.LayerNorm", words[ids] + positions[: len(ids)] + kinds[segments])
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        regions = self.dense("bert.v_embeddings.image_embeddings", features) + self.dense(
            "bert.v_embeddings.image_location_embeddings", np.concatenate([boxes, area[:, None]], axis=-1)
        )
        regions = self.norm("bert.v_embeddings.LayerNorm", regions)
        starts = {"layer": 0, "v_layer": 0}

        def until(kind, x, end, heads):
            for index in range(starts[kind], end):
                x = self.block(f"bert.encoder.{kind}.{index}", x, config[heads])
            starts[kind] = end
            return x

        ends = list(zip(config["t_biattention_id"], config["v_biattention_id"], strict=True))
        for number, (text_end, region_end) in enumerate(
            [*ends, (config["num_hidden_layers"], config["v_num_hidden_layers"])]
        ):
            text = until("layer", text, text_end, "num_attention_heads")
            regions = until("v_layer", regions, region_end, "v_num_attention_heads")
            if number < len(ends):
                text, regions = self.co_attention(f"bert.encoder.c_layer.{number}", text, regions)
        return {
            "text_output": text,
            "region_output": regions,
            "pooled_text": np.maximum(self.dense("bert.t_pooler.dense", text[0]), 0),
            "pooled_regions": np.maximum(self.dense("bert.v_pooler.dense", regions[0]), 0),
        }

    def heads(self, found, word_positions, region_positions):
        def transformed(name, x):
            return self.norm(f"cls.{name}.transform.LayerNorm", gelu(self.dense(f"cls.{name}.transform.dense", x)))

        fused = found["pooled_text"] * found["pooled_regions"]
        x = transformed("predictions", found["text_output"][word_positions])
        answers = self.norm("vil_prediction.logit_fc.2", gelu(self.dense("vil_prediction.logit_fc.0", fused)))
        regions = transformed("imagePredictions", found["region_output"][region_positions])
        return {
            "masked_lm": x @ self.tensors["cls.predictions.decoder.weight"].T + self.tensors["cls.predictions.bias"],
            "masked_regions": self.dense("cls.imagePredictions.decoder", regions),
            "alignment": self.dense("cls.bi_seq_relationship", fused),
            "answers": self.dense("vil_prediction.logit_fc.3", answers),
        }


def gelu(x):
    """x Phi(x)."""
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def outputs(config, tensors):
    """All outputs for `INPUTS` by name, each row computed from what is real of it alone, with zeros at what is not."""
    model, rows = Equations(config, tensors), []
    for row, count in enumerate(INPUTS["num_regions"]):
        length = int((INPUTS["token_ids"][row] != 0).sum())
        text = (INPUTS[name][row, :length] for name in ("token_ids", "segment_ids"))
        regions = (INPUTS[name][row, :count].astype("float64") for name in ("region_features", "boxes"))
        found = model.trunk(*text, *regions)
        rows.append({**found, **model.heads(found, *(WHERE[name][row] for name in WHERE))})
    sizes = {name: max(len(found[name]) for found in rows) for name in rows[0]}

    def filled(name, value):
        return np.pad(value, [(0, sizes[name] - len(value)), *[(0, 0)] * (value.ndim - 1)])

    return {name: np.stack([filled(name, found[name]) for found in rows]).astype("float32") for name in sizes}


def main():
    """Writes the file beside this script."""
    arrays = {f"inputs/{name}": value for name, value in {**INPUTS, **WHERE}.items()}
    arrays |= {f"outputs/{name}": value for name, value in outputs(CONFIG, weights(CONFIG)).items()}
    path = Path(__file__).with_name("vilbert_tiny.npz")
    np.savez_compressed(path, config=json.dumps(CONFIG), shapes=json.dumps(shapes(CONFIG)), **arrays)


if __name__ == "__main__":
    main()
