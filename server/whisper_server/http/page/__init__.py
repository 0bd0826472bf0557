"""The page at `/`: files of this package, and the routes that serve them."""

from whisper_server.http.page.page_routes import PageFacts, page_routes

__all__ = ["PageFacts", "page_routes"]
