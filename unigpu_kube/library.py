"""The parts of kubernetes_asyncio that are used here: connection settings, credentials, and the HTTP client beneath.

The library's packages begin with the classes of all objects and groups of the Kubernetes API, 850 modules: half a
second and 40 MB for each service and each command, none of which uses one. So the few modules that are used are loaded
into empty packages of the same names. These are taken away again: who imports the library by its own name gets all of
it, with the same modules for the parts that are loaded here.
"""

import importlib
import importlib.machinery
import importlib.util
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

_NAME = "kubernetes_asyncio"
_MODELS = f"{_NAME}.client.models"


class _Models(ModuleType):
    """The classes of the API's objects, loaded when the library asks for the first of them."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(_MODELS), name)


def _packages() -> dict[str, ModuleType]:
    """Return empty packages, by their names, in which the library's modules find each other."""
    found = importlib.util.find_spec(_NAME)
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(f"No module named {_NAME!r}", name=_NAME)
    (root,) = found.submodule_search_locations
    packages: dict[str, ModuleType] = {}
    for name in (_NAME, f"{_NAME}.client", _MODELS):
        folder = root + name.removeprefix(_NAME).replace(".", "/")
        made = (_Models if name == _MODELS else ModuleType)(name)
        made.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        made.__spec__.submodule_search_locations = made.__path__ = [folder]
        packages[name] = made
        if (parent := packages.get(name.rpartition(".")[0])) is not None:
            setattr(parent, name.rpartition(".")[2], made)
    return packages


def _load() -> tuple[Any, Any]:
    """Return the library's `client`, with no more in it than is used here, and its `config`.

    A version of the library whose modules are laid out in another way is loaded whole.
    """
    if _NAME not in sys.modules:
        try:
            return _parts()
        except (ImportError, AttributeError):
            for name in [name for name in sys.modules if name.startswith(f"{_NAME}.")]:
                del sys.modules[name]
    return importlib.import_module(f"{_NAME}.client"), importlib.import_module(f"{_NAME}.config")


def _parts() -> tuple[Any, Any]:
    packages = _packages()
    sys.modules |= packages
    try:
        client: Any = packages[f"{_NAME}.client"]
        for module, kind in (("configuration", "Configuration"), ("exceptions", "ApiException")):
            setattr(client, kind, getattr(importlib.import_module(f"{_NAME}.client.{module}"), kind))
        client.ApiClient = importlib.import_module(f"{_NAME}.client.api_client").ApiClient
        return client, importlib.import_module(f"{_NAME}.config")
    finally:
        for name in packages:
            del sys.modules[name]


if TYPE_CHECKING:
    from kubernetes_asyncio import config
    from kubernetes_asyncio.client import ApiClient, ApiException, Configuration
    from kubernetes_asyncio.config import kube_config
else:
    _client, config = _load()
    ApiClient, ApiException, Configuration = _client.ApiClient, _client.ApiException, _client.Configuration
    kube_config = importlib.import_module(f"{_NAME}.config.kube_config")

__all__ = ["ApiClient", "ApiException", "Configuration", "config", "kube_config"]
