"""Images and annotations that the policy of a cluster allows and refuses, for operator and API server alike."""

from __future__ import annotations

ALLOWED = ("registry.example.com/team", "docker.io/library", "localhost:5000")
OF_ALLOWED = (
    "registry.example.com/team/whisper-server:1.0.0",
    "registry.example.com/team/deep/down@sha256:0123",
    "registry.example.com/team/whisper-server:1@sha256:0123",
    "registry.example.com/team:1",
    "busybox",
    "busybox:1.36",
    "docker.io/busybox:1",
    "index.docker.io/library/busybox:1",
    "localhost:5000/mine:1",
    "localhost:5000/mine",
)
OF_OTHERS = (
    "registry.example.com/teams/whisper-server:1.0.0",
    "registry.example.com/other/team/x:1",
    "registry.example.com/x:1",
    "registry.example.com.evil.example/team/x:1",
    "registry.example.com:443/team/x:1",
    "evil.example/registry.example.com/team/x:1",
    "team/busybox:1",
    "registry/example.com:1",
    "localhost/x:1",
    "localhost:50001/x:1",
    "REGISTRY.example.com/team/x:1",
    "HOST/library/x:1",
)
TEXT_FOR_PROXIES = (
    "nginx.ingress.kubernetes.io/configuration-snippet",
    "nginx.ingress.kubernetes.io/server-snippet",
    "nginx.ingress.kubernetes.io/auth-snippet",
    "nginx.ingress.kubernetes.io/modsecurity-snippet",
    "nginx.org/location-snippets",
    "haproxy.org/backend-config-snippet",
    "haproxy-ingress.github.io/config-backend",
    "ingress.kubernetes.io/config-backend-early",
)
"""Keys of annotations that are refused by default."""
