"""Every error that the local cluster raises on purpose.

ClusterError
├── PreflightError  this machine can't run a cluster as it is: the text says what to change
├── Mismatch        a cluster of that name runs with other settings: the text says which
├── StepFailed      a step went wrong or took too long: the text names the log to read
└── BuildFailed     a compiler or an image builder failed: the text holds the end of its output
"""


class ClusterError(Exception):
    """Root of the tree; its text is a whole sentence for people."""


class PreflightError(ClusterError):
    """This machine can't run a cluster; raised before anything is changed."""


class Mismatch(ClusterError):
    """A cluster of that name is up with other settings than those asked for."""


class StepFailed(ClusterError):
    """A part of the cluster did not come up, or did not go down, in time."""


class BuildFailed(ClusterError):
    """A build ended with an error."""
