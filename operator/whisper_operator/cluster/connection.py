"""Where the API server is and who we are: from a kubeconfig, the pod's own account, or ~/.kube/config.

Credentials are never kept longer than they hold: a pod's token is read again every minute, and whatever is refused with
401 is loaded anew. Kopf's session (see `handlers`) takes the same address, trust and headers from here.
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
    """What HTTPS_PROXY, HTTP_PROXY and NO_PROXY say about a server."""
    address = urlsplit(server)
    if proxy_bypass(address.netloc.rpartition("@")[2]):
        return None
    return getproxies().get(address.scheme)


def _in_a_pod() -> bool:
    return ACCOUNT.exists()


class Connection:
    """A client that knows how to renew itself."""

    def __init__(self, kubeconfig: str, context: str, pool_size: int) -> None:
        self._kubeconfig = kubeconfig
        self._context = context
        self._pool_size = pool_size
        self._client: ApiClient | None = None
        self._loading = asyncio.Lock()
        self.generation = 0
        """Counts up with every loading: who was refused says which one it had used."""

    @property
    def client(self) -> ApiClient:
        assert self._client is not None, "loaded before anything is asked"
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
        """What the certificate is for, where that is not the address."""
        name: str | None = self.client.configuration.tls_server_name
        return name

    async def headers(self) -> dict[str, str]:
        """What a request must carry to be let in; nothing where a certificate says it."""
        bearer = (await self.client.configuration.auth_settings()).get("BearerToken")
        return {"Authorization": bearer["value"].strip()} if bearer else {}

    async def load(self, refused: int | None = None) -> None:
        """Read the credentials. `refused`: the generation that was; nothing is done where a newer one is there."""
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
        # Trusting the environment, aiohttp would read ~/.netrc before every request; of proxies it is asked here, once.
        settings = {"trust_env": False}
        configuration = Configuration(connection_pool_maxsize=self._pool_size, client_session_kwargs=settings)
        try:
            if not self._kubeconfig and not self._context and _in_a_pod():
                config.load_incluster_config(configuration)
            else:
                await self._load_file(self._kubeconfig or str(USUAL), configuration)
        # The client's loader raises whatever comes up in a file that is not as it thinks.
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
