"""The file of a folder that says how its model generates.

Where it is there, `transformers` takes nothing of this from `config.json`. So whoever writes it takes over what that says.
"""

NAME = "generation_config.json"
# What a config.json may say of generation.
_KEYS = (
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id", "forced_eos_token_id",
    "bad_words_ids", "suppress_tokens", "begin_suppress_tokens", "max_length", "min_length", "do_sample", "num_beams",
    "early_stopping", "length_penalty", "repetition_penalty", "no_repeat_ngram_size", "temperature", "top_k", "top_p",
)  # fmt: skip


def completed(said, config):
    """Returns what a `generation_config.json` says, a dict, and what a `config.json` says of generation that it does not."""
    return {key: config[key] for key in _KEYS if config.get(key) is not None} | said
