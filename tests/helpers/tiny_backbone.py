"""A network in the place of MobileNetV2, with the layers at which training cuts and taps it, and hardly any others.

Most of what a small training run costs is building, compiling and converting MobileNetV2's 154 layers.
"""

from __future__ import annotations

from typing import Any

CHANNELS = 8


def tiny_mobilenet(input_shape: Any = None, input_tensor: Any = None, name: str = "mobilenet_v2", **_: object) -> Any:
    """Stands in for ``keras.applications.MobileNetV2`` without its top; the weights are random.

    Maps (N, H, W, 3) to (N, H / 32, W / 32, 8), by way of MobileNetV2's strides.
    """
    import keras

    layers = keras.layers

    def halved(x: Any, name: str) -> Any:
        return layers.Conv2D(CHANNELS, 3, 2, padding="same", activation="relu6", name=name)(x)

    def convolution(x: Any, name: str) -> Any:
        return layers.Conv2D(CHANNELS, 1, use_bias=False, name=name)(x)

    image = keras.Input(input_shape) if input_tensor is None else input_tensor
    x = halved(halved(image, "Conv1"), "block_1_depthwise")  # stride 4
    x = layers.Add(name="block_2_add")([x, convolution(x, "block_2_project")])
    x = halved(x, "block_3_depthwise")
    x = layers.Add(name="block_5_add")([x, convolution(x, "block_5_project")])
    x = layers.ReLU(6.0, name="block_6_expand_relu")(convolution(x, "block_6_expand"))
    x = halved(x, "block_6_depthwise")
    x = layers.ReLU(6.0, name="block_13_expand_relu")(convolution(x, "block_13_expand"))
    x = halved(x, "block_13_depthwise")
    x = layers.BatchNormalization(name="block_16_project_BN")(convolution(x, "block_16_project"))
    x = layers.BatchNormalization(name="Conv_1_bn")(convolution(x, "Conv_1"))
    return keras.Model(keras.utils.get_source_inputs(image), layers.ReLU(6.0, name="out_relu")(x), name=name)
