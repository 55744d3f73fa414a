"""Making a trained detector narrower: channels that the others can stand in for are dropped, before any training.

Layer by layer, the 1 x 1 convolution behind a wide layer is a linear regression from that layer's channels. The channel
whose loss costs the least error on real photos is dropped, the regression adapted, and so on, until the width is
reached: "Optimal Brain Surgeon" (Hassibi and Stork 1993) for whole channels, as in "Channel Pruning for Accelerating
Very Deep Neural Networks" (He et al. 2017, https://arxiv.org/abs/1707.06168). The regression learns the wide network's
values from the narrow one's features, so each layer makes up for what those before it have lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mask_detection.models.fcos import (
    BLOCK_OUTPUTS,
    BRANCH_LAYERS,
    CLASSES,
    STRIDES,
    TAPS,
    LayerWeights,
    Widths,
    build_detector,
    layer_weights,
    widths_of,
)
from mask_detection.training.detector.start import start_weights
from mask_detection.utils.files import atomic_write
from mask_detection.utils.tensorflow import compiled

if TYPE_CHECKING:
    import keras

TINY = 1e-9  # the variance that a dead channel is taken to have
ENDS = KERNEL, BIAS = "/kernel", "/bias"  # of the names of arrays in a file
RIDGE = 1e-3  # of the mean variance of the features: keeps the regression from leaning on differences of near-equals


@dataclass(frozen=True)
class Narrowing:
    """Layers that lose the same channels.

    Attributes:
        layers: whose outputs they are.
        filters: the depthwise convolutions behind those.
        readers: the 1 x 1 convolutions behind those again, or behind the layers themselves.
        width: how many channels are left.
    """

    layers: tuple[str, ...]
    filters: tuple[str, ...]
    readers: tuple[str, ...]
    width: int


@dataclass(frozen=True)
class Regression:
    """A 1 x 1 convolution as a regression of K values from C features, by its moments over all places of all photos.

    Attributes:
        feature_means: (C,).
        covariance: (C, C) of the features, with the ridge.
        value_means: (K,).
        cross_covariance: (C, K).
        variance: of all values together.
    """

    feature_means: np.ndarray
    covariance: np.ndarray
    value_means: np.ndarray
    cross_covariance: np.ndarray
    variance: float

    def solve(self, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Kernel (1, 1, C, K) and bias (K,) that take the kept features alone."""
        kernel = np.zeros_like(self.cross_covariance)
        kernel[kept] = np.linalg.solve(self.covariance[np.ix_(kept, kept)], self.cross_covariance[kept])
        bias = self.value_means - self.feature_means @ kernel
        return kernel[None, None].astype(np.float32), bias.astype(np.float32)


def start_model(
    class_names: Sequence[str], init: Path | None, limits: Widths, inputs: Sequence[np.ndarray], record: Path
) -> keras.Model:
    """The detector that a training starts from; a wider one than wanted is narrowed.

    Args:
        class_names: that it is to predict.
        init: see :func:`mask_detection.training.detector.start.start_weights`; and its errors.
        limits: how wide it is to be at most.
        inputs: see :func:`prune`.
        record: where the weights are kept for the case that the training is interrupted, as this takes minutes.
    """
    if record.exists():
        with np.load(record) as arrays:
            names = [name.removesuffix(KERNEL) for name in arrays if name.endswith(KERNEL)]
            weights = {name: (arrays[f"{name}{KERNEL}"], arrays[f"{name}{BIAS}"]) for name in names}
        return build_detector(len(class_names), widths_of(weights), weights)
    weights = start_weights(init, class_names)
    model = build_detector(len(class_names), widths_of(weights), weights)
    widths = widths_of(weights).at_most(limits)
    if widths != widths_of(weights):
        model = prune(model, widths, inputs)
    arrays = {
        f"{name}{end}": array
        for name, pair in layer_weights(model).items()
        for end, array in zip(ENDS, pair, strict=True)
    }
    with atomic_write(record) as part, part.open("wb") as file:
        np.savez(file, **arrays)
    return model


def prune(wide: keras.Model, widths: Widths, inputs: Sequence[np.ndarray]) -> keras.Model:
    """A detector of other widths that does what a trained one does, as far as it can.

    Args:
        wide: the trained one.
        widths: of the result; none is larger.
        inputs: (1, H, W, 3) float32 of photos, of the size at which the detector is to work.
    """
    n_classes, weights = wide.output_shape[-1] - CLASSES.start, layer_weights(wide)
    narrow = build_detector(n_classes, widths_of(weights), weights)  # what is dropped is not read; cut off at the end
    chosen = []
    for step in narrowing_steps(widths):
        regressions = fit(narrow, wide, [reader for narrowing in step for reader in narrowing.readers], inputs)
        for narrowing in step:
            kept = choose_channels([regressions[reader] for reader in narrowing.readers], narrowing.width)
            for reader in narrowing.readers:
                narrow.get_layer(reader).set_weights(regressions[reader].solve(kept))
            chosen.append((narrowing, kept))
    weights = layer_weights(narrow)
    for narrowing, kept in chosen:
        _cut(weights, narrowing, kept)
    return build_detector(n_classes, widths, weights)


def narrowing_steps(widths: Widths) -> Iterator[list[Narrowing]]:
    """What is narrowed at the same time, in the order of the data."""
    laterals = {tap: f"lateral_{stride}" for stride, tap in zip(STRIDES, TAPS, strict=True)}
    yield [Narrowing(("Conv1",), ("expanded_conv_depthwise",), ("expanded_conv_project",), widths.stem)]
    for number, width in enumerate(widths.expansions, 1):
        layer, filtered = f"block_{number}_expand", f"block_{number}_depthwise"
        readers = [f"block_{number}_project"] if number <= len(BLOCK_OUTPUTS) else []
        readers += [laterals[tap] for tap in (layer, filtered) if tap in laterals]
        yield [Narrowing((layer,), (filtered,), tuple(readers), width)]
    smooth = tuple(f"smooth_{stride}" for stride in STRIDES)  # the levels are added up: one choice for all
    yield [Narrowing(tuple(laterals.values()), _depthwise(smooth), smooth, widths.pyramid)]
    branches = [(f"where_{stride}", f"what_{stride}") for stride in STRIDES]
    firsts = [tuple(f"{name}_0" for name in names) for names in branches]
    yield [
        Narrowing((layer,), _depthwise(readers), readers, widths.pyramid)
        for layer, readers in zip(smooth, firsts, strict=True)
    ]
    for i in range(1, BRANCH_LAYERS):
        pairs = [(f"{name}_{i - 1}", (f"{name}_{i}",)) for names in branches for name in names]
        yield [Narrowing((layer,), _depthwise(readers), readers, widths.pyramid) for layer, readers in pairs]
    ends = {"where": "places", "what": "classes"}
    yield [
        Narrowing((f"{branch}_{stride}_{BRANCH_LAYERS - 1}",), (), (f"{end}_{stride}",), widths.pyramid)
        for branch, end in ends.items()
        for stride in STRIDES
    ]


def _depthwise(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name}_depthwise" for name in names)


def _cut(weights: LayerWeights, narrowing: Narrowing, kept: np.ndarray) -> None:
    """Take the channels that are not kept out of all layers that have them."""
    for name in (*narrowing.layers, *narrowing.filters, *narrowing.readers):
        kernel, bias = weights[name]
        if name in narrowing.layers:
            weights[name] = kernel[..., kept], bias[kept]
        elif name in narrowing.filters:
            weights[name] = kernel[..., kept, :], bias[kept]
        else:
            weights[name] = kernel[..., kept, :], bias


def fit(
    narrow: keras.Model, wide: keras.Model, readers: Sequence[str], inputs: Sequence[np.ndarray]
) -> dict[str, Regression]:
    """The regressions that give the values of some layers of the wide network, or of the sums that they are part of."""
    import keras

    sums = {name: f"{name.removesuffix('_project')}_add" for name in readers}
    names = {layer.name for layer in wide.layers}
    sums = {name: total for name, total in sums.items() if total in names}
    own = [narrow.get_layer(name).input for name in readers]
    known = [narrow.get_layer(total).input[0] for total in sums.values()]
    aims = [wide.get_layer(sums.get(name, name)).output for name in readers]
    see, teach = compiled(keras.Model(narrow.input, [*own, *known])), compiled(keras.Model(wide.input, aims))
    moments = {name: Moments() for name in readers}
    for batch in inputs:
        seen, values = map(_flat, see(batch)), map(_flat, teach(batch))
        features = {name: next(seen) for name in readers}
        parts = {name: next(seen) for name in sums}
        for name, value in zip(readers, values, strict=True):
            moments[name].add(features[name], value - parts.get(name, 0.0))
    return {name: each.regression() for name, each in moments.items()}


class Moments:
    """Sums over features (n, C) and values (n, K), batch after batch."""

    def __init__(self) -> None:
        self._totals: list[Any] = [0, 0, 0, 0, 0, 0]

    def add(self, features: np.ndarray, values: np.ndarray) -> None:
        """Count another batch."""
        found = (
            len(values),
            features.sum(0),
            values.sum(0),
            features.T @ features,
            features.T @ values,
            (values**2).sum(),
        )
        self._totals = [total + part for total, part in zip(self._totals, found, strict=True)]

    def regression(self) -> Regression:
        """What fits all that was counted."""
        x, y, xx, xy, yy = (total / self._totals[0] for total in self._totals[1:])
        covariance = xx - np.outer(x, x)
        covariance += np.eye(len(covariance)) * (RIDGE * np.trace(covariance) / len(covariance) + TINY)
        return Regression(x, covariance, y, xy - np.outer(x, y), float(yy - (y**2).sum()) + TINY)


def _flat(values: Any) -> np.ndarray:
    """(1, H, W, C) to (H x W, C) float64, for sums of thousands."""
    array = np.asarray(values)
    return array.reshape(-1, array.shape[-1]).astype(np.float64)


def choose_channels(regressions: Sequence[Regression], width: int) -> np.ndarray:
    """Which of the channels that some regressions share to keep: (width,) int, rising.

    The errors of the regressions count in parts of their values' variance.
    """
    inverses = [np.linalg.inv(each.covariance) for each in regressions]
    kernels = [inverse @ each.cross_covariance for inverse, each in zip(inverses, regressions, strict=True)]
    kept = np.arange(len(kernels[0]))
    while len(kept) > width:
        costs = sum(
            (kernel**2).sum(axis=1) / np.diag(inverse) / each.variance
            for kernel, inverse, each in zip(kernels, inverses, regressions, strict=True)
        )
        worst = int(np.argmin(costs))
        for i, inverse in enumerate(inverses):
            column = inverse[:, worst] / inverse[worst, worst]
            kernels[i] = np.delete(kernels[i] - np.outer(column, kernels[i][worst]), worst, axis=0)
            inverse = inverse - np.outer(column, inverse[worst])
            inverses[i] = np.delete(np.delete(inverse, worst, axis=0), worst, axis=1)
        kept = np.delete(kept, worst)
    return kept
