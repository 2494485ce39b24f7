"""A page says what there is, although the one before couldn't be made."""

import shutil
from typing import Any

import pytest

from exporter.collector import MetricsPage
from exporter.folders import Folders
from exporter.heads import Heads


class Silent:
    """A file of a node agent that hasn't written it."""

    def read(self) -> None:
        return None


def test_a_container_that_went_before_a_page_failed_is_not_on_the_next(
    tree: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent: Any = Silent()
    folders = Folders(tree.root)
    page = MetricsPage(folders, silent, silent, "node-1")
    try:
        for pod in ("stays", "goes"):
            tree.add(tree.grant(pod))
        assert b'pod="goes"' in b"".join(page.collect())
        shutil.rmtree(tree.folder(tree.grant("goes")))

        def fails(*_: object) -> bool:
            raise OSError("no memory for copies")

        with monkeypatch.context() as patch:
            patch.setattr(Heads, "refresh", fails)
            with pytest.raises(OSError, match="copies"):
                page.collect()
        text = b"".join(page.collect())
        assert b'pod="stays"' in text
        assert b'pod="goes"' not in text
    finally:
        page.close()
        folders.close()
