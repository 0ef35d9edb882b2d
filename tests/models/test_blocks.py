"""The blocks of a backbone, and freezing the first of them."""

import keras
import numpy as np
import pytest
from keras import layers

from pa_keras.models import backbone_blocks, embedding_model, set_trainable, with_proxies
from pa_keras.models.blocks import freeze_blocks

SIZE = (32, 32)


def names(blocks):
    return [[layer.name for layer in block] for block in blocks]


@pytest.mark.parametrize(
    ("backbone", "size", "number"),
    [("conv4", SIZE, 4), ("torch_resnet18", SIZE, 17), ("vgg16", SIZE, 5), ("mobilenet", SIZE, 27)],
)
def test_each_weight_is_in_one_block_in_the_order_of_keras(backbone, size, number):
    model = embedding_model(backbone, 4, size, weights=None)
    blocks = backbone_blocks(model)
    found = [id(weight) for block in blocks for layer in block for weight in layer.weights]
    assert found == [id(weight) for weight in model.get_layer("backbone").weights]
    assert len(blocks) == number
    paths = [weight.path for weight in model.weights]
    assert len(set(paths)) == len(paths)  # the rates of the blocks are given by these


def test_a_convolution_and_its_normalization_are_one_block():
    blocks = names(backbone_blocks(embedding_model("torch_resnet18", 4, SIZE, weights=None)))
    assert blocks[:3] == [["conv1", "bn1"], ["layer1.0.conv1", "layer1.0.bn1"],
                          ["layer1.0.conv2", "layer1.0.bn2"]]  # fmt: skip
    # The shortcut is at the depth of the second convolution.
    assert {"layer2.0.downsample.0", "layer2.0.downsample.1", "layer2.0.conv2",
            "layer2.0.bn2"} in map(set, blocks)  # fmt: skip


class Attention(layers.Layer):
    """Stands for a layer of a transformer."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(3)
        self.norm = layers.BatchNormalization()

    def build(self, shape):
        self.dense.build(shape)
        self.norm.build(shape)

    def call(self, x):
        return x + self.norm(self.dense(x))


class Encoder(layers.Layer):
    """Keeps its layers in a list, as keras_hub does."""

    def __init__(self, number, **options):
        super().__init__(**options)
        self.blocks = [Attention(name=f"block{place}") for place in range(number)]
        self.norm = layers.LayerNormalization(name="norm")

    def build(self, shape):
        for layer in [*self.blocks, self.norm]:
            layer.build(shape)

    def call(self, x):
        for layer in self.blocks:
            x = layer(x)
        return self.norm(x)


def transformer(inside_an_encoder):
    images = keras.Input((8, 8, 3), name="images")
    x = layers.Conv2D(3, 4, 4, name="patches")(images)
    x = layers.LayerNormalization(name="first")(x)
    if inside_an_encoder:
        x = Encoder(2, name="encoder")(x)
    else:
        for place in range(2):
            x = Attention(name=f"block{place}")(x)
        x = layers.LayerNormalization(name="norm")(x)
    backbone = keras.Model(images, x, name="backbone")
    pooled = layers.GlobalAveragePooling2D()(backbone(images))
    embedding = layers.UnitNormalization()(layers.Dense(4, name="embedding")(pooled))
    return keras.Model(images, embedding, name="embedding_model")


@pytest.mark.parametrize("inside_an_encoder", [True, False])
def test_each_layer_of_a_transformer_is_a_block(inside_an_encoder):
    blocks = names(backbone_blocks(transformer(inside_an_encoder)))
    assert blocks == [["patches", "first"], ["block0"], ["block1", "norm"]]


def one_epoch(model, size):
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    pixels = np.random.default_rng(0).uniform(0, 255, (4, *size, 3)).astype("float32")
    model.fit(pixels, np.arange(4), batch_size=4, verbose=0)


@pytest.mark.parametrize("batch_norm", ["train", "frozen", "frozen_statistics"])
@pytest.mark.parametrize("inside_an_encoder", [True, False])
def test_frozen_blocks_keep_every_weight_and_the_others_do_not(batch_norm, inside_an_encoder):
    keras.utils.set_random_seed(0)
    embedder = transformer(inside_an_encoder)
    model = with_proxies(embedder, 4)
    blocks = backbone_blocks(embedder)
    for frozen in (2, 0):  # the second one shows that nothing stays frozen
        set_trainable(model, True, batch_norm, frozen_blocks=frozen)
        before = [[w.numpy() for layer in block for w in layer.weights] for block in blocks]
        one_epoch(model, (8, 8))
        after = [[w.numpy() for layer in block for w in layer.weights] for block in blocks]
        same = [
            [np.array_equal(*pair) for pair in zip(*pairs, strict=True)]
            for pairs in zip(before, after, strict=True)
        ]
        assert [all(block) for block in same] == [place < frozen for place in range(3)]


def test_a_frozen_block_stays_frozen_in_the_warm_up_of_the_authors():
    model = with_proxies(embedding_model("conv4", 4, SIZE, weights=None), 4)
    set_trainable(model, False, "train", statistics_in_warmup=True, frozen_blocks=1)
    backbone = model.get_layer("embedding_model").get_layer("backbone")
    assert [backbone.get_layer(f"bn{block}").trainable for block in (1, 2)] == [False, True]
    assert [v.path for v in model.trainable_variables][0] == "embedding/kernel"


@pytest.mark.parametrize("number", [-1, 5])
def test_more_blocks_than_there_are(number):
    model = embedding_model("conv4", 4, SIZE, weights=None)
    with pytest.raises(ValueError, match=f"freeze_blocks from 0 to 4, .*; received {number}"):
        freeze_blocks(model, number)
    freeze_blocks(model, 4)
    assert [v.path for v in model.trainable_variables] == ["embedding/kernel", "embedding/bias"]
