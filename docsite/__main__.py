"""Build the site: `python -m docsite [--output DIR]`, with MkDocs from the environment that `make docs` makes."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import yaml

from docsite import pages

SETTINGS = Path(__file__).parent / "mkdocs.yml"
BUILD = pages.ROOT / "build"


def main() -> int:
    """Build; return the exit status, which is not 0 if a link leads nowhere."""
    parser = argparse.ArgumentParser(prog="python -m docsite", description="Build the documentation as a site.")
    parser.add_argument("--output", type=Path, default=BUILD / "site", help="folder (default: build/site)")
    parser.add_argument("--python", type=Path, default=Path(sys.executable), help="a Python that has MkDocs")
    given = parser.parse_args()
    source = BUILD / "site-pages"
    pages.write(source)
    settings = BUILD / "mkdocs.yml"
    added = {"docs_dir": str(source), "site_dir": str(given.output.absolute()), "nav": pages.navigation()}
    settings.write_text(
        SETTINGS.read_text(encoding="utf-8") + "\n" + yaml.safe_dump(added, sort_keys=False, allow_unicode=True),
        encoding="utf-8",
    )
    command = [str(given.python), "-m", "mkdocs", "build", "--strict", "--clean", f"--config-file={settings}"]
    done = subprocess.run(command, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    if done.returncode == 0:
        print(f"The site is in {given.output}: open {given.output / 'index.html'} in a browser.")
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main())
