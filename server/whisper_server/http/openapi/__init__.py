"""The API's description: the OpenAPI document, and the page that shows it."""

from whisper_server.http.openapi.docs_page import DOCS_ASSETS, DOCS_HEADERS, DOCS_HTML, docs_asset
from whisper_server.http.openapi.document import openapi_document
from whisper_server.http.openapi.schemas import DocumentFacts

__all__ = ["DOCS_ASSETS", "DOCS_HEADERS", "DOCS_HTML", "DocumentFacts", "docs_asset", "openapi_document"]
