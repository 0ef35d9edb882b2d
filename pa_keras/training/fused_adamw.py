"""AdamW as in PyTorch, whose update is one operation of TensorFlow."""

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("pa_keras")
class AdamW(keras.optimizers.AdamW):
    """AdamW that updates each weight in place, and adds epsilon after the bias correction.

        p <- p - lr lambda p
        m <- beta_1 m + (1 - beta_1) g,   v <- beta_2 v + (1 - beta_2) g^2
        p <- p - lr m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon)

    Keras adds epsilon to sqrt(v) itself, which makes it 1 / sqrt(1 - beta_2^t) times as large: 32
    times in the first step. That is felt where gradients are as small as epsilon. And it computes
    each line by operations of their own, whose results need, for all weights together, two to three
    times the memory of the gradients: here there is that of one weight's decay.

    Weights of half precision (a pure bfloat16 or float16 policy) have their moments in float32, in
    which their step is computed too, by operations of their own.

    `clipvalue` is of the whole batch's gradient: Keras clips that of each replica, and then adds
    them up.

    Args:
        learning_rate, weight_decay (lambda), clipvalue and the others: as of
            `keras.optimizers.AdamW`, with its defaults; PyTorch's are weight_decay 1e-2 and
            epsilon 1e-8.

    Raises:
        ValueError: `amsgrad` is asked for.

    Example:
        >>> variable = keras.Variable([1.0])
        >>> AdamW(0.1, weight_decay=0.0, epsilon=1e-8).apply([keras.ops.ones(1)], [variable])
        >>> round(float(variable[0]), 4)
        0.9

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019, algorithm 2.
    """

    def build(self, variables: list[keras.Variable]) -> None:
        """Makes the moments of the variables."""
        if self.amsgrad:
            raise ValueError(
                "Expected amsgrad=False; received True. Take keras.optimizers.AdamW, which has it."
            )
        super().build(variables)

    def add_variable(
        self, shape: tuple[int, ...], initializer="zeros", dtype: str | None = None, **options: Any
    ) -> keras.Variable:
        """Makes a variable of the optimizer: a moment of a half-precision weight in float32.

        In half precision 0.999 rounds to 1, and a moment would not move by a thousandth of itself.
        """
        is_moment = (options.get("name") or "").endswith(("momentum", "velocity"))
        dtype = "float32" if is_moment and dtype in ("bfloat16", "float16") else dtype
        return super().add_variable(shape, initializer, dtype, **options)

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Moves one variable on."""
        place = self._get_variable_index(variable)
        moment, velocity = self._momentums[place].value, self._velocities[place].value
        dtype = moment.dtype
        learning_rate = tf.cast(learning_rate, dtype)
        gradient = tf.cast(tf.convert_to_tensor(gradient), dtype)
        if self._clips_by_value():
            gradient = tf.clip_by_value(gradient, -self.clipvalue, self.clipvalue)
        step = keras.ops.cast(self.iterations, dtype) + 1
        beta_1, beta_2 = (tf.cast(beta, dtype) for beta in (self.beta_1, self.beta_2))
        decays = self.weight_decay and self._use_weight_decay(variable)
        decay = learning_rate * self.weight_decay if decays else None
        if variable.dtype != dtype:
            # The kernel takes one dtype for all.
            moment.assign_add((gradient - moment) * (1 - beta_1))
            velocity.assign_add((tf.square(gradient) - velocity) * (1 - beta_2))
            root = tf.sqrt(velocity / (1 - beta_2**step))
            value = tf.cast(variable, dtype)
            value = value if decay is None else value - value * decay
            value -= learning_rate * moment / (1 - beta_1**step) / (root + self.epsilon)
            variable.assign(tf.cast(value, variable.dtype))
            return
        if decay is not None:
            # Not before there is a gradient, or the products would be held from the step's start.
            with tf.control_dependencies([gradient]):
                variable.assign_sub(variable * decay)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=moment.handle,
            v=velocity.handle,
            beta1_power=beta_1**step,
            beta2_power=beta_2**step,
            lr=learning_rate,
            beta1=beta_1,
            beta2=beta_2,
            # The kernel's stands beside sqrt(v), before the correction.
            epsilon=self.epsilon * tf.sqrt(1 - beta_2**step),
            grad=gradient,
        )

    def _clip_gradients(self, grads: list[tf.Tensor]) -> list[tf.Tensor]:
        """By their value not here, where those of the replicas are not added up yet."""
        return grads if self._clips_by_value() else super()._clip_gradients(grads)

    def _clips_by_value(self) -> bool:
        return self.clipvalue is not None and self.clipvalue > 0

    def _apply_weight_decay(self, variables: list[keras.Variable]) -> None:
        """Nothing: it is part of the step."""
