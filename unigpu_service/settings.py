'''Settings of a service: a frozen dataclass whose field docstrings become `--help`.

    @dataclass(frozen=True, slots=True)
    class Settings(Logging):
        """What the exporter needs to know at its start."""

        port: int = option(9400, minimum=0, maximum=65535)
        """TCP port of /metrics. 0: any free one."""

A field's name is its flag (`--port`), its annotation its type, its value the default. Types: int, float, bool, str,
Path and PurePosixPath, each of them with `| None`; enums and Literal, as choices; `tuple[T, ...]` and `frozenset[T]`,
whose flag may be repeated; and another settings dataclass, whose fields are flags of the same command. A bool that is
false by default is a flag that makes it true; one that is true by default has a flag `--no-…`.

`problems`, where the class has it, yields a sentence for each combination of values that can't work.
'''

import argparse
import ast
import dataclasses
import enum
import inspect
import itertools
import math
import os
import re
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal, TypeVar, cast

T = TypeVar("T")
S = TypeVar("S")

_OPTION = "unigpu"
PORT_MAX = 65535
"""Highest TCP port; 0 is any free one."""


@dataclass(frozen=True, slots=True)
class Option:
    """What a field's annotation doesn't say."""

    flag: str = ""
    """`--name`; empty: from the field's name."""
    env: str = ""
    """Environment variable with the default."""
    minimum: float | None = None
    above: float | None = None
    """Like `minimum`, and the bound itself isn't accepted."""
    maximum: float | None = None
    metavar: str | None = None
    absolute: bool = False
    """A path that must be absolute."""
    required: bool = False
    """There must be a value, by flag or environment."""
    hidden: bool = False
    """Not a flag: the environment alone sets it."""
    choices: Sequence[Any] | None = None
    """Fewer values than the type has."""


def option(
    default: T,
    *,
    flag: str = "",
    env: str = "",
    minimum: float | None = None,
    above: float | None = None,
    maximum: float | None = None,
    metavar: str | None = None,
    absolute: bool = False,
    required: bool = False,
    hidden: bool = False,
    choices: Sequence[T] | None = None,
) -> T:
    """Return a dataclass field with that default and the rest of `Option`."""
    more = Option(flag, env, minimum, above, maximum, metavar, absolute, required, hidden, choices)
    return field(default=default, metadata={_OPTION: more})


@dataclass(frozen=True, slots=True)
class Logging:
    """Settings of log lines, the same for every service."""

    log_json: bool = False
    """Write log lines as JSON instead of plain text."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe level that is logged."""


def parse(
    cls: type[S],
    arguments: Sequence[str],
    *,
    prog: str,
    description: str = "",
    environment: Mapping[str, str] = os.environ,
) -> S:
    """Return the settings that the command line and the environment give.

    Ends the process with status 2 and a sentence where they can't be understood or don't fit together, as argparse
    does.
    """
    parser = argparse.ArgumentParser(
        prog=prog,
        description=description or " ".join((inspect.getdoc(cls) or "").split()),
        formatter_class=argparse.HelpFormatter,
        allow_abbrev=False,
    )
    _add(parser, cls, environment)
    given = vars(parser.parse_args(arguments))
    chosen = _build(cls, given, environment)
    for problem in _problems(chosen):
        parser.error(problem)
    return chosen


def docs(cls: type) -> dict[str, str]:
    """Return the docstring of each field, the class's own and those of its bases, each on one line."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            found |= _docs(base)
    return found


def _docs(cls: type) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    found = {}
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    for statement, after in itertools.pairwise(body):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            found[statement.target.id] = " ".join(after.value.value.split())
    return found


def _problems(chosen: object) -> Iterator[str]:
    check = getattr(chosen, "problems", None)
    if check is not None:
        yield from check()
    for one in dataclasses.fields(cast(Any, chosen)):
        value = getattr(chosen, one.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield from _problems(value)


def _options(cls: type) -> Iterator[tuple[dataclasses.Field[Any], Any, Option]]:
    hints = typing.get_type_hints(cls)
    for one in dataclasses.fields(cls):
        yield one, hints[one.name], one.metadata.get(_OPTION, Option())


def _default(one: dataclasses.Field[Any]) -> Any:
    if one.default is not dataclasses.MISSING:
        return one.default
    return one.default_factory() if one.default_factory is not dataclasses.MISSING else None


def _add(parser: argparse.ArgumentParser, cls: type, environment: Mapping[str, str]) -> None:
    help_of = docs(cls)
    for one, hint, option_ in _options(cls):
        if option_.hidden:
            continue
        if dataclasses.is_dataclass(hint):
            _add(parser, cast(type, hint), environment)
            continue
        _add_one(parser, one, hint, option_, help_of.get(one.name, ""), environment)


def _add_one(
    parser: argparse.ArgumentParser,
    one: dataclasses.Field[Any],
    hint: Any,
    option_: Option,
    text: str,
    environment: Mapping[str, str],
) -> None:
    default = _default(one)
    flag = option_.flag or f"--{one.name.replace('_', '-')}"
    text = re.sub(r"``?([^`]+)``?", r"\1", text)
    if hint is bool:
        if default and not option_.flag:
            flag = f"--no-{one.name.replace('_', '-')}"
        action = "store_false" if default else "store_true"
        parser.add_argument(flag, dest=one.name, action=action, help=_escaped(text))
        return
    inner, repeated = _inner(hint)
    choices = option_.choices or _choices(inner)
    convert = _converter(inner, option_, choices)
    shown = _shown(default)
    notes = [f"default: {shown}"] if shown and not option_.required else []
    notes += [f"environment: {option_.env}"] * bool(option_.env)
    notes += ["may be repeated"] * repeated
    if choices:
        notes.insert(0, "one of " + ", ".join(str(choice) for choice in choices))
    text = f"{text} ({'; '.join(notes)})" if notes else text
    from_environment = environment.get(option_.env) if option_.env else None
    parser.add_argument(
        flag,
        dest=one.name,
        type=convert,
        action="append" if repeated else "store",
        default=from_environment or (None if repeated else default),
        required=option_.required and not from_environment,
        metavar=option_.metavar or _metavar(inner),
        help=_escaped(text),
    )


def _build(cls: type[S], given: Mapping[str, Any], environment: Mapping[str, str]) -> S:
    values: dict[str, Any] = {}
    for one, hint, option_ in _options(cls):
        if option_.hidden:
            values[one.name] = environment.get(option_.env) or _default(one)
        elif dataclasses.is_dataclass(hint):
            values[one.name] = _build(cast(type, hint), given, environment)
        else:
            value = given[one.name]
            _, repeated = _inner(hint)
            if repeated:
                value = _default(one) if not value else typing.get_origin(hint)(value)
            values[one.name] = value
    return cls(**values)


def _inner(hint: Any) -> tuple[Any, bool]:
    """The type of one value, and whether there may be several."""
    origin = typing.get_origin(hint)
    if origin in (tuple, frozenset):
        return typing.get_args(hint)[0], True
    if origin in (types.UnionType, typing.Union):
        (inner,) = (part for part in typing.get_args(hint) if part is not type(None))
        return inner, False
    return hint, False


def _choices(kind: Any) -> tuple[Any, ...]:
    if typing.get_origin(kind) is Literal:
        return typing.get_args(kind)
    return tuple(kind) if isinstance(kind, type) and issubclass(kind, enum.Enum) else ()


def _converter(kind: Any, option_: Option, choices: Sequence[Any]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        if choices:
            for choice in choices:
                if str(getattr(choice, "value", choice)) == text:
                    return choice
            raise argparse.ArgumentTypeError(f"{text!r}: accepted: {', '.join(str(choice) for choice in choices)}")
        if kind in (int, float):
            return _number(kind, text, option_)
        if isinstance(kind, type) and issubclass(kind, PurePosixPath | Path):
            path = kind(text)
            if option_.absolute and not path.is_absolute():
                raise argparse.ArgumentTypeError(f"{text!r} is a relative path; accepted: an absolute one")
            return path
        if kind is str:
            if option_.required and not text:
                raise argparse.ArgumentTypeError("it is empty; accepted: a text")
            return text
        raise TypeError(f"settings can't have fields of type {kind}")

    return convert


def _number(kind: type, text: str, option_: Option) -> float:
    try:
        number = kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a {'whole ' if kind is int else ''}number{_accepted(option_)}"
        ) from None
    assert isinstance(number, int | float)
    if (
        not math.isfinite(number)
        or (option_.minimum is not None and number < option_.minimum)
        or (option_.above is not None and number <= option_.above)
        or (option_.maximum is not None and number > option_.maximum)
    ):
        raise argparse.ArgumentTypeError(f"{text} is out of range{_accepted(option_)}")
    return number


def _accepted(option_: Option) -> str:
    if option_.above is not None:
        low = f"above {option_.above:g}"
    elif option_.minimum is not None and option_.maximum is not None:
        return f"; accepted: {option_.minimum:g} to {option_.maximum:g}"
    else:
        low = f"{option_.minimum:g} or more" if option_.minimum is not None else ""
    high = f"at most {option_.maximum:g}" if option_.maximum is not None else ""
    bounds = ", ".join(filter(None, (low, high)))
    return f"; accepted: {bounds}" if bounds else ""


def _shown(default: Any) -> str:
    if isinstance(default, tuple | frozenset):
        return ", ".join(sorted(map(str, default)))
    return "" if default is None else str(default)


def _metavar(kind: Any) -> str:
    if kind in (int, float):
        return "NUMBER"
    if isinstance(kind, type) and issubclass(kind, PurePosixPath | Path):
        return "PATH"
    return "NAME"


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
