"""A model in S3-compatible storage: the objects under a prefix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from whisper_server.engines.model_sources.downloads import Listing, RemoteFile
from whisper_server.engines.model_sources.fetch_error import ConnectionLost, FetchError
from whisper_server.engines.model_sources.model_files import is_model_file
from whisper_server.settings import ModelSettings

CHUNK_BYTES = 64 * 1024
LONGEST_OBJECT = timedelta(hours=12)
"""The library's limit for an object as a whole is 30 s."""
SILENCE = timedelta(seconds=60)
OF_THE_KEY = ("AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch")
OF_THE_REGION = ("AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect")
RETRIES = {"max_retries": 3, "retry_timeout": timedelta(seconds=20)}


@dataclass(frozen=True)
class Bucket:
    """`s3://bucket/prefix`."""

    bucket: str
    prefix: str
    settings: ModelSettings

    @property
    def pinned(self) -> str:
        return ""

    def list(self) -> Listing:
        try:
            store = self._store()
            found = [one for page in obstore.list(store, self.prefix) for one in page]
        except BaseError as error:
            raise self._refusal(error) from error
        start = f"{self.prefix}/" if self.prefix else ""
        objects = {one["path"].removeprefix(start): one for one in found}
        names = sorted(name for name in objects if "/" not in name and is_model_file(name))
        if not names:
            raise FetchError(
                f"there are no files of a model under {self.prefix or 'the root'} in bucket {self.bucket}",
                "write the prefix under which config.json is",
            )
        marks = [f"{name} {objects[name]['e_tag']} {objects[name]['size']}" for name in names]
        files = tuple(self._file(store, objects[name]["path"], name, objects[name]["size"]) for name in names)
        return Listing(version="\n".join(marks), files=files)

    def _store(self) -> S3Store:
        chosen = {
            "endpoint": self.settings.aws_endpoint_url.rstrip("/"),
            "region": self.settings.aws_region,
            "access_key_id": self.settings.aws_access_key_id,
            "secret_access_key": self.settings.aws_secret_access_key,
            "session_token": self.settings.aws_session_token,
        }
        config: Any = {name: value for name, value in chosen.items() if value}
        retries: Any = RETRIES
        return S3Store(
            self.bucket,
            config=config,
            client_options={"allow_http": True, "timeout": LONGEST_OBJECT, "read_timeout": SILENCE},
            retry_config=retries,
        )

    def _file(self, store: S3Store, path: str, name: str, n_bytes: int) -> RemoteFile:
        return RemoteFile(name=name, n_bytes=n_bytes, read=lambda offset: (offset, self._read(store, path, offset)))

    def _read(self, store: S3Store, path: str, offset: int) -> Iterator[bytes]:
        try:
            result = obstore.get(store, path, options={"range": {"offset": offset}})
            for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(chunk)
        except BaseError as error:
            raise self._refusal(error) from error

    def _refusal(self, error: BaseError) -> FetchError:
        """By S3's own code, because the library makes the kinds of errors for objects only, not for listings."""
        where = self.settings.aws_endpoint_url or "AWS"
        code = next(iter(re.findall(r"<Code>(\w+)</Code>", str(error))), "")
        if code in OF_THE_KEY or isinstance(error, PermissionDeniedError | UnauthenticatedError):
            return FetchError(
                f"{where} refuses the key for bucket {self.bucket} ({code or 'no code'})",
                "check it, and that it may list and read the bucket",
                setting="AWS_ACCESS_KEY_ID",
            )
        if code in OF_THE_REGION:
            return FetchError(
                f"bucket {self.bucket} is in another region ({code})", "write the bucket's own", setting="AWS_REGION"
            )
        if code or isinstance(error, NotFoundError):
            return FetchError(
                f"{where} refuses bucket {self.bucket} ({code or 'not found'})",
                "check the address, AWS_ENDPOINT_URL and AWS_REGION",
            )
        return ConnectionLost(error)
