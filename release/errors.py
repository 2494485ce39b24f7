"""Errors that end a build, as sentences."""


class ReleaseError(Exception):
    """Raised when a part of a release can't be built; the text says what to change."""
