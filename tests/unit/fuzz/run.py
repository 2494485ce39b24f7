"""Feed a parser with generated inputs, and find the first that it answers neither with a value nor with its error."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.unit.fuzz import mutants
from tests.unit.fuzz.parsers import Parser


@dataclass(slots=True)
class Count:
    """What inputs led to."""

    values: int = 0
    malformed: int = 0

    @property
    def inputs(self) -> int:
        """All of them."""
        return self.values + self.malformed


class Fault(AssertionError):
    """A parser failed in another way; the text has the input."""


def judge(parser: Parser, entry: object, count: Count) -> None:
    """Give the parser one input. Raises Fault."""
    try:
        parser.call(entry)
    except parser.malformed as error:
        count.malformed += 1
        try:
            str(error).encode()  # it can be logged, and written into an event
        except UnicodeEncodeError:
            raise Fault(f"the error can't be written for input {entry!r:.2000}") from error
    except Exception as error:
        raise Fault(f"{error!r} for input {entry!r:.2000}") from error
    else:
        count.values += 1


def inputs(parser: Parser, seed: int) -> Iterator[object]:
    """Yield inputs without end, the valid one first."""
    if isinstance(parser.sample, bytes):
        yield parser.sample
        yield from _reviews(parser.sample, seed) if parser.sample[:1] == b"{" else mutants.contents(parser.sample, seed)
        return
    yield json.loads(parser.sample) if parser.document else parser.sample
    yield from (
        mutants.documents(json.loads(parser.sample), seed) if parser.document else mutants.texts(parser.sample, seed)
    )


def _reviews(sample: bytes, seed: int) -> Iterator[bytes]:
    for text, noise in zip(mutants.texts(sample.decode(), seed), mutants.contents(sample, seed), strict=True):
        yield text.encode(errors="surrogatepass")
        yield noise


def run(parser: Parser, number: int, seed: int, tell: Callable[[Count], None] = lambda _: None) -> Count:
    """Feed so many inputs. Raises Fault for the first that shows a fault of the parser."""
    count = Count()
    for entry in itertools.islice(inputs(parser, seed), number):
        judge(parser, entry, count)
        if count.inputs % 100_000 == 0:
            tell(count)
    return count
