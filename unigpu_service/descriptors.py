"""How many files a service may keep open: as many as the system allows, rather than the few that a shell gets."""

import resource


def allow_most() -> int:
    """Raise this process's limit of open files as far as it may; return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
