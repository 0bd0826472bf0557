"""The settings that say which model is served and how it is fetched.

The names of the AWS and Docker variables are those of their own programs.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from whisper_runtime import environment as env
from whisper_runtime.settings import setting


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Which model, and from where."""

    model_id: str = setting(
        env.matching(r"\S.*", "a model"),
        None,
        "required: `demo`, a Hugging Face id, a folder, or an address (`oci://`, `s3://`, `https://`); see “Models” in docs/settings.md",
        hint=", for example MODEL_ID=demo",
    )
    model_revision: str = setting(
        env.matching(r"\S+", "a name without spaces"), "main", "branch, tag or commit of a Hugging Face id"
    )
    model_sha256: str = setting(
        env.matching(r"[0-9a-f]{64}", "64 hexadecimal digits in lower case, as sha256sum prints them"),
        "",
        "what the archive of an `https://` model must have; empty: not checked",
    )
    hf_token: str = setting(
        env.matching(r"[!-~]+", "a token without spaces"), "", "key to a private model of the hub", secret=True
    )
    hf_home: Path | None = setting(env.folder, "", "where downloaded models are kept; empty: `~/.cache/huggingface`")
    docker_config: Path | None = setting(
        env.folder, "", "folder whose `config.json` has the registry's password (`oci://`); empty: `~/.docker`"
    )
    aws_endpoint_url: str = setting(
        env.matching(r"https?://[^\s/?#@]+/?", "an address such as https://minio.example.com:9000, without a path"),
        "",
        "S3-compatible storage (`s3://`); empty: that of AWS",
        alias="AWS_ENDPOINT_URL_S3",
    )
    aws_region: str = setting(
        env.matching(r"[a-z0-9-]+", "a region such as eu-central-1"), "", "region of the bucket; empty: `us-east-1`"
    )
    aws_access_key_id: str = setting(
        env.matching(r"[!-~]+", "a key id without spaces"),
        "",
        "key id for the bucket; empty: what the pod or the machine is given (web identity, instance profile)",
        secret=True,
    )
    aws_secret_access_key: str = setting(env.matching(r"[!-~]+", "a key without spaces"), "", "its key", secret=True)
    aws_session_token: str = setting(
        env.matching(r"[!-~]+", "a token without spaces"), "", "token that goes with a temporary key", secret=True
    )

    @property
    def downloads_dir(self) -> Path:
        """HF_HOME, with its default worked out."""
        return self.hf_home or Path.home() / ".cache" / "huggingface"
