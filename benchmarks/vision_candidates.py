"""One model of images in a process of its own, which runs it once for each line that it reads, and answers with the seconds.

Started by `vision.py`. The answer to "peak" is the most memory that the process has held, in bytes.
"""

import os
import resource
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

SIZE, CLASSES = 224, 1000
# It has Swin's second version alone, which is another network.
KECAM = {"vit": "ViT-B/16", "swin": None, "mixer": "Mixer-B/16"}


def _pixels(batch):
    random = np.random.default_rng(0)
    return random.standard_normal((batch, SIZE, SIZE, 3)).astype("float32"), random.integers(0, CLASSES, batch)


def _keras_run(model, what, jit, batch):
    """Returns the function that runs a Keras model once and waits for the result."""
    import keras

    images, labels = _pixels(batch)
    model.compile(
        keras.optimizers.SGD(1e-4), keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=jit
    )
    if what == "train":
        return lambda: model.train_on_batch(images, labels)
    return lambda: model.predict_on_batch(images)


def keras_tx(name, what, dtype, jit, batch):
    import keras

    from keras_tx import applications

    keras.config.set_dtype_policy(dtype)
    options = {"include_rescaling": False, "input_shape": (SIZE, SIZE, 3)}
    if name == "vit":
        model = applications.ViT(**applications.VIT_SIZES["base_16"], **options)
    elif name == "mixer":
        model = applications.Mixer(**applications.MIXER_SIZES["base_16"], include_rescaling=False)
    else:
        model = applications.Swin(**applications.SWIN_SIZES["tiny"], **options)
    return _keras_run(model, what, jit, batch)


def keras_hub(name, what, dtype, jit, batch):
    import keras
    import keras_hub

    keras.config.set_dtype_policy(dtype)
    models, shape = keras_hub.models, (SIZE, SIZE, 3)
    if name == "vit":
        backbone = models.ViTBackbone(shape, (16, 16), 12, 12, 768, 3072)
        model = models.ViTImageClassifier(backbone, CLASSES)
    else:
        backbone = models.SwinTransformerBackbone(shape, 96, (2, 2, 6, 2), (3, 6, 12, 24), 7, drop_path=0.0)
        model = models.SwinTransformerImageClassifier(backbone, CLASSES)
    return _keras_run(model, what, jit, batch)


def kecam(name, what, dtype, jit, batch):
    os.environ["TF_USE_LEGACY_KERAS"] = "1"  # it does not run on Keras 3
    import tensorflow as tf
    from keras_cv_attention_models.beit import vit
    from keras_cv_attention_models.mlp_family import mlp_mixer

    if what == "train" or not KECAM[name]:
        raise SystemExit("kecam is measured in inference of ViT and Mixer alone")
    tf.keras.mixed_precision.set_global_policy(dtype)
    make = {"vit": vit.ViTBasePatch16, "mixer": mlp_mixer.MLPMixerB16}[name]
    model = make(input_shape=(SIZE, SIZE, 3), num_classes=CLASSES, pretrained=None)
    run, images = tf.function(lambda x: model(x, training=False), jit_compile=jit), tf.constant(_pixels(batch)[0])
    return lambda: run(images).numpy()


def transformers(name, what, dtype, jit, batch):
    import transformers

    if name == "vit":
        model = transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=CLASSES))
    else:
        model = transformers.SwinForImageClassification(transformers.SwinConfig(num_labels=CLASSES, drop_path_rate=0.0))
    return _torch_run(model, lambda images: model(images).logits, what, dtype, batch)


def timm(name, what, dtype, jit, batch):
    import timm

    model = timm.create_model({"mixer": "mixer_b16_224"}[name], num_classes=CLASSES)
    return _torch_run(model, model, what, dtype, batch)


def _torch_run(model, logits, what, dtype, batch):
    """Returns the function that runs a model of torch once; `logits` is the function of images that gives its logits."""
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    images, labels = (torch.from_numpy(each) for each in _pixels(batch))
    images = images.permute(0, 3, 1, 2).contiguous()
    if dtype != "float32":
        model, images = model.to(torch.bfloat16), images.to(torch.bfloat16)

    def infer():
        with torch.no_grad():
            return logits(images).float().numpy()

    optimizer = torch.optim.SGD(model.parameters(), 1e-4)

    def train():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits(images).float(), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    model.train(what == "train")
    return train if what == "train" else infer


CANDIDATES = {each.__name__: each for each in (keras_tx, keras_hub, kecam, transformers, timm)}


def main():
    candidate, name, what, dtype, jit, batch = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    run = CANDIDATES[candidate](name, what, dtype, jit == "on", int(batch))
    for line in sys.stdin:
        if line.strip() == "peak":
            answer = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        else:
            start = time.perf_counter()
            run()
            answer = time.perf_counter() - start
        print(answer, file=answers, flush=True)


if __name__ == "__main__":
    main()
