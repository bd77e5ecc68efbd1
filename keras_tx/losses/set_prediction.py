"""The loss of a set of objects, found in any order: each real object is matched with one prediction."""

import keras
from keras import ops

from .. import arguments
from ..ops import boxes
from ..ops.assignment import linear_sum_assignment
from ..ops.concrete import check_tensor, concrete
from ..ops.replicas import sum_over_replicas
from ..ops.run_checks import when_run
from .detection_targets import are_targets, check_targets


@keras.saving.register_keras_serializable(package="keras_tx")
class SetPredictionLoss(keras.losses.Loss):
    """DETR's loss: real objects are matched with queries at the least cost, then classes and boxes are compared.

    In each image, and for each decoder layer by itself, the matching has the least sum of
    -p(class) + b |box - target|_1 - g GIoU(box, target), and no gradient. Matched queries are to give the class and the box of
    their object, all others the class "no object". The loss of a layer is

        sum_q w_q CE_q / sum_q w_q  +  (b sum |box - target|_1 + g sum (1 - GIoU)) / number of objects

    with w = 1 for matched queries and `no_object_weight` for the others, sums over the whole batch, and at least 1 in place of
    the number of objects. The loss is the sum over layers. Matching runs inside the compiled step (`ops.assignment`).

    The batch is the global one, with `keras.distribution` on JAX and in the replicas of a strategy of `tf.distribute`, whatever
    part of the objects each sees. With gradient accumulation each step divides by its own sums, and Keras takes the mean of
    the steps. The `class_weight` of `fit` is not for such targets: Keras takes for a class which of a row's five numbers is the
    largest, and fails where targets have several rows, or with one too, by the version of numpy. Images have weights by
    `sample_weight`.

    Args:
        no_object_weight: float above 0, of the class "no object", which is that of most queries.
        box_weight: float, b.
        giou_weight: float, g.
        name: str.
        dtype: of the computation, which runs in float32 where this is narrower.

    Raises:
        ValueError: for arguments out of range; predictions or targets of another shape than below; more targets than queries;
            labels that are no classes, boxes that are not of fractions of the image, inside it and of some size, and negative
            weights, where values are known. Inside a compiled function, where nothing can be raised, the loss is NaN for these;
            a graph of TensorFlow without XLA raises `tf.errors.InvalidArgumentError`. `pack_targets` makes and checks targets.

    Example:

    ```python
    targets = keras_tx.losses.pack_targets([[3, 1]], [[[2, 2, 12, 10], [20, 8, 30, 30]]], 4, 10, image_size=(32, 32))
    loss = keras_tx.losses.SetPredictionLoss()
    outputs = np.random.default_rng(0).uniform(size=(1, 2, 6, 10 + 1 + 4))  # 2 layers, 6 queries, 10 classes
    value = loss(targets, outputs.astype("float32"))
    ```

    Reference:
        Carion et al. 2020, "End-to-End Object Detection with Transformers", section 3.1 and appendix A.2.
    """

    def __init__(self, no_object_weight=0.1, box_weight=5.0, giou_weight=2.0, name="set_prediction_loss", dtype=None):
        policy = keras.dtype_policies.get(dtype or keras.config.floatx())
        wide = keras.backend.result_type(policy.compute_dtype, "float32")
        super().__init__(name=name, reduction="sum", dtype=wide)
        self.no_object_weight = arguments.number(
            "no_object_weight", no_object_weight, "a number above 0", lambda w: 0 < w < float("inf")
        )
        self.box_weight, self.giou_weight = (
            arguments.number(name, weight, "a number of at least 0", lambda w: 0 <= w < float("inf"))
            for name, weight in (("box_weight", box_weight), ("giou_weight", giou_weight))
        )

    def __call__(self, y_true, y_pred, sample_weight=None):
        """Returns the loss, a scalar.

        Args:
            y_true: float tensor (B, N, 5), N at most the number of queries: for each object its label, 0 to classes - 1, and its
                box, center x, center y, width and height as fractions of the image. A row with a negative label is no object,
                and its box is not looked at.
            y_pred: float tensor (B, L, Q, classes + 1 + 4): for each decoder layer and query the logits of the classes, that of
                "no object" last, and the box in the same form, each number in [0, 1].
            sample_weight: float tensor (B,), of images, or `None`: by how much an image counts in all sums, also those that
                are divided by.
        """
        check_tensor("y_true", y_true)
        check_tensor("y_pred", y_pred)
        _check_shapes(tuple(y_true.shape), tuple(y_pred.shape))
        y_true, y_pred = (ops.cast(ops.convert_to_tensor(value), self.dtype) for value in (y_true, y_pred))
        classes = y_pred.shape[-1] - 5
        values = concrete(y_true)
        if values is not None:
            check_targets("y_true", values, classes)
        weights = ops.ones(ops.shape(y_pred)[:1], self.dtype)  # (B,)
        if sample_weight is not None:
            weights = weights * _of_images(ops.cast(sample_weight, self.dtype), y_pred.shape[0])
        right = ops.logical_and(are_targets(y_true, classes), ops.all(weights >= 0))
        y_true = when_run(
            y_true, right, "`y_true` must hold labels and boxes as `pack_targets` makes them, and weights >= 0."
        )
        total = self._total(y_true, y_pred, weights)
        return total if values is not None else ops.where(right, total, float("nan"))

    def call(self, y_true, y_pred):
        return self(y_true, y_pred)

    def _total(self, y_true, y_pred, weights):
        """Returns the loss of targets (B, N, 5), predictions (B, L, Q, C + 5) and weights (B,), in a wide enough dtype."""
        classes = y_pred.shape[-1] - 5
        real = y_true[..., 0] >= 0  # (B, N)
        log_shares, found = ops.log_softmax(y_pred[..., :-4], axis=-1), y_pred[..., -4:]
        # What stands at rows without an object, NaN included, is not looked at.
        wanted = ops.where(real[..., None], y_true[..., 1:], 0.5)
        labels = ops.one_hot(ops.cast(ops.where(real, y_true[..., 0], -1), "int32"), classes + 1, dtype=self.dtype)

        matched = self._matching(labels, wanted, real, ops.stop_gradient(log_shares), ops.stop_gradient(found))
        is_matched = ops.sum(matched, axis=2)  # (B, L, Q)
        labels = ops.einsum("blnq,bnc->blqc", matched, labels)
        no_object = ops.pad(1.0 - is_matched[..., None], [(0, 0)] * 3 + [(classes, 0)])
        wished = labels + no_object
        # A class that a logit of -infinity rules out counts where it is wished for alone.
        entropy = -ops.sum(wished * ops.where(wished > 0, log_shares, 0.0), axis=-1)  # (B, L, Q)
        by_class = is_matched + self.no_object_weight * (1.0 - is_matched)
        by_class, by_object = by_class * weights[:, None, None], is_matched * weights[:, None, None]
        whole = sum_over_replicas(ops.sum(by_class, axis=(0, 2)))  # (L,)
        layers = ops.sum(entropy * by_class, axis=(0, 2)) / _positive(whole)

        # Queries without an object are compared with a box of their own kind, whose weight is 0.
        wanted = ops.einsum("blnq,bnx->blqx", matched, wanted) + 0.5 * (1.0 - is_matched[..., None])
        apart = self.box_weight * ops.sum(ops.abs(found - wanted), axis=-1)
        apart = apart + self.giou_weight * (1.0 - boxes.generalized_iou(boxes.corners(found), boxes.corners(wanted)))
        objects = sum_over_replicas(ops.sum(ops.cast(real, self.dtype) * weights[:, None]))
        return ops.sum(layers) + ops.sum(apart * by_object) / ops.maximum(objects, 1.0)

    def _matching(self, labels, wanted, real, log_shares, found):
        """Returns which query each target has, one-hot, (B, L, N, Q)."""
        cost = -ops.einsum("bnc,blqc->blnq", labels, ops.exp(log_shares))
        wanted, found = wanted[:, None, :, None], found[:, :, None]  # (B, 1, N, 1, 4), (B, L, 1, Q, 4)
        cost = cost + self.box_weight * ops.sum(ops.abs(found - wanted), axis=-1)
        cost = cost - self.giou_weight * boxes.generalized_iou(boxes.corners(found), boxes.corners(wanted))
        of_layers = ops.logical_and(real[:, None], ops.ones(ops.shape(cost)[:-1], "bool"))
        return ops.one_hot(linear_sum_assignment(cost, of_layers), cost.shape[-1], dtype=self.dtype)

    def get_config(self):
        config = super().get_config()
        config.pop("reduction")  # sums over the batch are divided by what they are of
        return {
            **config,
            "no_object_weight": self.no_object_weight,
            "box_weight": self.box_weight,
            "giou_weight": self.giou_weight,
        }


def _positive(total):
    """Returns a sum of weights to divide by, 1 in place of none."""
    return ops.where(total > 0, total, 1.0)


def _check_shapes(targets, outputs):
    """Raises `ValueError` unless predictions of shape `outputs` can be compared with targets of shape `targets`."""
    if len(outputs) != 4 or outputs[-1] is None or outputs[-1] < 6 or outputs[2] is None:
        raise ValueError(
            "`y_pred` must have shape (batch, layers, queries, classes + 5), with known numbers of queries and of classes. "
            f"Received: y_pred of shape {outputs}."
        )
    if len(targets) != 3 or targets[-1] != 5 or targets[1] is None:
        raise ValueError(
            "`y_true` must have shape (batch, objects, 5), with a known number of rows for objects: a label and a box in each "
            f"(`keras_tx.losses.pack_targets` makes them). Received: y_true of shape {targets}."
        )
    if targets[1] > outputs[2]:
        raise ValueError(
            "`y_true` must have no more rows for objects than there are queries. Received: y_true of shape "
            f"{targets}, {outputs[2]} queries."
        )
    if None not in (targets[0], outputs[0]) and targets[0] != outputs[0]:
        raise ValueError(
            f"`y_true` and `y_pred` must be of as many images. Received: y_true of shape {targets}, y_pred of shape {outputs}."
        )


def _of_images(weights, batch):
    """Returns weights (B,); raises `ValueError` unless there is one for each image."""
    rank = weights.shape.rank if hasattr(weights.shape, "rank") else len(weights.shape)
    shape = None if rank is None else tuple(weights.shape)
    if shape is not None and (shape[1:] not in ((), (1,)) or None not in (*shape[:1], batch) and shape[:1] != (batch,)):
        raise ValueError(
            f"`sample_weight` must have a number for each image. Received: sample_weight of shape {shape}, {batch} images."
        )
    values = concrete(weights)
    if values is not None and not (values >= 0).all():
        raise ValueError(f"`sample_weight` must hold numbers of at least 0. Received: {values[~(values >= 0)][0]}.")
    return ops.reshape(weights, (-1,))
