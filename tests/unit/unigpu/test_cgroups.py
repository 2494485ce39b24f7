"""Which pod and container a process belongs to, in every form in which kernels, kubelets and runtimes say it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unigpu import cgroups
from unigpu.cgroups import Place

UID = "0a1b2c3d-1111-2222-3333-444455556666"
SYSTEMD = UID.replace("-", "_")
OTHER = "ffffffff-1111-2222-3333-444455556666"
ID = "e3" * 32
OTHER_ID = "aa" * 32


@pytest.mark.parametrize(
    "text",
    [
        f"0::/kubepods/burstable/pod{UID}/{ID}\n",
        f"0::/kubepods/pod{UID}/{ID}\n",
        f"0::/kubepods.slice/kubepods-pod{SYSTEMD}.slice/cri-containerd-{ID}.scope\n",
        f"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{SYSTEMD}.slice/crio-{ID}.scope\n",
        f"0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{SYSTEMD}.slice/docker-{ID}.scope\n",
        f"0::/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{SYSTEMD}.slice/cri-containerd-{ID}.scope\n",
        f"12:memory:/kubepods/besteffort/pod{UID}/{ID}\n11:cpu,cpuacct:/kubepods/besteffort/pod{UID}/{ID}\n0::/\n",
        f"9:name=systemd:/\n4:memory:/unigpu-test/node-1/kubepods/burstable/pod{UID}/{ID}\n0::/\n",
        f"0::/../../kubepods-burstable-pod{SYSTEMD}.slice/cri-containerd-{ID}.scope\n",
        f"0::/../../../burstable/pod{UID}/{ID}\n",
        f"1:cpu:/system.slice/containerd.service/kubepods-burstable-pod{SYSTEMD}.slice:cri-containerd:{ID}\n",
        f"0::/kubepods/pod{UID}/{ID}/init.scope\n",
    ],
)
def test_a_process_of_a_container(text: str) -> None:
    assert cgroups.place(text) == Place(UID, ID)


def test_a_static_pods_uid_has_no_dashes() -> None:
    uid = "0123456789abcdef" * 2
    assert cgroups.place(f"0::/kubepods/burstable/pod{uid}/{ID}\n") == Place(uid, ID)


def test_a_process_directly_in_the_pods_group() -> None:
    assert cgroups.place(f"0::/kubepods/burstable/pod{UID}\n") == Place(UID)
    assert cgroups.place(f"0::/kubepods/burstable/pod{UID}/payload\n") == Place(UID)


def test_a_group_that_a_container_made_names_no_other_pod() -> None:
    text = f"0::/kubepods/burstable/pod{UID}/{ID}/kubepods/pod{OTHER}/{OTHER_ID}\n"
    assert cgroups.place(text) == Place(UID, ID)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0::/\n",
        "0::/init.scope\n",
        "0::/user.slice/user-1000.slice/session-3.scope\n",
        f"0::/system.slice/docker-{ID}.scope\n",
        "0::/machine.slice/libpod-podman.scope\n",
        f"0::/podfarm/{ID}\n",
        "4:memory:/process_api/16573b9871904a465b5bc8dfad13d173\n",
    ],
)
def test_a_process_outside_every_pod(text: str) -> None:
    assert cgroups.place(text) is None


@given(st.text())
def test_any_text(text: str) -> None:
    cgroups.place(text)
