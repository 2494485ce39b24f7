"""A store of unpacked images that new nodes start with, so that each image is unpacked once instead of at every `up`.

The store is a root folder of containerd, filled by a temporary containerd. Nodes get hard links to its files, because
containerd never changes an existing layer. It does change its two databases, so those are copied.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import pathlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator

from cluster import commands, images, linux, node_config, progress, settings, units

FOLDER = images.FOLDER / "unpacked"
ROOT = FOLDER / "containerd"
RECORD = FOLDER / "images.json"
"""Names of the images in the store, each with its archive."""


def fill(wanted: Iterable[images.Image]) -> None:
    """Add missing images to the store, replacing older ones of the same names.

    Raises StepFailed with the runtime's message.
    """
    with _locked():
        known = recorded()
        missing = [image for image in wanted if known.get(image.name) != image.file.name]
        if not missing:
            return
        with progress.step(f"unpacking {', '.join(image.name for image in missing)}"), _containerd() as socket:
            # Even if this is interrupted, the record never lists an image that isn't there.
            families = {image.name.partition(":")[0] for image in missing}
            stale = [name for name in known if name.partition(":")[0] in families]
            units.write_whole(RECORD, json.dumps({name: known[name] for name in known if name not in stale}))
            for image in missing:
                images.bring_in(image, socket)
                known[image.name] = image.file.name
            gone = [name for name in stale if name not in {image.name for image in missing}]
            for name in gone:
                images.drop(name, socket)
                del known[name]
        units.write_whole(RECORD, json.dumps(known))


def recorded() -> dict[str, str]:
    """Return the images in the store, each with its archive."""
    with contextlib.suppress(FileNotFoundError):
        found: dict[str, str] = json.loads(RECORD.read_text())
        return found
    return {}


def copy_to(node_root: pathlib.Path, node_record: pathlib.Path) -> None:
    """Copy the store's images to a node that has never run; do nothing for one that has."""
    if node_record.exists() or not ROOT.exists():
        return
    with _locked():
        shutil.rmtree(node_root, ignore_errors=True)
        # Across file systems, hard links are impossible and the files are copied.
        for how in (["--link"], []):
            if commands.run(["cp", "--archive", *how, str(ROOT), str(node_root)]).returncode == 0:
                break
            shutil.rmtree(node_root, ignore_errors=True)
        for database in ROOT.glob("*/*.db"):
            own = node_root / database.relative_to(ROOT)
            own.unlink()
            shutil.copy2(database, own)
        shutil.copy2(RECORD, node_record)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _containerd() -> Iterator[str]:
    """Run a containerd on the store until the context ends; yield its socket."""
    # A socket's path has at most 107 characters, which a path below the checkout might exceed.
    with tempfile.TemporaryDirectory(prefix="unigpu-store-") as scratch:
        folder = pathlib.Path(scratch)
        socket, config, log = folder / "containerd.sock", folder / "config.toml", FOLDER / "containerd.log"
        config.write_text(node_config.containerd_store(ROOT, folder / "state", socket))
        with log.open("w") as output:
            process = subprocess.Popen(
                # Unpacking needs mounts, which stay in this namespace.
                ["unshare", "--mount", "--propagation=private", str(settings.BIN / "containerd"), f"--config={config}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=lambda: linux.die_with_parent(signal.SIGKILL),
            )
        try:
            progress.wait_for(
                lambda: images.answers(str(socket)), 30.0, lambda: f"containerd doesn't answer; its log is {log}."
            )
            yield str(socket)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
