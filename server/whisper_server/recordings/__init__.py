"""A file of a request, from its bytes to its transcript: what HTTP and the command line share."""
