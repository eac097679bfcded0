"""Configs: frozen dataclasses as ml_collections ConfigDicts, and back.

An experiment is a frozen dataclass whose fields are plain values, tuples and other frozen
dataclasses; each checks itself in `__post_init__`. An experiment file returns it as a ConfigDict
(`to_config_dict`), so that every field can be overridden on the command line; `build` turns what
came of that into the dataclass again. After that nobody sees a ConfigDict.

A check's message begins with the name of the field, as in "heads is 0: give it at least 1";
`build` puts the path of the config before it.
"""

import dataclasses
import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import ConfigDict

DTYPES = ("float32", "bfloat16")
"""Dtypes that activations may have."""


def check_minimum(config: Any, **minimum: float | int) -> None:
    """Checks that fields, or all numbers of a field that is a tuple, have a minimum value.

    Raises:
      ValueError: one is below its minimum, or NaN.
    """
    for name, bound in minimum.items():
        value = getattr(config, name)
        for number in value if isinstance(value, tuple) else (value,):
            if not number >= bound:
                raise ValueError(f"{name} is {value}: give it at least {bound}")


def check_interval(config: Any, **intervals: str) -> None:
    """Checks that fields lie in intervals, written as "(0, 1]": ( and ) exclude the bound.

    Raises:
      ValueError: one does not, or is NaN.
    """
    for name, interval in intervals.items():
        low, high = map(float, interval[1:-1].split(","))
        value = getattr(config, name)
        above = value >= low if interval[0] == "[" else value > low
        below = value <= high if interval[-1] == "]" else value < high
        if not (above and below):
            raise ValueError(f"{name} is {value}: give it a number in {interval}")


def check_choice(config: Any, **choices: Sequence[str]) -> None:
    """Checks that fields have one of the values that they may have.

    Raises:
      ValueError: one has another.
    """
    for name, known in choices.items():
        if getattr(config, name) not in known:
            raise ValueError(
                f"{name} is {getattr(config, name)!r}: choose one of {', '.join(known)}"
            )


def to_dict(experiment: Any) -> dict[str, Any]:
    """An experiment's settings as in a run's `config.json`; see `training.experiments.parse`."""
    return {"experiment": experiment.kind} | dataclasses.asdict(experiment)


def to_config_dict(experiment: Any) -> ConfigDict:
    """An experiment's settings as an experiment file returns them."""
    return ConfigDict(to_dict(experiment))


def build(annotation: Any, value: Any, path: str = "config") -> Any:
    """A value of the annotated type `annotation`: a dataclass, a tuple or a plain value.

    Args:
      value: a mapping for a dataclass, or for a union of dataclasses, whose keys then choose one;
        an int will do for a float.
      path: where the value stands, for messages.

    Raises:
      ValueError: a key is unknown or missing, a value has another type or is not finite, or the
        dataclass refuses its values.
    """
    if dataclasses.is_dataclass(annotation):
        return _build_dataclass(annotation, value, path)
    if typing.get_origin(annotation) is tuple:
        parts = typing.get_args(annotation)
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ValueError(f"{path} is {value!r}: give it a tuple")
        if parts[-1] is Ellipsis:
            parts = (parts[0],) * len(value)
        if len(parts) != len(value):
            raise ValueError(f"{path} has {len(value)} entries: give it {len(parts)}")
        pairs = enumerate(zip(parts, value, strict=True))
        return tuple(build(part, entry, f"{path}[{i}]") for i, (part, entry) in pairs)
    if types.NoneType in typing.get_args(annotation):
        (other,) = (kind for kind in typing.get_args(annotation) if kind is not types.NoneType)
        return None if value is None else build(other, value, path)
    if typing.get_origin(annotation) is types.UnionType and isinstance(value, Mapping):
        return build(_closest_dataclass(annotation, value), value, path)
    if annotation is float and type(value) is int:
        return float(value)
    if annotation is float and type(value) is float and not math.isfinite(value):
        raise ValueError(f"{path} is {value}: give it a finite number")
    if type(value) is not annotation:
        raise ValueError(f"{path} is {value!r}: give it a value of type {annotation.__name__}")
    return value


def _closest_dataclass(union: Any, value: Mapping[str, Any]) -> Any:
    """The dataclass of a union that knows most of the keys, of these the one with fewest others."""

    def fit(kind: Any) -> tuple[int, int]:
        names = {field.name for field in dataclasses.fields(kind)}
        return len(names & set(value)), -len(names - set(value))

    return max(typing.get_args(union), key=fit)


def _build_dataclass(annotation: Any, value: Any, path: str) -> Any:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path} is {value!r}: give it keys of {annotation.__name__}")
    annotations = typing.get_type_hints(annotation)
    hints = {field.name: annotations[field.name] for field in dataclasses.fields(annotation)}
    for key in value:
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(hints)}"
            raise ValueError(f"unknown key {path}.{key}: {hint}")
    for field in dataclasses.fields(annotation):
        if field.default is dataclasses.MISSING and field.name not in value:
            raise ValueError(f"{path}.{field.name} is missing: set it")
    values = {key: build(hints[key], entry, f"{path}.{key}") for key, entry in value.items()}
    try:
        return annotation(**values)
    except ValueError as error:
        raise ValueError(f"{path}.{error}") from error


class Setting(NamedTuple):
    """One setting of an experiment: its path, the name of its type, its value and its meaning."""

    path: str
    type: str
    value: Any
    meaning: str


def settings(config: Any, path: str = "config") -> Iterator[Setting]:
    """All settings of a config, in the order of its fields; those of nested configs in their place.

    Args:
      config: a frozen dataclass.
      path: what the paths of the settings begin with.
    """
    meanings = describe_fields(type(config))
    for field in dataclasses.fields(config):
        value, name = getattr(config, field.name), f"{path}.{field.name}"
        nested = value if isinstance(value, tuple) else (value,)
        if nested and all(map(dataclasses.is_dataclass, nested)):
            for i, entry in enumerate(nested):
                yield from settings(entry, f"{name}[{i}]" if nested is value else name)
        else:
            kind = getattr(field.type, "__name__", str(field.type))
            kind = "tuple" if isinstance(value, tuple) else kind
            yield Setting(name, kind, value, meanings.get(field.name, ""))


def format_settings(config: Any) -> str:
    """All settings of a config as lines for a person."""
    lines = ["Settings of the experiment, each overridden by --NAME=VALUE:"]
    for setting in settings(config):
        lines.append(f"  --{setting.path}={setting.value!r}  ({setting.type})")
        lines.append(f"      {setting.meaning}")
    return "\n".join(lines)


def describe_fields(kind: type) -> dict[str, str]:
    """What a dataclass's docstring says of each field, on one line, from its "Attributes:".

    An entry may explain several fields, as in "validation, test: shares of the units".
    """
    _, _, attributes = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    entries = re.findall(r"^  ([\w, ]+): (.+(?:\n    .+)*)", attributes, re.M)
    return {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}
