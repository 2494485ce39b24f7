"""The order of libvgpu's folders holds, and the check finds what breaks it."""

import pytest

from libvgpu import include_order


def test_the_sources_keep_the_order() -> None:
    assert include_order.main() == 0


@pytest.mark.parametrize(
    ("path", "included", "refusal"),
    [
        ("libvgpu/memory/quota.c", "libvgpu/shared/account.h", None),
        ("libvgpu/memory/quota.c", "libvgpu/memory/quota.h", None),
        ("libvgpu/driver/driver.h", "abi/cuda.h", None),
        ("libvgpu/driver/devices.h", "libvgpu/memory/quota.h", "accepted: base, driver, shared"),
        ("libvgpu/compute/samples.c", "libvgpu/memory/pages.h", "accepted: base, compute, driver, shared"),
        ("libvgpu/base/log.c", "libvgpu/shared/policy.h", "accepted: base"),
        ("libvgpu/base/log.c", "log.h", 'accepted: "libvgpu/<folder>/<header>"'),
        ("libvgpu/attic/log.c", "libvgpu/base/log.h", "folder attic has no place in the order"),
        ("libvgpu/base/log.c", "libvgpu/attic/log.h", "folder attic has no place in the order"),
    ],
)
def test_an_include(path: str, included: str, refusal: str | None) -> None:
    errors = include_order.find_errors({path: f'#include <stdio.h>\n#include "{included}"\n'})
    if refusal is None:
        assert errors == []
    else:
        assert len(errors) == 1
        assert errors[0].startswith(f'{path} includes "{included}": ')
        assert refusal in errors[0]


def test_modules_that_include_each_other() -> None:
    sources = {
        "libvgpu/compute/launch.c": '#include "libvgpu/compute/launch.h"\n#include "libvgpu/compute/samples.h"\n',
        "libvgpu/compute/launch.h": "",
        "libvgpu/compute/samples.c": '#include "libvgpu/compute/poller.h"\n',
        "libvgpu/compute/poller.c": '#  include "libvgpu/compute/launch.h"\n',
    }
    (error,) = include_order.find_errors(sources)
    assert error == (
        "modules include each other in a circle: libvgpu/compute/launch → libvgpu/compute/samples"
        " → libvgpu/compute/poller → libvgpu/compute/launch"
    )
    del sources["libvgpu/compute/poller.c"]
    assert include_order.find_errors(sources) == []
