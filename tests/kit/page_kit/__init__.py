"""Debian's Chromium on the server's page, with a microphone that is a file."""
