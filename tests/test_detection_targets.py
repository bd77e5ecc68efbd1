"""Labels and boxes of images are packed into one array, or refused by what is wrong with them."""

import numpy as np
import pytest

from keras_tx.losses import pack_targets

pytestmark = pytest.mark.once  # numpy alone

BOXES = {  # of one object in an image of 20 rows and 40 columns
    "xyxy": [10, 5, 30, 15],
    "xywh": [10, 5, 20, 10],
    "center_xywh": [20, 10, 20, 10],
}


@pytest.mark.parametrize("box_format", BOXES)
def test_each_format_gives_the_same_fractions(box_format):
    pixels = np.array([BOXES[box_format]])
    packed = pack_targets([[2], []], [pixels, []], 2, 3, image_size=(20, 40), box_format=box_format)
    assert packed.dtype == np.float32
    np.testing.assert_allclose(packed, [[[2, 0.5, 0.5, 0.5, 0.5], [-1, 0, 0, 0, 0]], [[-1, 0, 0, 0, 0]] * 2])
    fractions = pixels / [40, 20, 40, 20]
    np.testing.assert_allclose(pack_targets([[2], []], [fractions, []], 2, 3, box_format=box_format), packed)
    of_each = pack_targets([[2], []], [pixels, []], 2, 3, image_size=[(20, 40), (7, 7)], box_format=box_format)
    np.testing.assert_allclose(of_each, packed)


def test_no_image_and_no_object_are_fine():
    assert pack_targets([], [], 3, 2).shape == (0, 3, 5)
    assert (pack_targets([[]], [[]], 3, 2, image_size=(4, 4))[..., 0] == -1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [[3]]}, r"labels of `labels` must be integers in \[0, num_classes\). Received: 3 in image 0"),
        ({"labels": [[-1]]}, r"labels of `labels` must be integers in \[0, num_classes\). Received: -1 in image 0"),
        ({"labels": [[0.5]]}, "labels of `labels` must be integers .* Received: 0.5"),
        ({"labels": [["a"]]}, "`labels` must be a sequence of integers for each image"),
        ({"labels": [1]}, "`labels` must be a sequence of integers for each image"),
        ({"labels": 3}, "`labels` must be a sequence with an entry for each image. Received: labels=3"),
        ({"boxes": None}, "`boxes` must be a sequence with an entry for each image. Received: boxes=None"),
        ({"labels": [[1, [2]]]}, "`labels` must be a sequence of integers for each image"),
        ({"boxes": [[["a", 0, 1, 1]]]}, "`boxes` must have four numbers for each label"),
        ({"labels": [[1, 2]], "boxes": [[[0, 0, 1, 1], [0, 1]]]}, "`boxes` must have four numbers for each label"),
        ({"image_size": ((20, 40), (20,))}, "`image_size` must be"),
        ({"labels": [[1, 2]]}, "`boxes` must have four numbers for each label. Received: 2 labels"),
        ({"labels": [[1], [2]]}, "`labels` and `boxes` must be of as many images"),
        ({"boxes": [[[0.1, 0.2, 0.3]]]}, "`boxes` must have four numbers for each label"),
        ({"boxes": [[[0.5, 0.1, 0.5, 0.4]]]}, "boxes of `boxes` must have a width and a height above 0"),
        ({"boxes": [[[0.6, 0.1, 0.5, 0.4]]]}, "boxes of `boxes` must have a width and a height above 0"),
        ({"boxes": [[[-0.1, 0.1, 0.5, 0.4]]]}, "boxes of `boxes` must lie inside the image"),
        ({"boxes": [[[0.1, 0.1, 0.5, 1.1]]]}, "boxes of `boxes` must lie inside the image"),
        ({"boxes": [[[10, 5, 30, 15]]]}, "boxes of `boxes` must be fractions of the image, not pixels .* `image_size`"),
        ({"boxes": [[[0.1, 0.1, np.inf, 0.4]]]}, "boxes of `boxes` must be finite"),
        ({"image_size": (20, 40)}, "`boxes` must be in pixels where there is an `image_size`"),
        (
            {"labels": [[1], [2]], "boxes": [[[5, 5, 20, 20]], [[0.1, 0.1, 0.5, 0.5]]], "image_size": (32, 32)},
            "up to 0.5 in image 1, all in its first pixel",
        ),
        ({"image_size": (20, 0)}, "`image_size` must be"),
        ({"image_size": 20}, "`image_size` must be"),
        ({"labels": [[1] * 3], "boxes": [[[0, 0, 1, 1]] * 3]}, "`max_targets` must be at least the number of objects"),
        ({"max_targets": 0}, "`max_targets` must be a positive integer"),
        ({"num_classes": None}, "`num_classes` must be a positive integer"),
        ({"box_format": "yxyx"}, "`box_format` must be one of"),
    ],
)
def test_what_is_no_object_in_an_image_is_refused(change, message):
    given = {"labels": [[1]], "boxes": [[[0.1, 0.1, 0.5, 0.4]]], "max_targets": 2, "num_classes": 3, **change}
    with pytest.raises(ValueError, match=message):
        pack_targets(**given)
