"""Every error that unigpu raises on purpose.

    UnigpuError
    ├── Denied            the request is understood and refused: the text says what to change
    ├── Malformed         the input isn't of the form that it must have: the text says where and how
    ├── Unplaceable       no GPU of the node fits: the text says what is missing
    └── Unavailable       a peer (API server, kubelet, driver) doesn't answer now: try again

"Denied" is the pod author's to act on, "Malformed" the sender's, "Unavailable" nobody's: it passes. Anything else that
escapes is our own fault and is logged as such.
"""


class UnigpuError(Exception):
    """Root of the tree; its text is a whole sentence for people."""


class Denied(UnigpuError):
    """Understood and refused; the text names the field, the value and what would be accepted."""


class Malformed(UnigpuError):
    """Not of the form that it must have; the text says where and what was expected."""


class Unplaceable(UnigpuError):
    """No GPU, or no set of GPUs, of a node can take the request; the text says what is missing."""


class Unavailable(UnigpuError):
    """A peer doesn't answer at the moment; the caller tries again."""
