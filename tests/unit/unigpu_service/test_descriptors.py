"""A service may keep many files open."""

import subprocess
import sys

PROGRAM = """
import resource
from unigpu_service import descriptors
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
print(descriptors.allow_most() == hard == resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


def test_as_many_as_the_system_allows() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
