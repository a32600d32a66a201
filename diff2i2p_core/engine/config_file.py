"""Reads experiments from YAML: `base` files, `key=value` overrides, environment variables for folders, and
error messages that suggest the nearest key."""

from __future__ import annotations

import difflib
import os
import re
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from diff2i2p_core.engine.experiment import ALTERNATIVES, TrainConfig, merge
from diff2i2p_core.errors import InputError
from diff2i2p_core.losses.kinds import check_kinds
from diff2i2p_core.models.config import ModelConfig
from diff2i2p_core.models.image_kinds import image_kind
from diff2i2p_core.settings import Section

MAX_BASES = 8
_VARIABLE = re.compile(r"\$\{(\w+)\}")


Schema = TypeVar("Schema", bound=Section)


def load_config(path: Path | str, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read an experiment's YAML with `read_settings`, and check the names in it."""
    config = read_settings(path, overrides, TrainConfig)
    try:
        image_kind(config.model.build().image)
        check_kinds(config.losses)
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error, ModelConfig, 'model.replace.')}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return config


def read_settings(path: Path | str, overrides: Sequence[str], schema: type[Schema]) -> Schema:
    """Read settings from YAML and apply `section.key=value` overrides (values are YAML).

    `base: other.yaml` starts from another experiment, a file in the same folder. If settings exclude each
    other, such as steps and epochs, the later layer wins. `${NAME}` in a value is replaced by that
    environment variable. Relative folders are relative to the current folder.
    """
    layers = _layer(_read(Path(path)), _parse(overrides))
    values = {key: _expand(value, key, path) for key, value in layers.items()}
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error, schema)}") from None


def _read(path: Path, depth: int = 0) -> dict[str, Any]:
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give a configuration file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())}); fix the file") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: holds no settings; see training/configs for examples")
    base = values.pop("base", None)
    if base is None:
        return values
    if depth == MAX_BASES:
        raise InputError(f"{path}: more than {MAX_BASES} files based on one another; look for a cycle")
    return _layer(_read(path.parent / str(base), depth + 1), values)


def _parse(overrides: Sequence[str]) -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key:
            raise InputError(f"'{override}': an override is key=value, such as optimizer.lr=0.001")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"'{override}': the value is not YAML; check quotes and brackets") from None
        for part in reversed(key.split(".")):
            value = {part: value}
        layer = merge(layer, value)
    return layer


def _layer(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`merge`, but a setting in `changes` also removes the base's alternative to it."""
    replaced = {
        name
        for group in ALTERNATIVES
        for name in group
        if name not in changes and any(changes.get(other) is not None for other in group)
    }
    return merge({key: value for key, value in base.items() if key not in replaced}, changes)


def _expand(value: Any, key: str, path: Path | str) -> Any:
    """Replace environment variables in strings. InputError if one is not set."""
    if isinstance(value, dict):
        return {name: _expand(part, f"{key}.{name}", path) for name, part in value.items()}
    if isinstance(value, list):
        return [_expand(part, f"{key}.{i}", path) for i, part in enumerate(value)]
    if not isinstance(value, str):
        return value
    for name in _VARIABLE.findall(value):
        if name not in os.environ:
            raise InputError(
                f"{path}: '{key}' is {value}, but the environment variable {name} is not set; set it to the "
                "folder with your data (docs/training.md), or change the value"
            )
    return _VARIABLE.sub(lambda match: os.environ[match[1]], value)


def _explain(error: ValidationError, root: type[BaseModel], prefix: str = "") -> str:
    """One line for the first error in values of `root`."""
    first = error.errors()[0]
    where = prefix + ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = _nearest(first["loc"], root)
        return f"unknown key '{where}'; " + (
            f"did you mean '{near}'?" if near else "`diff2i2p config dump` shows all keys"
        )
    if first["type"] == "missing":
        return f"'{where}' is missing; add it"
    message = first["msg"].removeprefix("Value error, ")
    if not where:
        return message
    if first["type"] == "model_type":
        return f"'{where}': {first['input']!r} is not a section; give its settings as {{key: value, ...}}"
    return f"'{where}': {message[:1].lower()}{message[1:]}; fix the value"


def _nearest(location: tuple[int | str, ...], root: type[BaseModel]) -> str | None:
    """The key most similar to the unknown one at `location`: in the same section, else anywhere."""
    section: type[BaseModel] | None = root
    for part in location[:-1]:
        if isinstance(part, str) and section is not None:
            section = _section(section.model_fields[part].annotation)
    name = str(location[-1])
    if section is not None and (near := difflib.get_close_matches(name, section.model_fields, n=1)):
        return near[0]
    paths = {path.rpartition(".")[2]: path for path in _paths(root)}
    return next((paths[match] for match in difflib.get_close_matches(name, paths, n=1)), None)


def _paths(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, info in section.model_fields.items():
        yield prefix + name
        inner = _section(info.annotation)
        if inner is not None:
            yield from _paths(inner, f"{prefix}{name}.")


def _section(annotation: Any) -> type[BaseModel] | None:
    """The section in an annotation such as `Section`, `Section | None` or `tuple[Section, ...]`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    return next((section for part in typing.get_args(annotation) if (section := _section(part))), None)
