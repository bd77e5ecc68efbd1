"""What a Transformer of images has to beat: a small convolutional network, and a support vector machine on pixels."""

import keras
import numpy as np


def small_convnet(shape, num_classes):
    """Returns two pairs of 3 x 3 convolutions and a hidden layer, from pixels 0 to 255 to logits, as keras.io teaches them."""
    images = keras.Input(shape)
    x = keras.layers.Rescaling(1 / 255)(images)
    for width in (32, 64):
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = keras.layers.Conv2D(width, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(x)
    x = keras.layers.Dropout(0.5)(keras.layers.Flatten()(x))
    x = keras.layers.Dense(128, activation="relu")(x)
    return keras.Model(images, keras.layers.Dense(num_classes)(x), name="convnet")


def svm_accuracy(data, most=10_000):
    """Returns the test accuracy of a support vector machine with Gaussian kernel (C = 10) on at most so many images."""
    from sklearn.svm import SVC

    def flat(images):
        return images.reshape(len(images), -1).astype("float32") / 255

    machine = SVC(C=10.0).fit(flat(data.train[:most]), data.train_labels[:most])
    return float(np.mean(machine.predict(flat(data.test)) == data.test_labels))
