"""How a request to the API server can fail.

    unigpu.errors.UnigpuError
    ├── Rejected                  the API server refuses the request for good; the text is its own
    │   ├── Missing    404        there is no such object, or namespace
    │   ├── Conflict   409        the object has changed, exists already, or is another one than was meant
    │   └── Expired    410        the version to go on from is too old: list again
    └── unigpu.errors.Unavailable no answer says how the request ended: try again
        ├── ServerError 5xx, 429  the API server answers, and can't serve the request now
        └── Garbled               what came isn't of the form that an answer must have

A request that ended with Unavailable may have been carried out. So may one that ended with a ServerError of 500 or 504.
"""

from unigpu import errors


class Rejected(errors.UnigpuError):
    """The API server refuses the request for good."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"API server answers {status}: {message}")
        self.status = status
        self.message = message
        """The API server's own words."""


class Missing(Rejected):
    """There is no such object."""


class Conflict(Rejected):
    """The object has changed since it was read, exists already, or is another one than was meant."""


class Expired(Rejected):
    """The API server no longer knows the version from which a list or watch was to go on."""


class ServerError(errors.Unavailable):
    """The API server can't serve the request now."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"API server answers {status}: {message}")
        self.status = status


class Garbled(errors.Unavailable):
    """The answer isn't of the form that it must have."""


_REJECTED: dict[int, type[Rejected]] = {404: Missing, 409: Conflict, 410: Expired}


def of_status(status: int, message: str) -> Rejected | ServerError:
    """Return the error for an answer's HTTP status, 300 or more."""
    if status >= 500 or status == 429:
        return ServerError(status, message)
    return _REJECTED.get(status, Rejected)(status, message)
