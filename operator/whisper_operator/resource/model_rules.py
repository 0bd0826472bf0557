"""Rules about where the model is, in CEL; see `rules`. Data only.

The forms of addresses are those of the server, which refuses the others with the same words.
"""

from __future__ import annotations

from whisper_operator.resource.rule import Rule

_FORMS = (
    ("oci", r"^oci://[^/@:?#]+(:[0-9]+)?/[a-z0-9._/-]+(:[A-Za-z0-9_.-]+)?(@sha256:[0-9a-f]{64})?$", "oci://registry/repository:tag or oci://registry/repository@sha256:…"),
    ("s3", r"^s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^?#\s]*)?$", "s3://bucket/prefix"),
)  # fmt: skip


def _escaped(pattern: str) -> str:
    return pattern.replace("\\", "\\\\")


MODEL_RULES: tuple[Rule, ...] = (
    Rule(
        at="spec.model.id",
        rule="!self.contains('://') || self.matches('^(oci|s3|https?)://')",
        message="write owner/name (a Hugging Face id, without hf://), a folder, demo, or an address that begins with oci://, s3:// or https://",
    ),
    *(
        Rule(
            at="spec.model.id",
            rule=f"!self.startsWith('{scheme}://') || self.matches('{_escaped(pattern)}')",
            message=f"write {form}",
        )
        for scheme, pattern, form in _FORMS
    ),
    Rule(
        at="spec.model.id",
        rule="!self.matches('^https?://') || self.matches('^https?://[^/?#@]+/[^?#@]+$')",
        message="write https://host/path of an archive, without a password and without a query: the id is public",
    ),
    Rule(
        at="spec.model",
        field="sha256",
        rule="!has(self.sha256) || self.id.matches('^https?://')",
        message="it is that of an https:// archive: leave it out (an oci:// address may end in @sha256:…)",
    ),
    Rule(
        at="spec.model",
        field="sha256",
        rule="!self.id.startsWith('http://') || has(self.sha256)",
        message="plain http lets anyone on the way change the model: write what sha256sum prints for the archive, or use https",
    ),
    Rule(
        at="spec.model",
        field="revision",
        rule="self.revision == 'main' || !self.id.contains('://')",
        message="it is that of a Hugging Face id: leave it out, and write the tag or the digest into the address",
    ),
    Rule(
        at="spec.model",
        field="tokenSecretRef",
        rule="!has(self.tokenSecretRef) || !self.id.contains('://')",
        message="it is for the Hugging Face hub: leave it out, and write pullSecretRef for oci://, or s3.credentialsSecretRef for s3://",
    ),
    Rule(
        at="spec.model",
        field="pullSecretRef",
        rule="!has(self.pullSecretRef) || self.id.startsWith('oci://')",
        message="it is for oci:// models: leave it out (the server's own image takes pod.imagePullSecrets)",
    ),
    Rule(
        at="spec.model",
        field="s3",
        rule="!has(self.s3) || self.id.startsWith('s3://')",
        message="it is for s3:// models: leave it out, or write s3://bucket/prefix as id",
    ),
)
