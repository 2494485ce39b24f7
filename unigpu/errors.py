"""Every error that unigpu raises on purpose.

    UnigpuError
    ├── Denied            the request is understood and refused; the text says what to change
    ├── Malformed         the input doesn't have the required form; the text says where
    ├── Unplaceable       no GPU of the node fits; the text says why
    └── Unavailable       a peer (API server, kubelet, driver) doesn't answer; try again

The pod's author acts on Denied, the sender of the input on Malformed. Unavailable needs no action: the caller retries.
Any other exception is a defect of unigpu, and is logged as one.
"""


class UnigpuError(Exception):
    """Base of all errors; the text is a complete sentence for people."""


class Denied(UnigpuError):
    """A request is understood and refused; the text names the field, the value and what would be accepted."""


class Malformed(UnigpuError):
    """An input doesn't have the required form; the text says where, and what was expected."""


class Unplaceable(UnigpuError):
    """No GPU, or no set of GPUs, of a node can take the request; the text says why."""


class Unavailable(UnigpuError):
    """A peer doesn't answer; the caller retries."""
