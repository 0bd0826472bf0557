"""Transport: the aiohttp application, its server and connections, forms, keys, admission, streams, the documents.

Only this package and `serve` know aiohttp.
"""
