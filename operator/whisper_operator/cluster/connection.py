"""Address and credentials for the API server: from a kubeconfig, the pod's own account, or ~/.kube/config.

Credentials are refreshed: a pod's token is read again every minute, and any credentials after a 401. Kopf's session (see
`reconcile.watcher`) uses the same address, CA and headers.
"""

from __future__ import annotations

import asyncio
import ssl
import warnings
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config.kube_config import KubeConfigLoader, KubeConfigMerger

from whisper_operator.errors import StartError

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
USUAL = Path("~/.kube/config")


def proxy_of(server: str) -> str | None:
    """The proxy for a server according to HTTPS_PROXY, HTTP_PROXY and NO_PROXY."""
    address = urlsplit(server)
    if proxy_bypass(address.netloc.rpartition("@")[2]):
        return None
    return getproxies().get(address.scheme)


def _in_a_pod() -> bool:
    return ACCOUNT.exists()


class Connection:
    """A client that can reload its credentials."""

    def __init__(self, kubeconfig: str, context: str, pool_size: int) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._pool_size = pool_size
        self._client: ApiClient | None = None
        self._loading = asyncio.Lock()
        self.generation = 0
        """Incremented with every load: after a 401 the caller passes the generation that it used."""

    @property
    def client(self) -> ApiClient:
        assert self._client is not None, "load() runs before the first request"
        return self._client

    @property
    def server(self) -> str:
        return str(self.client.configuration.host)

    @property
    def ssl_context(self) -> ssl.SSLContext:
        context: ssl.SSLContext = self.client.rest_client.ssl_context
        return context

    @property
    def proxy(self) -> str | None:
        proxy: str | None = self.client.configuration.proxy
        return proxy

    @property
    def server_name(self) -> str | None:
        """The name in the server's certificate, if it differs from the address."""
        name: str | None = self.client.configuration.tls_server_name
        return name

    async def headers(self) -> dict[str, str]:
        """Authentication headers of a request; empty with a client certificate."""
        bearer = (await self.client.configuration.auth_settings()).get("BearerToken")
        return {"Authorization": bearer["value"].strip()} if bearer else {}

    async def load(self, refused: int | None = None) -> None:
        """Reads the credentials. `refused`: the generation that got a 401; nothing happens if a newer one is loaded."""
        async with self._loading:
            if refused is not None and refused != self.generation:
                return
            old, self._client = self._client, ApiClient(await self._configuration())
            self.generation += 1
        if old is not None:
            await old.close()

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _configuration(self) -> Configuration:
        # With trust_env aiohttp reads ~/.netrc before every request; proxies are read here, once.
        settings = {"trust_env": False}
        configuration = Configuration(connection_pool_maxsize=self._pool_size, client_session_kwargs=settings)
        try:
            if not self._kubeconfig and not self._context and _in_a_pod():
                config.load_incluster_config(configuration)
            else:
                await self._load_file(self._kubeconfig or str(USUAL), configuration)
        # The client's loader raises all kinds of exceptions for a malformed file.
        except Exception as error:
            raise StartError(f"no way to the API server: {error}") from error
        configuration.proxy = configuration.proxy or proxy_of(configuration.host)
        return configuration

    async def _load_file(self, paths: str, configuration: Configuration) -> None:
        found = KubeConfigMerger(paths).config
        if found is None:
            raise StartError(f"{paths} is not there: set KUBECONFIG, or run in a pod")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loader = KubeConfigLoader(config_dict=found, config_base_path=None, active_context=self._context or None)
            await loader.load_and_set(configuration)
