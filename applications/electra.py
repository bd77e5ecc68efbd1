"""ELECTRA: a small BERT proposes tokens for hidden places, and a larger one learns to tell which tokens are not the original."""

import keras
from keras import ops

from ..ops.replaced_tokens import special_tokens
from ..pretraining.replaced_tokens_layer import ReplacedTokens
from ..quantization import with_layer_structure
from .bert_heads import bert_pretrainer, check_encoder, dense


def electra_pretrainer(
    generator, discriminator, special_ids=(0,), temperature=1.0, activation="gelu", seed=None, name="electra_pretrainer"
) -> keras.Model:
    """Puts the objectives of ELECTRA on two encoders: masked tokens for the first, replaced tokens for the second.

    The generator restores masked tokens; what it proposes stands in the text that the discriminator reads, which tells for each
    token whether it is the original. It learns from all tokens, and not from the masked 15 % alone. After the training the
    discriminator is the encoder to be fine-tuned. No gradient goes from it to the generator.

    Args:
        generator: model of `BERT`, a quarter to a half as wide as the other, of the same vocabulary, shared and not copied.
        discriminator: model of `BERT` of another name, shared and not copied.
        special_ids: ids that are never proposed.
        temperature: float above 0, of what is proposed.
        activation: name or function, of the transforms before the logits.
        seed: int or `None`.
        name: str, the model's name.

    Returns:
        A functional `keras.Model` from a dict of int32 `token_ids`, `segment_ids` (B, T), `mask_positions`, `mask_ids` (B, M) and
        float32 `mask_weights` (B, M), as `mask_tokens` makes them, to a dict: `masked_lm`, the generator's logits (B, M, V), and
        `replaced` (B, T, 2), for each token a logit that it is not the original, and 1 where it is not, for
        `ReplacedTokenCrossentropy`.

    Raises:
        ValueError: if either is no model of `BERT`, both have one name, or their vocabularies differ; for special ids outside the
            vocabulary, or all of it; and from the layers.

    Example:

    ```python
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 16, "pooler": False}
    encoder = keras_tx.applications.BERT(100, 16, **sizes)
    model = keras_tx.applications.electra_pretrainer(
        keras_tx.applications.BERT(100, 16, **sizes, name="generator"), encoder
    )
    token_loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
    losses = {"masked_lm": token_loss, "replaced": keras_tx.losses.ReplacedTokenCrossentropy()}
    model.compile("adamw", losses, loss_weights={"masked_lm": 1.0, "replaced": 50.0})
    ```

    Reference:
        Clark et al. 2020, "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", sections 2 and 3.
    """
    tables = [check_encoder(each, needs_pooler=False) for each in (generator, discriminator)]
    sizes = [table.token_embedding.input_dim for table in tables]
    if generator.name == discriminator.name or sizes[0] != sizes[1]:
        raise ValueError(
            "`generator` and `discriminator` must have names of their own and one vocabulary. Received: "
            f"{generator.name!r} of {sizes[0]} tokens and {discriminator.name!r} of {sizes[1]}."
        )
    special_ids = special_tokens(special_ids, sizes[0])
    inputs = {
        name: keras.Input((None,), dtype="float32" if name == "mask_weights" else "int32", name=name)
        for name in ("token_ids", "segment_ids", "mask_positions", "mask_ids", "mask_weights")
    }
    masked_lm = bert_pretrainer(generator, next_sentence=False, activation=activation, name="masked_lm")
    logits = masked_lm({name: inputs[name] for name in ("token_ids", "segment_ids", "mask_positions")})["masked_lm"]
    tokens, labels = ReplacedTokens(special_ids, temperature, seed, name="replaced_tokens")(
        inputs["token_ids"], inputs["mask_positions"], inputs["mask_ids"], inputs["mask_weights"], logits
    )
    encoded = discriminator({"token_ids": tokens, "segment_ids": inputs["segment_ids"]})["sequence_output"]
    x = dense(encoded.shape[-1], "replaced_transform", activation)(encoded)  # (B, T, D)
    scores = dense(1, "replaced_logits")(x)  # (B, T, 1)
    replaced = ops.concatenate([ops.cast(scores, "float32"), labels[..., None]], axis=-1)  # (B, T, 2)
    return with_layer_structure(keras.Model(inputs, {"masked_lm": logits, "replaced": replaced}, name=name))
