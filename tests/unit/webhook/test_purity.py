"""The translation needs neither an HTTP server nor a Kubernetes client."""

import subprocess
import sys

LIBRARIES = ("aiohttp", "kubernetes_asyncio", "prometheus_client", "cryptography", "uvloop")


def test_translation_imports_the_core_alone() -> None:
    program = (
        f"import sys, webhook.translation.decision; print(*[name for name in {LIBRARIES!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
