"""Every layer of a model is found, wherever it is stored."""

import keras
from keras import layers

from pa_keras.models import all_layers


class Block(layers.Layer):
    """Holds layers as an attribute, in a list, in a dict in the list, and again in a tuple."""

    def __init__(self, **options):
        super().__init__(**options)
        self.norm = layers.BatchNormalization(name="norm")
        self.others = [layers.ReLU(name="in_list"), {"key": layers.ReLU(name="in_dict")}]
        self.again = (self.norm, layers.ReLU(name="in_tuple"))

    def call(self, inputs):
        return self.norm(inputs)


def test_layers_at_every_depth_each_once():
    images = keras.Input((4,), name="images")
    shared = layers.Dense(4, name="shared")
    wrapped = layers.Wrapper(layers.ReLU(name="wrapped"), name="wrapper")
    sequential = keras.Sequential([shared, layers.BatchNormalization(name="bn")], name="sequential")
    inner = keras.Model(images, Block(name="block")(shared(images)), name="inner")
    outer = keras.Input((4,), name="outer_images")
    sequential.build((None, 4))
    model = keras.Model(outer, sequential(inner(outer)), name="model")
    model.compile("sgd", "mse")
    names = [layer.name for layer in all_layers(model)]
    assert sorted(names) == sorted([
        "model", "outer_images", "inner", "images", "shared", "block", "norm", "in_list",
        "in_dict", "in_tuple", "sequential", "bn",
    ])  # fmt: skip
    assert [layer.name for layer in all_layers(wrapped)] == ["wrapper", "wrapped"]
