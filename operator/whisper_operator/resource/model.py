"""The part of the spec about the model: which one, where it is, and the Secrets to read it with. Data only; see `spec`."""

from __future__ import annotations

import dataclasses

from whisper_operator.resource.fields import OBJECT_NAME, REQUIRED, spec_field
from whisper_operator.resource.pod import LocalObjectReference

ADDRESS = "://"
"""In the id of a model that is neither a Hugging Face id nor a folder."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenSecretRef:
    """The Secret with the token for a model that is not public."""

    name: str = spec_field("Name of the Secret, in the endpoint's namespace.", REQUIRED, **OBJECT_NAME)
    key: str = spec_field(
        "Key of the Secret that holds the token.", "token", minLength=1, maxLength=253, pattern=r"^[-._a-zA-Z0-9]+$"
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class S3Storage:
    """The S3-compatible storage of an s3:// model."""

    endpoint_url: str | None = spec_field(
        "Address of the storage, such as https://minio.example.com:9000. Absent: that of AWS.",
        maxLength=512,
        pattern=r"^https?://[^\s/?#@]+/?$",
    )
    region: str | None = spec_field(
        "Region of the bucket. Absent: us-east-1.", minLength=1, maxLength=64, pattern=r"^[a-z0-9-]+$"
    )
    credentials_secret_ref: LocalObjectReference | None = spec_field(
        "Secret with the keys AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for a temporary key, AWS_SESSION_TOKEN. Absent: what AWS gives the service account or the node."
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Model:
    """The model that is served."""

    id: str = spec_field(
        "The model: a Hugging Face id such as openai/whisper-large-v3-turbo, an address (oci://registry/repository:tag, s3://bucket/prefix, https://host/whisper.tar.gz), a folder inside the pod such as /models/mine, or demo, the small model that comes with the server.",
        REQUIRED,
        minLength=1,
        maxLength=1024,
        pattern=r"^(/\S*|[a-z0-9+]+://\S+|[A-Za-z0-9][-A-Za-z0-9_.]*(/[A-Za-z0-9][-A-Za-z0-9_.]*)?)$",
    )
    revision: str = spec_field(
        "Branch, tag or commit of a Hugging Face id.", "main", minLength=1, maxLength=256, pattern=r"^\S+$"
    )
    sha256: str | None = spec_field(
        "SHA-256 of the archive at an https:// address, as sha256sum prints it; http:// needs it. Absent: not checked.",
        pattern="^[0-9a-f]{64}$",
        maxLength=64,
    )
    served_names: tuple[str, ...] = spec_field(
        "Names that requests may give as model. Empty: whisper, whisper-1, OpenAI's transcription models and the model's own id.",
        (),
        maxItems=32,
        items={"minLength": 1, "maxLength": 256, "pattern": r"^[!-+\--~]+$"},
    )
    token_secret_ref: TokenSecretRef | None = spec_field(
        "Secret with a Hugging Face token, for models that are not public."
    )
    pull_secret_ref: LocalObjectReference | None = spec_field(
        "Secret of type kubernetes.io/dockerconfigjson with the password of an oci:// registry."
    )
    s3: S3Storage | None = spec_field("Storage of an s3:// model, and the key to it.")

    @property
    def is_hub_id(self) -> bool:
        """Whether it is a Hugging Face id: neither an address, the demo model nor a folder."""
        return self.id != "demo" and ADDRESS not in self.id and not self.id.startswith(("/", "."))
