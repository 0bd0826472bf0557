"""The API's description: the OpenAPI document, and the page that shows it."""

from whisper_server.openapi.docs_page import DOCS_ASSETS, DOCS_HEADERS, DOCS_HTML, docs_asset
from whisper_server.openapi.document import openapi_document
from whisper_server.openapi.schemas import DocumentFacts

__all__ = ["DOCS_ASSETS", "DOCS_HEADERS", "DOCS_HTML", "DocumentFacts", "docs_asset", "openapi_document"]
