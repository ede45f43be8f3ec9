"""Connects to the address that was checked, and to no other: the transport for URLs that callers choose."""

from __future__ import annotations

import urllib.request

import httpx

from airflow_provider_cleartrace.local.destinations import Destinations, Unresolved

_PORTS = {"http": 80, "https": 443}


class CheckedTransport(httpx.BaseTransport):
    """Resolves a host once for each request, and connects to the address it checked.

    A second answer of the resolver changes nothing. ``Host``, SNI and the certificate's name stay the URL's.

    Proxies come from the environment. A proxy resolves the host itself: a host that resolves here to an
    address that is not public, or that does not resolve here at all, is refused unless the operator named it.
    """

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations
        self._direct = httpx.HTTPTransport()
        self._proxied: dict[str, httpx.HTTPTransport] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Check, then send.

        Raises:
            InputError: the host may not be called.
            httpx.ConnectError: it does not resolve, or no address answers.
        """
        host = request.url.raw_host.decode("ascii")
        port = request.url.port or _PORTS[request.url.scheme]
        proxy = _proxy_for(request.url.scheme, host)
        if proxy is not None:
            self._destinations.addresses(host, port)
            return self._through(proxy).handle_request(request)
        try:
            addresses = self._destinations.addresses(host, port)
        except Unresolved as error:
            raise httpx.ConnectError(str(error)) from None
        return self._connect(request, host, addresses)

    def _connect(self, request: httpx.Request, host: str, addresses: list[str]) -> httpx.Response:
        failure = httpx.ConnectError("the host does not resolve")
        for address in addresses:
            pinned = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return self._direct.handle_request(pinned)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = httpx.ConnectError(str(error))
        raise failure

    def _through(self, proxy: str) -> httpx.HTTPTransport:
        return self._proxied.setdefault(proxy, httpx.HTTPTransport(proxy=proxy))

    def close(self) -> None:
        """Close every connection."""
        for transport in (self._direct, *self._proxied.values()):
            transport.close()


def _proxy_for(scheme: str, host: str) -> str | None:
    proxies = urllib.request.getproxies_environment()
    proxy = proxies.get(scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass_environment(host, proxies):  # type: ignore[attr-defined]  # undocumented, and the one reading of NO_PROXY in the standard library
        return None
    return proxy if "://" in proxy else f"http://{proxy}"
