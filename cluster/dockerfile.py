"""Find the files that a target of a Dockerfile copies from the build context."""

from __future__ import annotations

import dataclasses
import pathlib
import shlex

from cluster import dockerignore, errors


@dataclasses.dataclass(slots=True)
class Stage:
    """One stage of a Dockerfile."""

    name: str
    base: str
    lines: list[str]
    sources: list[str]
    """Paths that it copies from the build context."""
    stages: list[str]
    """Stages that it copies from."""


def inputs(file: pathlib.Path, target: str) -> tuple[list[str], list[pathlib.Path]]:
    """Return the instructions of a target, and the files that they copy from the Dockerfile's folder.

    Raises BuildFailed, naming the missing stage or file.
    """
    rules = dockerignore.load(file.parent)
    preamble, stages = parse(file.read_text())
    by_name = {stage.name: stage for stage in stages}
    if target not in by_name:
        raise errors.BuildFailed(f"{file.name} has no stage {target!r}.")
    lines = list(preamble)
    paths: list[pathlib.Path] = []
    waiting, seen = [target], set()
    while waiting:
        name = waiting.pop()
        if name in seen or name not in by_name:
            continue
        seen.add(name)
        stage = by_name[name]
        lines += stage.lines
        waiting += [stage.base, *stage.stages]
        for source in stage.sources:
            found = [
                seen for start in _places(file.parent, source) for seen in dockerignore.seen(file.parent, start, rules)
            ]
            if not found:
                raise errors.BuildFailed(
                    f"{file.name} copies {source}, which doesn't exist: build it first, with `make native`."
                )
            paths += found
    return lines, paths


def _places(context: pathlib.Path, source: str) -> list[pathlib.Path]:
    """Return the files and folders that a source of COPY names."""
    relative = source.strip("/")
    return [context] if relative in ("", ".") else sorted(context.glob(relative))


def parse(text: str) -> tuple[list[str], list[Stage]]:
    """Parse a Dockerfile into the instructions before the first stage, and the stages."""
    preamble: list[str] = []
    stages: list[Stage] = []
    for line in _instructions(text):
        words = shlex.split(line)
        if words[0].upper() == "FROM":
            words = [word for word in words if not word.startswith("--")]
            name = words[3] if len(words) > 3 else str(len(stages))
            stages.append(Stage(name, words[1], [line], [], []))
        elif not stages:
            preamble.append(line)
        else:
            stage = stages[-1]
            stage.lines.append(line)
            if words[0].upper() in ("COPY", "ADD"):
                origin = [word.removeprefix("--from=") for word in words if word.startswith("--from=")]
                if origin:
                    stage.stages += origin
                else:
                    stage.sources += [word for word in words[1:-1] if not word.startswith("--")]
    return preamble, stages


def _instructions(text: str) -> list[str]:
    """Join lines at trailing backslashes, and drop comments and empty lines."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip()]
