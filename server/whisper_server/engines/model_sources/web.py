"""A model that is an archive at an address on the web."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import httpx

from whisper_server.engines.model_sources.downloads import Listing, RemoteFile
from whisper_server.engines.model_sources.fetch_error import FetchError
from whisper_server.engines.model_sources.http_get import body_from, get


@dataclass(frozen=True)
class WebArchive:
    """`https://…`, with the archive's sha256 or without."""

    url: str
    sha256: str

    @property
    def pinned(self) -> str:
        return self.sha256

    def list(self) -> Listing:
        with closing(self._get({})) as response:
            headers = response.headers
        length = headers.get("content-length", "")
        mark = headers.get("etag") or headers.get("last-modified") or ""
        file = RemoteFile(
            name=PurePosixPath(urlsplit(self.url).path).name,
            n_bytes=int(length) if length.isdecimal() else None,
            read=lambda offset: self._read(offset, mark),
            sha256=self.sha256,
            is_archive=True,
        )
        return Listing(version=self.sha256 or (f"{mark} {length}" if mark else ""), files=(file,))

    def _read(self, offset: int, mark: str) -> tuple[int, Iterator[bytes]]:
        """If the archive is another one by now, it is sent from its beginning."""
        wanted = {"Range": f"bytes={offset}-", "If-Range": mark} if offset and mark else {}
        return body_from(self._get(wanted), offset)

    def _get(self, headers: dict[str, str]) -> httpx.Response:
        response = get(self.url, headers)
        if response.is_success:
            return response
        response.close()
        raise FetchError(
            f"the server answers {response.status_code} {response.reason_phrase}",
            "check the address, and that it can be read without a password",
        )
