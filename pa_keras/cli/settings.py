"""The settings of a config dataclass, by their dotted names."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config", bound="DataclassInstance")


@dataclass(frozen=True)
class Setting:
    """One setting of a config.

    Args:
        name: Dotted name, such as "data.image_size".
        field: Field of the dataclass for this setting.
        group: The dataclass of the field.
    """

    name: str
    field: dataclasses.Field
    group: type

    @property
    def type(self) -> Any:
        """Annotation of the field."""
        return self.field.type

    @property
    def type_text(self) -> str:
        """Type in the words of the help, such as "int | null"."""
        return _type_text(self.type)

    @property
    def is_positional(self) -> bool:
        """Whether the values may be given without an option, such as file names."""
        return bool(self.field.metadata.get("positional"))

    @property
    def is_required(self) -> bool:
        """Whether the setting has no default."""
        return self.field.default is self.field.default_factory is dataclasses.MISSING

    @property
    def default(self) -> Any:
        """Default value; None for a required setting."""
        if self.field.default_factory is not dataclasses.MISSING:
            return self.field.default_factory()
        return None if self.is_required else self.field.default

    @property
    def is_switch(self) -> bool:
        """Whether the setting can be turned on by its name alone."""
        return self.type is bool or bool in get_args(self.type)

    @property
    def is_list(self) -> bool:
        """Whether the setting takes several values."""
        return get_origin(self.type) is tuple

    @property
    def words(self) -> list[str]:
        """Allowed words for the setting, or for each of its values; empty if others are allowed."""
        kinds = [self.type, *get_args(self.type)]
        if str in kinds or float in kinds:  # free text, or any number
            return []
        choices = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
        return [*choices, *(["true", "false"] if self.is_switch else [])]


def settings_of(config_class: type, prefix: str = "") -> Iterator[Setting]:
    """Yields every setting of a config dataclass, including those of nested dataclasses.

    Example:
        >>> from pa_keras.config import ModelConfig
        >>> [setting.name for setting in settings_of(ModelConfig, "model.")][:2]
        ['model.backbone', 'model.weights']
    """
    for field in dataclasses.fields(config_class):
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            yield from settings_of(field.type, _prefix_of(field, prefix))
        else:
            yield Setting(prefix + field.name, field, config_class)


def entries_of(config_class: type) -> Iterator[Setting]:
    """Yields the settings that are entries of a dictionary, such as `settings.seed`."""
    for setting in settings_of(config_class):
        inner = setting.field.metadata.get("settings_of")
        if inner is not None:
            yield from settings_of(inner, f"{setting.name}.")


def dotted(settings: dict[str, Any], prefix: str = "", keep: frozenset[str] = frozenset()) -> dict:
    """Flattens nested settings to dotted names.

    Args:
        settings: Nested dictionaries, whose names may contain dots.
        prefix: Prefix of each name. Default "".
        keep: Names of settings that are dictionaries themselves. Default: no names.

    Example:
        >>> dotted({"data": {"image_size": 224}, "seed": 1})
        {'data.image_size': 224, 'seed': 1}
    """
    names: dict[str, Any] = {}
    for name, value in settings.items():
        is_group = isinstance(value, dict) and prefix + name not in keep
        names |= dotted(value, f"{prefix}{name}.", keep) if is_group else {prefix + name: value}
    return names


def build(config_class: type[Config], values: dict[str, Any], prefix: str = "") -> Config:
    """Makes a config from values by dotted names; missing settings have their defaults."""
    arguments = {}
    for field in dataclasses.fields(config_class):
        if isinstance(field.type, type) and dataclasses.is_dataclass(field.type):
            arguments[field.name] = build(field.type, values, _prefix_of(field, prefix))
        elif prefix + field.name in values:
            arguments[field.name] = values[prefix + field.name]
    return config_class(**arguments)


def nested(config: Any) -> dict[str, Any]:
    """Returns the settings of a config as in a YAML file: nested, without flat groups."""
    settings: dict[str, Any] = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        group = nested(value) if dataclasses.is_dataclass(value) else {}
        settings |= group if field.metadata.get("flat") else {field.name: group or value}
    return settings


def _type_text(kind: Any, spell_out: bool = False) -> str:
    if get_origin(kind) in (Union, UnionType):
        # The metavar lists the words of a choice, unless numbers are allowed, too.
        kinds = get_args(kind)
        return " | ".join(_type_text(each, spell_out=float in kinds) for each in kinds)
    if get_origin(kind) is tuple:
        return (
            f"[{', '.join('...' if each is ... else _type_text(each) for each in get_args(kind))}]"
        )
    if get_origin(kind) is Literal:
        return " | ".join(get_args(kind)) if spell_out else "choice"
    names: dict[Any, str] = {...: "...", type(None): "null", bool: "true or false", str: "text"}
    return names[kind] if kind in names else getattr(kind, "__name__", str(kind))


def _prefix_of(field: dataclasses.Field, prefix: str) -> str:
    """Returns the prefix of the names in a nested dataclass."""
    return prefix if field.metadata.get("flat") else f"{prefix}{field.name}."
