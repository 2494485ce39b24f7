"""The version of every part, generated from pyproject.toml by `make version`."""

from typing import Final

VERSION: Final = "0.1.0"
