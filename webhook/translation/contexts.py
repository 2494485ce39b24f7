"""What a CUDA context takes of a GPU's memory: a share smaller than that can't hold a program."""

from unigpu.units import MiB

OF_MODEL = {
    "T4": MiB(103),
    "P40": MiB(145),
    "V100": MiB(307),
    "A10": MiB(247),
    "A40": MiB(259),
    "A100": MiB(409),
    "H100": MiB(517),
    "L40S": MiB(417),
    "4090": MiB(362),
    "6000": MiB(500),
}
"""A word of NVML's name of the model → MiB of an empty context."""
SMALLEST = min(OF_MODEL.values())
"""Of the known models; also what counts for a model that isn't known, so that no warning is wrong."""


def of_model(model: str) -> MiB:
    """Return the MiB that an empty context takes on a GPU of the model, as NVML names it."""
    words = model.replace("-", " ").split()
    return next((size for word, size in OF_MODEL.items() if word in words), SMALLEST)
