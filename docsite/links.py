"""Rewrite a page's links for the site: from the repository's paths to the site's."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s]+)\)")


def rewrite(markdown: str, origin: str, uri: str, places: Mapping[str, str]) -> str:
    """Return a page with its links as the site needs them. Code blocks stay as they are.

    `origin` is the page's path in the repository, `uri` the one in the site; `places` has the path in the site of each
    file that is in it, by its path in the repository. A link to anything else, such as source code, becomes its text.
    """

    def link(found: re.Match[str]) -> str:
        picture, text, target = found.groups()
        if "://" in target or target.startswith(("#", "mailto:")):
            return found[0]
        path, _, anchor = target.partition("#")
        meant = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path))
        at = places.get(meant) or places.get(posixpath.join(meant, "README.md"))
        if at is None:
            return text
        relative = posixpath.relpath(at, posixpath.dirname(uri) or ".")
        return f"{picture}[{text}]({relative}{'#' + anchor if anchor else ''})"

    lines, inside = [], False
    for line in markdown.split("\n"):
        if line.lstrip().startswith(("```", "~~~")):
            inside = not inside
        lines.append(line if inside else _LINK.sub(link, line))
    return "\n".join(lines)
