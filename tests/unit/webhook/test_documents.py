"""docs/reference/dialects.md names what there is."""

from pathlib import Path

import pytest

from unigpu import names
from webhook.translation import dialects, isolation, preferences
from webhook.translation.dialect import Dialect

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "dialects.md").read_text()


@pytest.mark.parametrize("dialect", dialects.ALL, ids=lambda dialect: dialect.name)
def test_every_field_is_in_the_reference(dialect: Dialect) -> None:
    fields = (*dialect.resources, *dialect.annotations)
    missing = [field for field in fields if field.rpartition("/")[2] not in PAGE]
    assert not missing


@pytest.mark.parametrize(
    "name",
    [
        *isolation.SWITCHES,
        preferences.NODE_POLICY,
        preferences.GPU_POLICY,
        names.ANNOTATION_DEFAULT_MEMORY,
        names.ANNOTATION_DEFAULT_CORES,
        names.ANNOTATION_MAX_GPUS,
        names.ANNOTATION_MAX_MEMORY,
        names.ANNOTATION_MAX_CORES,
        names.ANNOTATION_ISOLATION,
    ],
)
def test_every_switch_and_annotation_is_in_the_reference(name: str) -> None:
    assert f"`{name}`" in PAGE
