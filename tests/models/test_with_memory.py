"""Pair losses with a memory of earlier batches: against a list, saved, resumed, on replicas."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from pa_keras import losses
from pa_keras.layers import CrossBatchMemory
from pa_keras.models import with_memory
from pa_keras.training.checkpoint import restore_checkpoint, write_checkpoint
from pa_keras.training.training_model import TrainingModel

# Class IDs that float32 and int32 would merge.
LABELS = np.repeat(np.arange(4), 6)[np.random.default_rng(1).permutation(24)] + 2**40
IMAGES = np.random.default_rng(0).normal(size=(24, 8)).astype("float32")
BATCHES = [slice(start, start + 6) for start in range(0, 24, 6)]


def make(size=10, warm_up_steps=1, loss=None, weight=1.0, jit_compile=False):
    keras.utils.set_random_seed(0)
    embedder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4)], name="embedding_model")
    model = with_memory(embedder, size, warm_up_steps, weight)
    optimizer = keras.optimizers.Adam(0.05)
    model.compile(optimizer, loss or losses.ContrastiveLoss(1.2), jit_compile=jit_compile)
    return model


def step(model, batch):
    """The loss of one step; `train_on_batch` would give a mean over the steps."""
    model.reset_metrics()
    return float(model.train_on_batch(IMAGES[batch], LABELS[batch]))


def with_list(labels, x, queue, margin=1.2):
    """Contrastive loss of a batch with itself and with a list of (image, label, embedding)."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    total = 0.0
    for others in ([(i, labels[i], x[i]) for i in range(len(x))], queue):
        hinges = {True: [], False: []}
        for i, (label, row) in enumerate(zip(labels, unit, strict=True)):
            for image, other_label, other in others:
                if image != i:
                    apart = np.linalg.norm(row - other / np.linalg.norm(other))
                    same = bool(label == other_label)
                    hinges[same].append(apart if same else max(margin - apart, 0.0))
        for of_kind in hinges.values():
            above = [hinge for hinge in of_kind if hinge > 0]
            total += sum(above) / max(len(above), 1)
    return total


@pytest.mark.parametrize("jit_compile", [False, True])
def test_each_step_compares_with_the_last_embeddings(jit_compile):
    model = make(jit_compile=jit_compile)
    queue: list = []
    for number, batch in enumerate(BATCHES):
        x = np.array(model(IMAGES[batch]))
        if number >= 1:  # the warm-up is over
            # Only rows of this batch have an image number, by which they find their own copy.
            queue = [(None, label, other) for _, label, other in queue]
            queue = [*queue, *zip(range(6), LABELS[batch], x, strict=True)][-10:]
            expected = with_list(LABELS[batch], x, queue)
        else:
            expected = float(losses.ContrastiveLoss(1.2)(LABELS[batch], x))
        assert step(model, batch) == pytest.approx(expected, rel=1e-4)
    memory = model.get_layer("memory")
    assert sorted(memory.labels.numpy()) == sorted(LABELS[14:])
    assert memory.next_slot.numpy() == 18 % 10 and memory.filled.numpy() == 10


def test_evaluate_compares_a_batch_with_itself_alone():
    model = make(warm_up_steps=0)
    step(model, BATCHES[0])
    before = [each.numpy() for each in model.get_layer("memory").weights]
    found = model.evaluate(IMAGES[:6], LABELS[:6], verbose=0)
    expected = losses.ContrastiveLoss(1.2)(LABELS[:6], model(IMAGES[:6]))
    assert found == pytest.approx(float(expected), rel=1e-5)
    for old, now in zip(before, model.get_layer("memory").weights, strict=True):
        np.testing.assert_array_equal(old, now.numpy())


def test_a_saved_model_goes_on_with_its_memory(tmp_path):
    model = make(warm_up_steps=0)
    for batch in BATCHES[:2]:
        step(model, batch)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [step(loaded, batch) for batch in BATCHES[2:]] == [
        step(model, batch) for batch in BATCHES[2:]
    ]


def test_a_checkpoint_resumes_with_the_memory(tmp_path):
    def training_model():
        stock = make(warm_up_steps=0)
        model = TrainingModel(stock.input, stock.output)
        model.compile(stock.optimizer, losses.ContrastiveLoss(1.2), jit_compile=False)
        return model

    model = training_model()
    for batch in BATCHES[:2]:
        step(model, batch)
    checkpoint = write_checkpoint(model, tmp_path, 0, 2, 0.0, None)
    expected = [step(model, batch) for batch in BATCHES[2:]]
    resumed = training_model()
    restore_checkpoint(resumed, tmp_path, checkpoint)
    assert [step(resumed, batch) for batch in BATCHES[2:]] == expected
    np.testing.assert_array_equal(
        resumed.get_layer("memory").labels.numpy(), model.get_layer("memory").labels.numpy()
    )


def test_a_gradient_cache_appends_each_batch_once():
    stock = make(warm_up_steps=0)
    model = TrainingModel(stock.input, stock.output, chunks=2)
    start = stock.get_weights()
    ends = []
    for each in (stock, model):
        each.set_weights(start)
        each.compile(keras.optimizers.SGD(0.1), losses.ContrastiveLoss(1.2), jit_compile=False)
        ends.append(([step(each, batch) for batch in BATCHES], each.get_weights()))
    np.testing.assert_allclose(ends[0][0], ends[1][0], rtol=1e-5)
    for weight, other in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_allclose(weight, other, rtol=1e-4, atol=1e-5)


def test_several_replicas_equal_one_device():
    script = Path(__file__).with_name("memory_on_replicas.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["replicas"] == 2 and found["labels_equal"] and found["slots"] == [2, 22]
    assert max(found["differences"]) < 1e-5


def test_a_loss_that_cannot_use_a_memory():
    with pytest.raises(ValueError, match="Expected a loss that can use a memory: CircleLoss"):
        step(make(loss=losses.TripletLoss()), BATCHES[0])


def test_a_batch_larger_than_the_memory():
    memory = CrossBatchMemory(4)
    memory.build((None, 2))
    with pytest.raises(ValueError, match="at most 4 rows.*received 5. Enlarge the memory"):
        memory.append(np.arange(5), np.zeros((5, 2), "float32"))
    unknown = tf.function(
        memory.append,
        input_signature=[tf.TensorSpec([None], "int64"), tf.TensorSpec([None, 2], "float32")],
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 4 rows"):
        unknown(np.arange(5), np.zeros((5, 2), "float32"))


@pytest.mark.parametrize(
    ("make_it", "message"),
    [
        (lambda: CrossBatchMemory(1), "size of 2 or more"),
        (lambda: CrossBatchMemory(8, warm_up_steps=-1), "warm_up_steps of 0 or more"),
        (lambda: CrossBatchMemory(8, weight=0), "weight > 0"),
        (lambda: CrossBatchMemory(8).build((None, 4, 4)), "embeddings of shape"),
    ],
)
def test_settings_out_of_range(make_it, message):
    with pytest.raises(ValueError, match=message):
        make_it()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize(
    "loss",
    [losses.ContrastiveLoss(), losses.MultiSimilarityLoss(), losses.SupConLoss(),
     losses.CircleLoss()],
    ids=lambda loss: loss.name,
)  # fmt: skip
def test_a_memory_that_is_not_finite_gives_no_finite_loss(loss, bad):
    rows, labels = IMAGES[:6, :4], LABELS[:6]
    queue = IMAGES[6:12, :4].copy()
    compared = np.ones((6, 6), bool)
    finite = loss(labels, rows, references=losses.References(queue, LABELS[6:12], compared))
    assert np.isfinite(finite)
    queue[2, 1] = bad
    found = loss(labels, rows, references=losses.References(queue, LABELS[6:12], compared))
    assert np.isnan(found)
