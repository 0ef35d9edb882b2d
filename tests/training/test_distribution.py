"""Strategies on one device; tests/test_fit_distributed.py has several."""

import keras
import pytest
import tensorflow as tf

from pa_keras.pipelines import WorkerShare
from pa_keras.training import distribution


class OfTwo:
    """The part of a worker's strategy that messages need."""

    cluster_resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        tf.train.ClusterSpec({"worker": ["one:1", "two:1"]}), task_type="worker", task_id=0
    )


def test_one_device_keeps_whole_batches_and_is_the_chief():
    strategy = distribution.make_strategy("none")
    assert distribution.is_chief(strategy)
    shares = []
    distribution.distributed(lambda share: shares.append(share), strategy)
    assert shares == [WorkerShare()]
    assert [distribution.any_worker(flag, strategy) for flag in (True, False)] == [True, False]


def test_mirrored_on_one_device_says_so(caplog):
    strategy = distribution.make_strategy("mirrored")
    assert "has only one device" in caplog.text and distribution.is_chief(strategy)


def test_unknown_names():
    with pytest.raises(ValueError, match="received 'horovod'"):
        distribution.make_strategy("horovod")


@pytest.mark.parametrize(
    ("message", "who"),
    [
        ("The following tasks are unhealthy: /job:worker/replica:0/task:1", "worker 1 is lost"),
        ("{{node}} on /job:worker/replica:0/task:0/device:CPU:0: Socket closed", "another worker"),
    ],
)
def test_a_lost_worker_is_named(monkeypatch, message, who):
    monkeypatch.setattr(distribution, "several_processes", lambda strategy: True)
    with (
        pytest.raises(ConnectionError, match=who) as raised,
        distribution.naming_lost_workers(OfTwo),
    ):
        raise tf.errors.UnavailableError(None, None, message)
    assert "Start all workers again with --resume" in str(raised.value)


def test_with_one_process_the_error_stays_what_it_is():
    strategy = distribution.make_strategy("none")
    with pytest.raises(tf.errors.AbortedError), distribution.naming_lost_workers(strategy):
        raise tf.errors.AbortedError(None, None, "of something else")


def test_batch_norm_shares_its_statistics_with_several_replicas_alone():
    layer = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((3,)), layer])
    distribution.share_batch_statistics(model)
    assert not layer.synchronized


@pytest.mark.parametrize("error", [OSError("no service"), ValueError("no name")])
def test_no_tpu(monkeypatch, error):
    def fail():
        raise error

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", fail)
    with pytest.raises(ValueError, match=f"Expected a TPU.*{error}.*Set TPU_NAME"):
        distribution.make_strategy("tpu")
