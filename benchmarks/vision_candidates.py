"""One model of images in a process of its own, which runs it once for each line that it reads, and answers with the seconds.

Started by `vision.py`; `training.py` trains the same models.
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from processes import answer_in_turn
from training_steps import keras_step, torch_step

SIZES = {
    "vit": {
        "image_size": 224,
        "num_classes": 1000,
        "patch_size": 16,
        "num_layers": 12,
        "num_heads": 12,
        "hidden_dim": 768,
        "intermediate_dim": 3072,
    },
    "swin": {
        "image_size": 224,
        "num_classes": 1000,
        "num_layers": (2, 2, 6, 2),
        "num_heads": (3, 6, 12, 24),
        "hidden_dim": 96,
        "window_size": 7,
    },
    "mixer": {"image_size": 224, "num_classes": 1000},
}
# It has Swin's second version alone, which is another network.
KECAM = {"vit": "ViT-B/16", "swin": None, "mixer": "Mixer-B/16"}


def pixels(size, batch):
    """Returns images of normal numbers, channels last, and their labels."""
    random = np.random.default_rng(0)
    images = random.standard_normal((batch, size["image_size"], size["image_size"], 3)).astype("float32")
    return images, random.integers(0, size["num_classes"], batch)


def keras_loss():
    import keras

    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _keras_run(model, name, what, jit, batch):
    """Returns the function that runs a Keras model once and waits for the result."""
    import keras

    images, labels = pixels(SIZES[name], batch)
    if what == "train":
        return keras_step(model, images, labels, keras_loss(), keras.optimizers.SGD(1e-4), jit)
    model.compile(jit_compile=jit)
    return lambda: model.predict_on_batch(images)


def keras_tx_model(name, size):
    from keras_tx import applications

    size, side = dict(size), size["image_size"]
    if name == "vit":
        return applications.ViT(**size, include_rescaling=False, input_shape=(side, side, 3))
    if name == "mixer":
        return applications.Mixer(**applications.MIXER_SIZES["base_16"], include_rescaling=False)
    del size["image_size"]
    return applications.Swin(**size, include_rescaling=False, input_shape=(side, side, 3))


def keras_tx(name, what, dtype, jit, batch):
    import keras

    keras.config.set_dtype_policy(dtype)
    return _keras_run(keras_tx_model(name, SIZES[name]), name, what, jit, batch)


def keras_hub_model(name, size):
    import keras_hub

    models, shape, heads = keras_hub.models, (size["image_size"],) * 2 + (3,), size["num_heads"]
    if name == "vit":
        patch, width = (size["patch_size"],) * 2, size["hidden_dim"]
        backbone = models.ViTBackbone(shape, patch, size["num_layers"], heads, width, size["intermediate_dim"])
        return models.ViTImageClassifier(backbone, size["num_classes"])
    backbone = models.SwinTransformerBackbone(
        shape, size["hidden_dim"], size["num_layers"], heads, size["window_size"], drop_path=0.0
    )
    return models.SwinTransformerImageClassifier(backbone, size["num_classes"])


def keras_hub(name, what, dtype, jit, batch):
    import keras

    keras.config.set_dtype_policy(dtype)
    return _keras_run(keras_hub_model(name, SIZES[name]), name, what, jit, batch)


def kecam(name, what, dtype, jit, batch):
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # it does not run on Keras 3
    import tensorflow as tf
    from keras_cv_attention_models.beit import vit
    from keras_cv_attention_models.mlp_family import mlp_mixer

    if what == "train" or not KECAM[name]:
        raise SystemExit("kecam is measured in inference of ViT and Mixer alone")
    tf.keras.mixed_precision.set_global_policy(dtype)
    make = {"vit": vit.ViTBasePatch16, "mixer": mlp_mixer.MLPMixerB16}[name]
    images = tf.constant(pixels(SIZES[name], batch)[0])
    model = make(input_shape=images.shape[1:], num_classes=SIZES[name]["num_classes"], pretrained=None)
    run = tf.function(lambda x: model(x, training=False), jit_compile=jit)
    return lambda: run(images).numpy()


def transformers_model(name, size):
    import transformers

    options = {"num_labels": size["num_classes"], "image_size": size["image_size"]}
    if name == "vit":
        return transformers.ViTForImageClassification(
            transformers.ViTConfig(
                **options,
                patch_size=size["patch_size"],
                num_hidden_layers=size["num_layers"],
                num_attention_heads=size["num_heads"],
                hidden_size=size["hidden_dim"],
                intermediate_size=size["intermediate_dim"],
            )
        )
    return transformers.SwinForImageClassification(
        transformers.SwinConfig(
            **options,
            depths=size["num_layers"],
            num_heads=size["num_heads"],
            embed_dim=size["hidden_dim"],
            window_size=size["window_size"],
            drop_path_rate=0.0,
        )
    )


def transformers(name, what, dtype, jit, batch):
    model = transformers_model(name, SIZES[name])
    return _torch_run(model, lambda images: model(images).logits, name, what, dtype, batch)


def timm(name, what, dtype, jit, batch):
    import timm

    model = timm.create_model({"mixer": "mixer_b16_224"}[name], num_classes=SIZES[name]["num_classes"])
    return _torch_run(model, model, name, what, dtype, batch)


def torch_pixels(size, batch):
    """The same images, channels first, and their labels."""
    import torch

    images, labels = (torch.from_numpy(each) for each in pixels(size, batch))
    return images.permute(0, 3, 1, 2).contiguous(), labels


def torch_loss(logits):
    """Returns the function of images and labels that gives the loss; `logits` is the function of images that gives logits."""
    import torch

    return lambda images, labels: torch.nn.functional.cross_entropy(logits(images).float(), labels)


def _torch_run(model, logits, name, what, dtype, batch):
    """Returns the function that runs a model of torch once."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    images, labels = torch_pixels(SIZES[name], batch)
    if dtype != "float32":
        model, images = model.to(torch.bfloat16), images.to(torch.bfloat16)
    if what == "train":
        return torch_step(model, torch_loss(logits), (images, labels), torch.optim.SGD(model.parameters(), 1e-4))

    def infer():
        with torch.no_grad():
            return logits(images).float().numpy()

    model.eval()
    return infer


CANDIDATES = {each.__name__: each for each in (keras_tx, keras_hub, kecam, transformers, timm)}


def main():
    candidate, name, what, dtype, jit, batch = sys.argv[1:]
    answer_in_turn(lambda: CANDIDATES[candidate](name, what, dtype, jit == "on", int(batch)))


if __name__ == "__main__":
    main()
