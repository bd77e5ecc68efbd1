"""The convolutions of the detector, which first learn to name digits, as a published DETR's backbone first learned ImageNet.

A network (3 convolutions, a map of 8 x 8) is asked for each cell of its map which digit's box the cell's middle lies in, or none.
It learns this from the training canvases in 1,000 steps; a DETR on new convolutions needs more to find digits at all.
"""

import detection_data as data
import keras
import numpy as np

STEM = ((32, 6, 4), (96, 3, 2), (96, 3, 1))  # filters, size and stride of each convolution
BATCH, RATE = 64, 3e-3


def make_stem():
    """Returns convolutions with a norm over channels behind each, from pixels 0 to 255 to a map of 8 x 8."""
    images = keras.Input((data.CANVAS, data.CANVAS, 1))
    x = keras.layers.Rescaling(1 / 64, offset=-1.0)(images)
    for filters, size, stride in STEM:
        x = keras.layers.Conv2D(filters, size, stride, padding="same", kernel_initializer="he_normal")(x)
        x = keras.layers.Activation("relu")(keras.layers.LayerNormalization()(x))
    return keras.Model(images, x, name="stem")


def digits_of_cells(targets, rows):
    """Returns which digit lies in the middle of each of rows x rows cells, or `NO_DIGIT`: (B, rows, rows), of packed targets.

    Where two boxes share a cell's middle, it is the later one's.
    """
    labels, centers, sizes = targets[..., 0], targets[..., 1:3], targets[..., 3:5]  # (B, T), (B, T, 2), (B, T, 2)
    middles = (np.arange(rows) + 0.5) / rows
    inside = np.abs(middles - centers[..., None]) < sizes[..., None] / 2  # (B, T, 2, rows): across, down
    inside = inside[:, :, 1, :, None] & inside[:, :, 0, None, :]  # (B, T, rows, rows)
    found = np.full((len(targets), rows, rows), data.NO_DIGIT)
    for place in range(targets.shape[1]):
        found = np.where(inside[:, place], labels[:, place, None, None].astype(int), found)
    return found


class Cells(keras.utils.PyDataset):
    """Batches of new canvases, and the digit in each cell of a map of so many rows and columns."""

    def __init__(self, digits, rows, batch_size, steps):
        super().__init__(workers=1, max_queue_size=8)
        self.canvases, self.rows = data.Canvases(digits, batch_size, steps, seed=1), rows

    def __len__(self):
        return len(self.canvases)

    def __getitem__(self, index):
        pixels, targets = self.canvases[index]
        return pixels, digits_of_cells(targets, self.rows)


def pretrain(stem, digits, steps):
    """Trains a stem to name the digit in each cell of its map, and returns the accuracy in the last hundred steps."""
    model = keras.Model(stem.input, keras.layers.Dense(data.NO_DIGIT + 1)(stem.output), name="cells")
    rate = keras.optimizers.schedules.CosineDecay(RATE, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Convolutions alone take no less time under XLA on a processor.
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=1e-4),
        loss,
        metrics=["accuracy"],
        jit_compile=keras.backend.backend() == "jax",
    )
    epochs = max(1, steps // 100)
    batches = Cells(digits, stem.output_shape[1], BATCH, steps // epochs)
    return model.fit(batches, epochs=epochs, verbose=2).history["accuracy"][-1]
