"""Speakers and their turns: neural nets and clustering in a process of their own, and its end in the server."""
