"""Remember what a function returned, where its arguments are short."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

LONGEST = 512
"""Characters of a text that is remembered."""
_P = ParamSpec("_P")
_R = TypeVar("_R")


def remembered(most: int, longest: int = LONGEST) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Return a decorator: the last `most` calls are remembered, unless a text among the arguments is longer.

    As `functools.lru_cache`, for text that others write: 4,096 texts of the 3 MB that a review may have are 12 GB.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        cached = functools.lru_cache(most)(function)

        @functools.wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            for one in args:
                if isinstance(one, str) and len(one) > longest:
                    return function(*args, **kwargs)
            return cached(*args, **kwargs)  # type: ignore[arg-type]

        return call

    return decorate
