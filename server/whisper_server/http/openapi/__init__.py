"""The API's description: the OpenAPI document, and the page that shows it."""

from whisper_server.http.openapi.docs_page import docs_routes
from whisper_server.http.openapi.document import openapi_document
from whisper_server.http.openapi.schemas import DocumentFacts

__all__ = ["DocumentFacts", "docs_routes", "openapi_document"]
