"""Meshes over the first devices of a process that has several."""

import keras
import numpy as np

from keras_tx import distribution


def mesh(*shape, axes=("batch", "model")):
    devices = keras.distribution.list_devices()[: int(np.prod(shape))]
    return keras.distribution.DeviceMesh(shape, axes, devices)


def parallel(*shape, **options):
    return distribution.ModelParallel(layout_map=distribution.layout_map(mesh(*shape), **options))
