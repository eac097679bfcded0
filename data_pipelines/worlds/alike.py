"""Makes clips whose captions are alike: the choices of words and colours follow from a number."""

import collections
from collections.abc import Callable, Sequence
from typing import Any


def make_picker(first: int) -> Callable[[Any, Sequence[Any]], Any]:
    """A `base.pick` that takes the options in turn, from number `first` on, whatever the generator.

    A loop that picks until it has something new ends, as each call of the same options takes the
    next one.
    """
    calls: collections.Counter[str] = collections.Counter()

    def pick(_: Any, options: Sequence[Any]) -> Any:
        calls[repr(options)] += 1
        return options[(first + calls[repr(options)] - 1) % len(options)]

    return pick
