"""Transport: the aiohttp application, its server and connections, forms, keys, admission, streams, the documents.

No speech is understood here, and nothing outside of this package and `serve` knows aiohttp.
"""
