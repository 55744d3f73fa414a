"""The face detector's loss, over the cells of a batch.

- Is there a face: focal loss (Lin et al. 2017, https://arxiv.org/abs/1708.02002), which weighs down
  what is nearly right, lest the thousands of empty cells drown the few with a face.
- Where are its sides: 1 - generalised IoU (Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630) of the positive
  cells' boxes.
- Which class: cross-entropy of the positive cells whose class is known. Of cells without a face, the classes are to be
  even, the more the network takes them for a face: what is none is not to get a confident class.
- With a teacher (see :mod:`mask_detection.training.detector.teacher`): its face score, sides and classes, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mask_detection.models.fcos import CLASSES, DISTANCES, FACE, MAX_LOG_DISTANCE
from mask_detection.training.detector.targets import N_TARGETS, TARGET_CLASS, TARGET_DISTANCES, TARGET_FACE

if TYPE_CHECKING:
    Tensor = Any

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0  # the paper's
BOX_WEIGHT = 2.0  # as in Li et al. 2020, "Generalized Focal Loss"
CLASS_WEIGHT = 0.5
EVEN_WEIGHT = 0.25  # of the even classes where there is no face
TEACHER_WEIGHT = 1.0
UNLIKELY = -30.0  # a logit
TINY = 1e-7  # keeps quotients finite


def make_loss(class_weights: Sequence[float]) -> Callable[[Tensor, Tensor], Tensor]:
    """The whole loss of a batch, as Keras calls it, a scalar.

    Its arguments are targets (B, L, 6) from :func:`mask_detection.training.detector.targets.make_targets`, or
    (B, L, 11 + n_classes) with the teacher's predictions behind them; and outputs (B, L, 5 + n_classes), see
    :mod:`mask_detection.models.fcos`.

    Args:
        class_weights: of a face of each class, (n_classes,).
    """

    def loss(targets: Tensor, outputs: Tensor) -> Tensor:
        labelled = label_loss(targets, outputs, class_weights)
        if targets.shape[-1] == N_TARGETS:
            return labelled
        return labelled + TEACHER_WEIGHT * teacher_loss(targets[..., N_TARGETS:], outputs)

    return loss


def label_loss(targets: Tensor, outputs: Tensor, class_weights: Sequence[float]) -> Tensor:
    """How far the outputs are from the labels; for the arguments see :func:`make_loss`."""
    from keras import ops

    face = targets[..., TARGET_FACE]
    positive = ops.cast(face > 0, "float32")
    counted = ops.cast(face >= 0, "float32")
    known = positive * ops.cast(targets[..., TARGET_CLASS] >= 0, "float32")
    n_positive = ops.maximum(ops.sum(positive), 1.0)
    face_loss = ops.sum(counted * focal(positive, outputs[..., FACE])) / n_positive
    overlap = generalised_iou(targets[..., TARGET_DISTANCES], outputs[..., DISTANCES])
    box_loss = ops.sum(positive * (1.0 - overlap)) / n_positive
    errors = cross_entropy(targets[..., TARGET_CLASS], outputs[..., CLASSES], class_weights)
    class_loss = ops.sum(known * errors) / ops.maximum(ops.sum(known), 1.0)
    belief = (1.0 - positive) * counted * ops.stop_gradient(ops.sigmoid(outputs[..., FACE]))
    even_loss = ops.sum(belief * unevenness(outputs[..., CLASSES])) / n_positive
    return face_loss + BOX_WEIGHT * box_loss + CLASS_WEIGHT * class_loss + EVEN_WEIGHT * even_loss


def teacher_loss(taught: Tensor, outputs: Tensor) -> Tensor:
    """How far the outputs are from a teacher's, both (B, L, 5 + n_classes); NaN is a class that it doesn't know.

    Sides and classes count as much as the teacher believes in a face. The score's loss is the "quality focal loss" of
    Li et al. 2020 (https://arxiv.org/abs/2006.04388), which takes probabilities for targets.
    """
    from keras import ops

    truth, logits = ops.sigmoid(taught[..., FACE]), outputs[..., FACE]
    mass = ops.maximum(ops.sum(truth), 1.0)
    cross = ops.softplus(logits) - truth * logits
    entropy = ops.softplus(taught[..., FACE]) - truth * taught[..., FACE]
    face_loss = ops.sum((truth - ops.sigmoid(logits)) ** 2 * (cross - entropy))
    sides = ops.exp(ops.minimum(taught[..., DISTANCES], MAX_LOG_DISTANCE))
    box_loss = ops.sum(truth * (1.0 - generalised_iou(sides, outputs[..., DISTANCES])))
    class_loss = ops.sum(truth * _divergence(taught[..., CLASSES], outputs[..., CLASSES]))
    return (face_loss + BOX_WEIGHT * box_loss + CLASS_WEIGHT * class_loss) / mass


def _divergence(taught: Tensor, logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence over the classes that the teacher knows, (..., n_classes) to (...,)."""
    from keras import ops

    unknown = ops.isnan(taught)
    taught, logits = (ops.where(unknown, UNLIKELY, each) for each in (taught, logits))
    truth = ops.softmax(taught)
    return ops.sum(truth * (ops.log_softmax(taught) - ops.log_softmax(logits)), axis=-1)


def unevenness(logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence from even probabilities to the predicted ones, (..., n_classes) to (...,)."""
    from keras import ops

    return -ops.mean(ops.log_softmax(logits), axis=-1) - float(np.log(logits.shape[-1]))


def focal(truth: Tensor, logits: Tensor) -> Tensor:
    """Focal loss of each cell: -alpha_t (1 - p_t)^gamma log p_t; ``truth`` is 1 or 0, both of any one shape."""
    from keras import ops

    probability = ops.sigmoid(logits)
    wrongness = truth * (1.0 - probability) + (1.0 - truth) * probability  # 1 - p_t
    alpha = truth * FOCAL_ALPHA + (1.0 - truth) * (1.0 - FOCAL_ALPHA)
    cross = ops.softplus(logits) - truth * logits  # -log p_t
    return alpha * wrongness**FOCAL_GAMMA * cross


def generalised_iou(truth: Tensor, log_distances: Tensor) -> Tensor:
    """Generalised IoU of two boxes that share a point, by that point's distances to their sides, (..., 4) ltrb.

    Args:
        truth: distances.
        log_distances: logarithms of the predicted distances.

    Returns:
        (...,) -1..1.
    """
    from keras import ops

    truth = ops.maximum(truth, 0.0)
    found = ops.exp(ops.minimum(log_distances, MAX_LOG_DISTANCE))
    intersection = _area(ops.minimum(truth, found))
    union = _area(truth) + _area(found) - intersection
    hull = _area(ops.maximum(truth, found))
    return intersection / (union + TINY) - (hull - union) / (hull + TINY)


def _area(distances: Tensor) -> Tensor:
    return (distances[..., 0] + distances[..., 2]) * (distances[..., 1] + distances[..., 3])


def cross_entropy(labels: Tensor, logits: Tensor, class_weights: Sequence[float]) -> Tensor:
    """Weighted cross-entropy of each cell; any number where the label is negative.

    Args:
        labels: (...,) float, indices of classes.
        logits: (..., n_classes).
        class_weights: (n_classes,).
    """
    from keras import ops

    indices = ops.cast(ops.maximum(labels, 0.0), "int32")
    weights = ops.take(ops.convert_to_tensor(class_weights, "float32"), indices)
    return weights * ops.sparse_categorical_crossentropy(indices, logits, from_logits=True)
