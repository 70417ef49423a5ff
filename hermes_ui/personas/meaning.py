"""What the data of a YAML text means, by the field it is for.

Text stays text; numbers, true, false and null are read only where a field wants them.
"""

from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from hermes_ui.personas.yaml_io import Plain, json_value


def meant(value: Any, wanted: Any) -> Any:
    """`value` for a field of type `wanted`; what does not fit is left for validation to refuse."""
    wanted = _bare(wanted)
    if wanted is Any:
        return json_value(value)
    if get_origin(wanted) in {Union, UnionType}:
        return _one_of(value, get_args(wanted))
    if isinstance(value, list):
        inner = get_args(wanted)[0] if get_origin(wanted) is tuple else Any
        return [meant(each, inner) for each in value]
    if isinstance(value, dict):
        return _fields(value, wanted)
    return str(value)


def fields_at(model: Any, path: Sequence[int | str]) -> list[str]:
    """The names of the fields that the model at `path` inside `model` has."""
    at = model
    for step in path:
        if isinstance(step, int) and get_origin(at) is tuple:
            at = get_args(at)[0]
        elif _is_model(at) and step in at.model_fields:
            at = at.model_fields[step].annotation
        at = _first(at)
    return list(at.model_fields) if _is_model(at) else []


def _fields(value: dict[str, Any], wanted: Any) -> dict[str, Any]:
    if _is_model(wanted):
        types = {name: info.annotation for name, info in wanted.model_fields.items()}
        return {
            key: meant(each, types.get(key, Any))
            for key, each in value.items()
            if key not in types or not _is_left_open(each, types[key])
        }
    inner = get_args(wanted)[1] if get_origin(wanted) is dict else Any
    return {key: meant(each, inner) for key, each in value.items()}


def _is_left_open(value: Any, wanted: Any) -> bool:
    """True for `field:` without a value where no text is meant: the default stands."""
    holds_text = _bare(wanted) is str or get_origin(_bare(wanted)) is Literal
    return isinstance(value, Plain) and not value and not holds_text


def _one_of(value: Any, choices: tuple[Any, ...]) -> Any:
    """A union: null where None is among the choices, else the kind that was written."""
    if isinstance(value, Plain) and NoneType in choices and json_value(value) is None:
        return None
    kinds = [choice for choice in choices if choice is not NoneType]
    return meant(value, kinds[0]) if len(kinds) == 1 else json_value(value)


def _first(wanted: Any) -> Any:
    """Of a union the first kind that is not None."""
    bare = _bare(wanted)
    if get_origin(bare) not in {Union, UnionType}:
        return bare
    return next(_bare(choice) for choice in get_args(bare) if choice is not NoneType)


def _bare(wanted: Any) -> Any:
    """`wanted` without its constraints."""
    return _bare(get_args(wanted)[0]) if get_origin(wanted) is Annotated else wanted


def _is_model(wanted: Any) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, BaseModel)
