"""The page `/docs`: Swagger UI from files of this package, so that it works without the internet.

All addresses are relative to `/docs`: the page works under any prefix. Serving it belongs to the HTTP layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

ASSETS_DIR = Path(__file__).parent / "swagger_ui"

DOCS_ASSETS: Mapping[str, str] = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-init.js": "text/javascript",
}
"""The names behind `/docs/`, and their content types."""

DOCS_HEADERS: Mapping[str, str] = {
    # Swagger UI styles elements inline and draws its icons from data: addresses; all else is ours.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
}

DOCS_HTML = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Whisper server: API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; the document itself is <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/swagger-init.js"></script>
</body>
</html>
"""


def docs_asset(name: str) -> bytes | None:
    """A file of the page; None: there is none of that name. Names are compared, never joined to a path unchecked."""
    if name not in DOCS_ASSETS:
        return None
    return (ASSETS_DIR / name).read_bytes()
