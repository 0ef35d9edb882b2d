"""AdamW as in PyTorch, with its update in one fused TensorFlow operation."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("pa_keras")
class AdamW(keras.optimizers.Optimizer):
    """AdamW that updates each weight in place, and adds epsilon after the bias correction.

        p <- p - lr lambda p
        m <- beta_1 m + (1 - beta_1) g,   v <- beta_2 v + (1 - beta_2) g^2
        p <- p - lr m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon)

    Keras adds epsilon to sqrt(v) before the correction, which makes it 1 / sqrt(1 - beta_2^t) times
    as large: 32 times in the first step. This matters where gradients are as small as epsilon.
    Keras also computes each line by separate operations, whose results need, for all weights
    together, two to three times the memory of the gradients. Here only the weight decay needs
    memory, for one weight at a time.

    Weights in half precision (a pure bfloat16 or float16 policy) have their moments in float32;
    separate operations compute their step, in float32 too.

    `clipvalue` clips the gradient of the complete batch. Keras clips the gradient of each replica
    and then sums them.

    `rate_factors` gives some weights another learning rate; a weight decays at its own rate, too.

    Args:
        rate_factors: Factor on the learning rate, 0 or more, by the path of a weight. Default None:
            all weights have the same rate.
        learning_rate, weight_decay (lambda), beta_1, beta_2, epsilon, clipvalue and the others: As
            in `keras.optimizers.AdamW`, with its defaults; PyTorch's are weight_decay 1e-2 and
            epsilon 1e-8.

    Attributes:
        decay: float, the weight decay. Keras' own attributes `weight_decay` and `clipvalue` are
            None, since Keras would apply both before the gradients are summed.
        clip: float or None, the clip value.
        rate_factors: dict[str, float], the factors.

    Raises:
        ValueError: `amsgrad` is True, or a factor is below 0.

    Example:
        >>> variable = keras.Variable([1.0])
        >>> AdamW(0.1, weight_decay=0.0, epsilon=1e-8).apply([keras.ops.ones(1)], [variable])
        >>> round(float(variable[0]), 4)
        0.9

    Source: Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019, algorithm 2.
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        clipvalue: float | None = None,
        name: str | None = None,
        rate_factors: Mapping[str, float] | None = None,
        **base_options: Any,
    ) -> None:
        super().__init__(learning_rate, name=name, **base_options)
        if amsgrad:
            raise ValueError(
                "Expected amsgrad=False; received True. Use keras.optimizers.AdamW, which has it."
            )
        self.decay = weight_decay
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.clip = clipvalue if clipvalue and clipvalue > 0 else None
        self.rate_factors = dict(rate_factors or {})
        for path, factor in self.rate_factors.items():
            if not factor >= 0:
                raise ValueError(
                    f"Expected rate_factors of 0 or more; received {factor} for {path}."
                )
        self._undecayed: tuple[list[Any], list[str]] = [], []

    def exclude_from_weight_decay(
        self,
        var_list: Iterable[keras.Variable] | None = None,
        var_names: Iterable[str] | None = None,
    ) -> None:
        """Excludes these variables, and those whose name matches a pattern, from the decay."""
        super().exclude_from_weight_decay(var_list, var_names)  # raises if the optimizer is built
        self._undecayed = list(var_list or ()), list(var_names or ())

    def build(self, variables: list[keras.Variable]) -> None:
        """Creates the moments of the variables."""
        if self.built:
            return
        super().build(variables)
        self._m, self._v = self.add_optimizer_variables(variables, ["momentum", "velocity"])
        # `update_step` gets the TensorFlow variable, or that of its replica if it is mirrored.
        self._places = {
            id(each): place
            for place, variable in enumerate(variables)
            for each in _native_variables(variable)
        }
        self._decayed = [self._is_decayed(variable) for variable in variables]
        self._factors = [
            self.rate_factors.get(getattr(variable, "path", ""), 1.0) for variable in variables
        ]

    def add_variable(
        self,
        shape: tuple[int, ...],
        initializer: Any = "zeros",
        dtype: str | None = None,
        **options: Any,
    ) -> keras.Variable:
        """Creates a variable of the optimizer; moments of half-precision weights are float32.

        In half precision 0.999 rounds to 1, so that a moment could not change by a thousandth.
        """
        is_moment = (options.get("name") or "").endswith(("momentum", "velocity"))
        dtype = "float32" if is_moment and dtype in ("bfloat16", "float16") else dtype
        return super().add_variable(shape, initializer, dtype, **options)

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Updates one variable."""
        place = self._places[id(variable)]
        moment, velocity = self._m[place].value, self._v[place].value
        dtype = moment.dtype
        learning_rate = tf.cast(learning_rate, dtype)
        if self._factors[place] != 1.0:
            learning_rate *= self._factors[place]
        gradient = tf.cast(tf.convert_to_tensor(gradient), dtype)
        if self.clip is not None:
            gradient = tf.clip_by_value(gradient, -self.clip, self.clip)
        step = keras.ops.cast(self.iterations, dtype) + 1
        beta_1, beta_2 = (tf.cast(beta, dtype) for beta in (self.beta_1, self.beta_2))
        decay = learning_rate * self.decay if self.decay and self._decayed[place] else None
        if variable.dtype != dtype:
            # The fused operation needs the same dtype for all of its inputs.
            moment.assign_add((gradient - moment) * (1 - beta_1))
            velocity.assign_add((tf.square(gradient) - velocity) * (1 - beta_2))
            root = tf.sqrt(velocity / (1 - beta_2**step))
            value = tf.cast(variable, dtype)
            value = value if decay is None else value - value * decay
            value -= learning_rate * moment / (1 - beta_1**step) / (root + self.epsilon)
            variable.assign(tf.cast(value, variable.dtype))
            return
        if decay is not None:
            # Wait for the gradient, or the products would be kept from the start of the step.
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
            # The fused operation adds epsilon to sqrt(v) before the correction.
            epsilon=self.epsilon * tf.sqrt(1 - beta_2**step),
            grad=gradient,
        )

    def finalize_variable_values(self, var_list: list[keras.Variable]) -> None:
        """Replaces variables by their averages, which are 0 until the first step."""
        # Loss scaling skips the steps whose gradients overflow, maybe all steps so far.
        if self.use_ema and self.iterations.numpy() > 0:
            super().finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "weight_decay": self.decay,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": False,
            "clipvalue": self.clip,
            "rate_factors": self.rate_factors,
        }

    def _is_decayed(self, variable: keras.Variable) -> bool:
        excluded, patterns = self._undecayed
        by_name = any(re.search(pattern, variable.name) for pattern in patterns)
        return not by_name and all(variable is not each for each in excluded)


def _native_variables(variable: keras.Variable | tf.Variable) -> list[tf.Variable]:
    """The TensorFlow variable, and that of each replica if it is mirrored."""
    native = variable.value if isinstance(variable, keras.Variable) else variable
    return [native, *getattr(native, "values", ())]
