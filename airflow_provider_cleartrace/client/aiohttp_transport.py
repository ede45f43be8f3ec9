"""aiohttp carries the requests of an event loop that polls much: a fraction of httpx's CPU for each.

The only module of the provider that imports aiohttp, which the extra ``aiohttp`` brings.
"""

from __future__ import annotations

import logging
import time
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp

from airflow_provider_cleartrace.client.async_driver import (
    MAX_CONNECTIONS,
    AsyncDriver,
    KeyRenewal,
    blocks_of,
)
from airflow_provider_cleartrace.client.exchange import Answer, FileBody, Request, no_answer
from airflow_provider_cleartrace.client.settings import Settings
from airflow_provider_cleartrace.client.transport import CONNECT_TIMEOUT, KEEPALIVE, ssl_context

log = logging.getLogger(__name__)

_NEVER_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


def _proxy_of(url: str) -> str | None:
    """The environment's proxy, read once: aiohttp's own ``trust_env`` asks two threads at every request."""
    parts = urlsplit(url)
    if proxy_bypass(parts.netloc):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return f"http://{proxy}" if proxy and "://" not in proxy else proxy


class AiohttpTransport(AsyncDriver):
    """Drives flows on the running event loop.

    Args:
        settings: Where to and how.
        renew: Asked for another key when the server refuses the one in use.
    """

    def __init__(self, settings: Settings, *, renew: KeyRenewal | None = None) -> None:
        super().__init__(settings.api_key, renew)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=MAX_CONNECTIONS, keepalive_timeout=KEEPALIVE, ssl=ssl_context(settings)
            ),
            cookie_jar=aiohttp.DummyCookieJar(),  # one client serves the API and presigned URLs
            proxy=_proxy_of(settings.base_url),
        )

    async def _send(self, request: Request, key: str | None) -> Answer:
        content = blocks_of(request.content) if isinstance(request.content, FileBody) else request.content
        timeout = aiohttp.ClientTimeout(
            sock_connect=min(request.timeout, CONNECT_TIMEOUT), sock_read=request.timeout
        )
        started = time.monotonic()
        try:
            async with self._session.request(
                request.method,
                request.url,
                data=content,
                headers=request.headers_with(key),
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status, headers, await response.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            text = str(error) if isinstance(error, aiohttp.ClientConnectorError) else ""
            # The library's error holds the whole URL.
            raise no_answer(request, error, text, sent=not isinstance(error, _NEVER_SENT)) from None
        finally:
            log.debug("%s: %.3f s", request.operation, time.monotonic() - started)

    async def aclose(self) -> None:
        """Close the sockets."""
        await self._session.close()
