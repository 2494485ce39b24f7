"""Errors of the local cluster.

ClusterError
├── PreflightError  this machine can't run a cluster; the text says what to change
├── Mismatch        a cluster of that name runs with different settings; the text names them
├── StepFailed      a step failed or took too long; the text names the log to read
└── BuildFailed     a compiler or an image builder failed; the text ends with its last output
"""


class ClusterError(Exception):
    """Root of the tree; the text is a complete sentence for people."""


class PreflightError(ClusterError):
    """This machine can't run a cluster; raised before anything is changed."""


class Mismatch(ClusterError):
    """A cluster of that name is running with other settings than the requested ones."""


class StepFailed(ClusterError):
    """A part of the cluster did not start or stop in time."""


class BuildFailed(ClusterError):
    """A build failed."""
