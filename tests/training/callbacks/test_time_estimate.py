"""The estimate of the training time, from steps of a known duration."""

import re

import pytest

from pa_keras.training.callbacks import time_estimate
from pa_keras.training.callbacks.progress import Progress
from pa_keras.training.callbacks.time_estimate import TimeEstimate, in_words


class FakeClock:
    """A progress whose steps take a fixed number of seconds, except the first, which is traced."""

    def __init__(self, steps_per_epoch, seconds):
        self.progress = Progress(steps_per_epoch, batch_size=90)
        self.seconds = seconds

    def train(self, callback, epochs, first_epoch=0):
        """Calls the callback as `fit` does."""
        callback.set_params({"epochs": epochs})
        callback.on_train_begin()
        for epoch in range(first_epoch, epochs):
            # The callback that counts comes first.
            self.progress.epoch, self.progress.step, self.progress._before = epoch, 0, 0.0
            callback.on_epoch_begin(epoch)
            tracing = 30 if epoch == first_epoch else 0
            for batch in range(self.progress.steps_per_epoch):
                self.progress.step = batch + 1
                self.progress._before = tracing + self.seconds * (batch + 1)
                callback.on_train_batch_end(batch)


@pytest.fixture
def log(caplog):
    caplog.set_level("INFO", time_estimate.logger.name)
    return caplog


def test_the_first_steps_give_the_time_of_all_epochs(log):
    clock = FakeClock(steps_per_epoch=60, seconds=2)
    callback = TimeEstimate(clock.progress, evaluation_seconds=lambda: 30.0)
    clock.train(callback, epochs=10)
    (message,) = log.messages
    # 60 x 2 + 30 s an epoch; 10 of them without the 9 steps that are done.
    assert message == (
        "At 45 images per second, an epoch takes about 2 minutes and the remaining 10 about 25 "
        "minutes."
    )


def test_each_phase_is_estimated_by_its_own_steps(log):
    clock = FakeClock(steps_per_epoch=60, seconds=1)
    callback = TimeEstimate(clock.progress)
    clock.train(callback, epochs=1)
    clock.seconds = 3
    clock.train(callback, epochs=3, first_epoch=1)
    assert [re.search("At ([0-9]+)", each)[1] for each in log.messages] == ["90", "30"]
    assert "the remaining 2 about 6 minutes" in log.messages[1]


def test_a_long_training_on_a_cpu_names_a_smaller_image_size(log):
    clock = FakeClock(steps_per_epoch=600, seconds=2)
    clock.train(TimeEstimate(clock.progress, image_size=(224, 224)), epochs=3)
    # An hour; (160 / 224)^2 of it is 31 minutes.
    assert "--data.image_size 160 would take about 30 minutes" in log.messages[0]


@pytest.mark.parametrize(
    ("size", "seconds"), [((128, 128), 2), ((112, 112), 2), (None, 2), ((224, 224), 0.6)]
)
def test_no_advice_where_there_is_none_to_give(log, size, seconds):
    clock = FakeClock(steps_per_epoch=600, seconds=seconds)
    clock.train(TimeEstimate(clock.progress, image_size=size), epochs=3)
    assert "--data.image_size" not in log.messages[0]


def test_epochs_of_a_few_steps_are_added_up(log):
    clock = FakeClock(steps_per_epoch=4, seconds=30)
    clock.train(TimeEstimate(clock.progress), epochs=100)
    # Five steps are measured in the third epoch.
    (message,) = log.messages
    assert message == (
        "At 3 images per second, an epoch takes about 2 minutes and the remaining 98 about 3.3 "
        "hours."
    )


def test_the_advice_counts_the_pixels_of_both_sides(log):
    clock = FakeClock(steps_per_epoch=600, seconds=2)
    clock.train(TimeEstimate(clock.progress, image_size=(224, 448)), epochs=6)
    # 2 hours; 160^2 of 224 x 448 pixels are a quarter.
    assert "--data.image_size 160 would take about 31 minutes" in log.messages[0]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (50, "50 seconds"),
        (89, "89 seconds"),
        (90, "2 minutes"),
        (754, "13 minutes"),
        (5_399, "90 minutes"),
        (5_400, "1.5 hours"),
        (7_200, "2 hours"),
        (360_000, "100 hours"),
    ],
)
def test_durations_in_words(seconds, words):
    assert in_words(seconds) == words
