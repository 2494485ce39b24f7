"""The site's pages: links that lead to the same page as on GitHub, and a navigation that leads to every page."""

from collections.abc import Iterator
from typing import Any

import pytest

from docsite import links, pages

PLACES = {
    "README.md": "index.md",
    "docs/install.md": "install.md",
    "docs/reference/cli.md": "reference/cli.md",
    "docs/runbooks/README.md": "runbooks/README.md",
    "docs/pictures/way.svg": "pictures/way.svg",
    "libvgpu/README.md": "libvgpu/README.md",
}


@pytest.mark.parametrize(
    ("origin", "link", "expected"),
    [
        ("README.md", "[i](docs/install.md#chart)", "[i](install.md#chart)"),
        ("README.md", "![w](docs/pictures/way.svg)", "![w](pictures/way.svg)"),
        ("docs/reference/cli.md", "[r](../../README.md)", "[r](../index.md)"),
        ("docs/install.md", "[l](../libvgpu/)", "[l](libvgpu/README.md)"),
        ("docs/install.md", "[a](runbooks/)", "[a](runbooks/README.md)"),
        ("libvgpu/README.md", "[c](../docs/reference/cli.md)", "[c](../reference/cli.md)"),
        ("docs/install.md", "[code](../unigpu/names.py) and [x](#chart)", "code and [x](#chart)"),
        ("docs/install.md", "[far](https://example.org/a)", "[far](https://example.org/a)"),
    ],
)
def test_a_link_leads_to_the_same_place(origin: str, link: str, expected: str) -> None:
    assert links.rewrite(link, origin, PLACES[origin], PLACES) == expected


def test_code_blocks_stay_as_they_are() -> None:
    text = "```\n[i](docs/install.md)\n```\n[i](docs/install.md)"
    assert links.rewrite(text, "README.md", "index.md", PLACES) == "```\n[i](docs/install.md)\n```\n[i](install.md)"


def leaves(entry: Any) -> Iterator[str]:
    """Yield the pages below an entry of the navigation."""
    if isinstance(entry, str):
        yield entry
    elif isinstance(entry, list):
        for one in entry:
            yield from leaves(one)
    else:
        for value in entry.values():
            yield from leaves(value)


def test_the_navigation_leads_to_every_page_once() -> None:
    named = list(leaves(pages.navigation()))
    assert sorted(named) == sorted({uri for uri in pages.places().values() if uri.endswith(".md")})
