"""The face detector's loss: three parts, over the cells of a batch.

- Is there a face: focal loss (Lin et al. 2017, https://arxiv.org/abs/1708.02002), which weighs down
  what is nearly right, lest the thousands of empty cells drown the few with a face.
- Where are its sides: 1 - generalised IoU (Rezatofighi et al. 2019, https://arxiv.org/abs/1902.09630) of the positive
  cells' boxes.
- Which class: cross-entropy of the positive cells whose class is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mask_detection.models.fcos import CLASSES, DISTANCES, FACE, MAX_LOG_DISTANCE
from mask_detection.training.detector.targets import TARGET_CLASS, TARGET_DISTANCES, TARGET_FACE

if TYPE_CHECKING:
    Tensor = Any

FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0  # the paper's
BOX_WEIGHT = 2.0  # as in Li et al. 2020, "Generalized Focal Loss"
CLASS_WEIGHT = 0.5
TINY = 1e-7  # keeps quotients finite


def detector_loss(targets: Tensor, outputs: Tensor) -> Tensor:
    """The whole loss of a batch, as Keras calls it.

    Args:
        targets: (B, L, 6) from :func:`mask_detection.training.detector.targets.make_targets`.
        outputs: (B, L, 5 + n_classes), see :mod:`mask_detection.models.fcos`.

    Returns:
        A scalar.
    """
    from keras import ops

    face = targets[..., TARGET_FACE]
    positive = ops.cast(face > 0, "float32")
    counted = ops.cast(face >= 0, "float32")
    known = positive * ops.cast(targets[..., TARGET_CLASS] >= 0, "float32")
    n_positive = ops.maximum(ops.sum(positive), 1.0)
    face_loss = ops.sum(counted * focal(positive, outputs[..., FACE])) / n_positive
    overlap = generalised_iou(targets[..., TARGET_DISTANCES], outputs[..., DISTANCES])
    box_loss = ops.sum(positive * (1.0 - overlap)) / n_positive
    errors = cross_entropy(targets[..., TARGET_CLASS], outputs[..., CLASSES])
    class_loss = ops.sum(known * errors) / ops.maximum(ops.sum(known), 1.0)
    return face_loss + BOX_WEIGHT * box_loss + CLASS_WEIGHT * class_loss


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


def cross_entropy(labels: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of each cell; any number where the label is negative.

    Args:
        labels: (...,) float, indices of classes.
        logits: (..., n_classes).
    """
    from keras import ops

    indices = ops.cast(ops.maximum(labels, 0.0), "int32")
    return ops.sparse_categorical_crossentropy(indices, logits, from_logits=True)
