"""The HTTP session beneath a client: the library's, without what that would do again for each request.

The library lets aiohttp look for a proxy in the environment, and for a password in ~/.netrc, both in a thread and for
each request. The proxy is looked up once here. ~/.netrc isn't read: kubectl doesn't either, and a password from there
would be sent in place of the kubeconfig's credentials.
"""

import urllib.parse
import urllib.request

import aiohttp

from unigpu_kube import library

_READ_BUFFER = 2 << 20
"""Bytes, as in the library: pages and events are large."""


def prepare(api: library.ApiClient) -> None:
    """Give the library's client a session that looks nothing up; call it before the first request."""
    rest = api.rest_client
    proxy = proxy_of(str(api.configuration.host))
    if proxy and not rest.proxy:
        rest.proxy = proxy
    former: aiohttp.ClientSession = rest.pool_manager
    rest.pool_manager = aiohttp.ClientSession(connector=former.connector, read_bufsize=_READ_BUFFER)
    former.detach()


def proxy_of(address: str) -> str | None:
    """Return the proxy for an address by HTTPS_PROXY, HTTP_PROXY and NO_PROXY; None: it is reached directly."""
    parts = urllib.parse.urlsplit(address)
    if urllib.request.proxy_bypass(parts.netloc):
        return None
    return urllib.request.getproxies().get(parts.scheme)
