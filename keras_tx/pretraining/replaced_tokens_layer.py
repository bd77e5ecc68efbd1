"""The tokens that a generator proposes in hidden places, as a layer with a random state of its own."""

import keras

from .. import arguments
from ..ops.replaced_tokens import replaced_tokens, special_tokens


@keras.saving.register_keras_serializable(package="keras_tx")
class ReplacedTokens(keras.layers.Layer):
    """Puts tokens that a generator proposes in the hidden places of texts, as `pretraining.replaced_tokens` says.

    Args:
        special_ids: ids that are never drawn.
        temperature: float above 0.
        seed: int or `None`. The state changes with each call, and is saved with the weights.
        **kwargs: `name`, `dtype`, `trainable`.

    Call arguments:
        token_ids: integer tensor (B, T).
        mask_positions: integer tensor (B, M).
        mask_ids: integer tensor (B, M).
        mask_weights: float tensor (B, M).
        logits: float tensor (B, M, V).

    Returns:
        Two tensors (B, T): the tokens, int32, and 1.0 where they are not the original, float32.
    """

    def __init__(self, special_ids=(0,), temperature=1.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.special_ids = special_tokens(special_ids)
        self.temperature = arguments.positive_float("temperature", temperature)
        self.seed = arguments.seed("seed", seed)
        self.seed_generator = keras.random.SeedGenerator(self.seed)
        self.autocast = False  # weights and logits keep their dtype
        self.built = True

    def call(self, token_ids, mask_positions, mask_ids, mask_weights, logits):
        return replaced_tokens(
            token_ids,
            mask_positions,
            mask_ids,
            mask_weights,
            logits,
            special_ids=self.special_ids,
            temperature=self.temperature,
            seed=self.seed_generator,
        )

    def compute_output_spec(self, token_ids, mask_positions, mask_ids, mask_weights, logits):
        return keras.KerasTensor(token_ids.shape, "int32"), keras.KerasTensor(token_ids.shape, "float32")

    def count_costs(self, token_ids, mask_positions, mask_ids, mask_weights, logits):
        from ..analysis.costs import LayerCosts  # which only a count needs

        return LayerCosts()

    def get_config(self):
        own = {"special_ids": list(self.special_ids), "temperature": self.temperature, "seed": self.seed}
        return {**super().get_config(), **own}
