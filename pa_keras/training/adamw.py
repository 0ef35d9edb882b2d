"""AdamW as in PyTorch, for every backend of Keras."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras import ops

from pa_keras.training.adamw_step import Step

if keras.backend.backend() == "tensorflow":
    from pa_keras.training.fused_adamw import update
else:
    from pa_keras.training.adamw_step import update


@keras.saving.register_keras_serializable("pa_keras")
class AdamW(keras.optimizers.Optimizer):
    """AdamW that adds epsilon to the root after the bias correction, as PyTorch does.

        p <- p - lr lambda p
        m <- beta_1 m + (1 - beta_1) g,   v <- beta_2 v + (1 - beta_2) g^2
        p <- p - lr m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon)

    Keras adds epsilon to sqrt(v) before the correction, which makes it 1 / sqrt(1 - beta_2^t) times
    as large: 32 times in the first step. This matters where gradients are as small as epsilon.

    On TensorFlow, one fused operation updates a weight in place. Keras computes each line by
    separate operations, whose results need, for all weights together, two to three times the memory
    of the gradients. Here only the weight decay needs memory, for one weight at a time. On the
    other backends the update is a few operations of `keras.ops`, which JAX compiles into one.

    Weights in half precision (a pure bfloat16 or float16 policy) have their moments in float32, and
    their step is computed in float32, by separate operations on every backend.

    `clipvalue` clips the gradient of the complete batch. Under `tf.distribute`, Keras clips the
    gradient of each replica and then sums them.

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
        # On TensorFlow, `update_step` gets the native variable, or that of its replica.
        self._places = {
            id(each): place
            for place, variable in enumerate(variables)
            for each in _as_given_to_update(variable)
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

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable; the arguments are tensors and variables of the backend."""
        place = self._places[id(variable)]
        moment, velocity = self._m[place], self._v[place]
        dtype = moment.dtype
        rate = ops.cast(learning_rate, dtype)
        if self._factors[place] != 1.0:
            rate = rate * self._factors[place]
        gradient = ops.cast(ops.convert_to_tensor(gradient), dtype)
        if self.clip is not None:
            gradient = ops.clip(gradient, -self.clip, self.clip)
        step = Step(
            rate=rate,
            decay=rate * self.decay if self.decay and self._decayed[place] else None,
            number=ops.cast(self.iterations, dtype) + 1,
            beta_1=ops.convert_to_tensor(self.beta_1, dtype),
            beta_2=ops.convert_to_tensor(self.beta_2, dtype),
            epsilon=self.epsilon,
        )
        update(variable, moment, velocity, gradient, step)

    def finalize_variable_values(self, var_list: list[keras.Variable]) -> None:
        """Replaces variables by their averages, which are 0 until the first step."""
        # Loss scaling skips the steps whose gradients overflow, maybe all steps so far.
        if self.use_ema and int(ops.convert_to_numpy(self.iterations)) > 0:
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


def _as_given_to_update(variable: Any) -> list[Any]:
    """A Keras variable, its TensorFlow variable, and that of each replica if it is mirrored."""
    is_native = keras.backend.backend() == "tensorflow" and isinstance(variable, keras.Variable)
    value = variable.value if is_native else variable
    return [variable, value, *getattr(value, "values", ())]
