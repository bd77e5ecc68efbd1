"""The frequencies of rotary positions and the scalings that are published for them."""

import math

import keras
import numpy as np
import pytest

from keras_tx.ops.frequencies import SCALINGS, frequencies, read_scaling

DIM, BASE = 16, 10_000.0
LONGROPE = {
    "type": "longrope",
    "factor": 32.0,
    "original_max_position_embeddings": 4096,
    "short_factor": [1.0, 1.05, 1.1, 1.2, 1.5, 2.0, 2.5, 3.0],
    "long_factor": [1.1, 1.5, 2.0, 4.0, 9.0, 20.0, 40.0, 60.0],
}
YARN = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 2048}
GIVEN = {
    "default": {"rope_type": "default"},
    "linear": {"type": "linear", "factor": 2.5},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 256,
    },
    "yarn": YARN,
    "yarn, untruncated": {**YARN, "truncate": False, "beta_fast": 16, "beta_slow": 2},
    "yarn, given factor": {**YARN, "attention_factor": 0.9},
    "yarn, two scales": {**YARN, "mscale": 0.707, "mscale_all_dim": 1.2},
    "longrope": LONGROPE,
    "longrope, long": {**LONGROPE, "factors": "long"},
    "longrope, given factor": {**LONGROPE, "attention_factor": 1.3},
}


def one_by_one(scaling):
    """The definitions of the papers, one pair after the other."""
    kind = scaling.get("type") or scaling["rope_type"]
    f, length = scaling.get("factor"), scaling.get("original_max_position_embeddings")
    found, factor = [], 1.0
    for pair in range(DIM // 2):
        w = 1.0 / BASE ** (2 * pair / DIM)
        wavelength = 2 * math.pi / w
        if kind == "linear":
            w = w / f
        elif kind == "llama3":
            if wavelength > length / scaling["low_freq_factor"]:
                w = w / f
            elif wavelength > length / scaling["high_freq_factor"]:
                low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
                smooth = (length / wavelength - low) / (high - low)
                w = (1 - smooth) * w / f + smooth * w
        elif kind == "yarn":
            # The pair that turns so many times in the text of training: its wavelength is length / turns.
            ends = [
                DIM / 2 * math.log(length / (2 * math.pi * scaling.get(name, turns))) / math.log(BASE)
                for name, turns in (("beta_fast", 32), ("beta_slow", 1))
            ]
            if scaling.get("truncate", True):
                ends = [math.floor(ends[0]), math.ceil(ends[1])]
            start, end = max(ends[0], 0), min(ends[1], DIM - 1)
            interpolated = min(max((pair - start) / (end - start), 0.0), 1.0)
            w = interpolated * w / f + (1 - interpolated) * w
            factor = 0.1 * math.log(f) + 1
            if "mscale" in scaling:
                factor = (0.1 * scaling["mscale"] * math.log(f) + 1) / (
                    0.1 * scaling["mscale_all_dim"] * math.log(f) + 1
                )
        elif kind == "longrope":
            w = w / scaling[f"{scaling.get('factors', 'short')}_factor"][pair]
            factor = math.sqrt(1 + math.log(f) / math.log(length))
        found.append(w)
    return found, scaling.get("attention_factor", factor)


@pytest.mark.once
@pytest.mark.parametrize("name", GIVEN)
def test_frequencies_are_the_definitions(name):
    w, factor = frequencies(DIM, BASE, read_scaling(GIVEN[name]))
    expected, expected_factor = one_by_one(GIVEN[name])
    assert w.dtype == np.float64
    np.testing.assert_allclose(w, expected, rtol=1e-13)
    assert factor == pytest.approx(expected_factor, rel=1e-14)
    assert set(SCALINGS) == {name.split(",")[0] for name in GIVEN}


@pytest.mark.skipif(keras.backend.backend() != "torch", reason="asks torch and transformers")
@pytest.mark.parametrize("name", [name for name in GIVEN if name != "default"])
def test_frequencies_are_those_of_transformers(name):
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaling = dict(GIVEN[name])
    kind = scaling.pop("type", None) or scaling.pop("rope_type")
    length = 10_000 if scaling.pop("factors", "short") == "long" else 4
    parameters = {"rope_type": kind, "rope_theta": BASE, **scaling}
    config = LlamaConfig(
        hidden_size=2 * DIM, num_attention_heads=2, max_position_embeddings=131_072, rope_parameters=parameters
    )
    theirs, factor = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=length)
    w, own_factor = frequencies(DIM, BASE, read_scaling(GIVEN[name]))
    np.testing.assert_allclose(w, theirs.numpy(), rtol=2e-6)  # which are in float32
    assert own_factor == pytest.approx(factor, rel=1e-12)


@pytest.mark.once
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (4.0, "`scaling` must be a dict or None. Received: scaling=4.0"),
        ({"type": "ntk"}, "one of 'default', 'linear', 'llama3', 'yarn', 'longrope'. Received: type='ntk'"),
        ({"factor": 2.0}, "`scaling` must have a type.*type=None"),
        ({"type": "dynamic", "factor": 2.0}, "must not depend on the length of the text.*'dynamic'"),
        ({"type": "linear"}, "`scaling` of type 'linear' must have the key 'factor'"),
        ({"type": "linear", "factor": None}, "must have the key 'factor'"),
        ({"type": "linear", "factor": 2.0, "beta_fast": 3}, "must have no keys but .*'factor'.*Received: 'beta_fast'"),
        ({"type": "linear", "factor": 0}, "`factor` must be a positive number. Received: factor=0"),
        ({**YARN, "truncate": 1}, "`truncate` must be True or False"),
        ({**YARN, "original_max_position_embeddings": 1}, "`original_max_position_embeddings` must be an integer of"),
        ({**GIVEN["llama3"], "low_freq_factor": 4.0}, "`low_freq_factor` must be below `high_freq_factor`"),
        ({**LONGROPE, "factors": "auto"}, "`factors` must be one of 'short', 'long'"),
        ({**LONGROPE, "long_factor": 2.0}, "`long_factor` must be a list"),
        ({**LONGROPE, "short_factor": [1.0, -1.0]}, "`short_factor` must be a positive number. Received: .*-1.0"),
    ],
)
def test_a_scaling_that_is_none_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        read_scaling(changes)
