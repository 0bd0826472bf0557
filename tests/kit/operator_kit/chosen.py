"""Settings of the operator for tests: the images, and what a test chooses."""

from __future__ import annotations

from typing import Any

from whisper_operator.settings import Defaults, Settings

GPU_IMAGE = "registry.example/whisper-server:1.0.0-gpu"
CPU_IMAGE = "registry.example/whisper-server:1.0.0-cpu"


def operator_settings(*, defaults: dict[str, Any] | None = None, **chosen: Any) -> Settings:
    """operator_settings(monitoring_namespace="monitoring", defaults={"offline": True})"""
    images = {"server_image_gpu": GPU_IMAGE, "server_image_cpu": CPU_IMAGE}
    return Settings(**{**images, **chosen}, defaults=Defaults(**(defaults or {})))
