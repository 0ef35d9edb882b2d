"""AdamW as in PyTorch, whose update is one operation of TensorFlow."""

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

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Moves one variable on."""
        learning_rate = tf.cast(learning_rate, variable.dtype)
        gradient = tf.cast(tf.convert_to_tensor(gradient), variable.dtype)
        if self._clips_by_value():
            gradient = tf.clip_by_value(gradient, -self.clipvalue, self.clipvalue)
        step = keras.ops.cast(self.iterations, variable.dtype) + 1
        beta_1, beta_2 = (tf.cast(beta, variable.dtype) for beta in (self.beta_1, self.beta_2))
        place = self._get_variable_index(variable)
        if self.weight_decay and self._use_weight_decay(variable):
            # Not before there is a gradient, or the products would be held from the step's start.
            with tf.control_dependencies([gradient]):
                variable.assign_sub(variable * (learning_rate * self.weight_decay))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
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
