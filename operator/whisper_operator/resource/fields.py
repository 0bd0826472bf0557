"""How a field of the spec is declared: type, text for `kubectl explain`, and limits in one place.

The schema of the CRD, the parser and the documentation are all derived from these declarations; see `schema` and `parse`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NewType

Document = Mapping[str, Any]
"""A Kubernetes object or a part of one, as JSON has it."""

Quantity = NewType("Quantity", str)
"""An amount with a Kubernetes suffix: 500m, 20Gi."""

IntOrPercent = int | str
"""A number of pods, or a share of them such as 25%."""

REQUIRED: Any = dataclasses.MISSING

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"

OBJECT_NAME: Mapping[str, Any] = {"minLength": 1, "maxLength": 253, "pattern": f"^{_DOMAIN}$"}
"""Limits of the name of a Kubernetes object."""
NAMESPACE: Mapping[str, Any] = {"minLength": 1, "maxLength": 63, "pattern": f"^{_LABEL}$"}
"""Limits of the name of a namespace."""
EXTENDED_RESOURCE: Mapping[str, Any] = {"maxLength": 253, "pattern": f"^{_DOMAIN}/{_QUALIFIED}$"}
"""Limits of the name of an extended resource."""
LABEL_KEY: Mapping[str, Any] = {"maxLength": 317, "pattern": f"^({_DOMAIN}/)?{_QUALIFIED}$"}
"""Limits of the key of a label or annotation."""
LABEL_VALUE: Mapping[str, Any] = {"maxLength": 63, "pattern": r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"}
"""Limits of the value of a label."""
QUANTITY: Mapping[str, Any] = {
    "pattern": r"^([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$",
    "maxLength": 32,
    "minimum": 0,
}
"""Limits of an amount, which is a number or a string, and never negative here."""
_OCTET = r"(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4, _IPV6 = rf"{_OCTET}(\.{_OCTET}){{3}}", r"[0-9a-fA-F]*:[0-9a-fA-F:.]*"
_IPV4_BITS, _IPV6_BITS = r"/(3[0-2]|[12]?[0-9])", r"/(12[0-8]|1[01][0-9]|[1-9]?[0-9])"
NETWORK: Mapping[str, Any] = {"maxLength": 49, "pattern": f"^({_IPV4}{_IPV4_BITS}|{_IPV6}{_IPV6_BITS})$"}
"""A network, such as 10.0.0.0/8 or fd00::/8."""
NETWORK_OR_ADDRESS: Mapping[str, Any] = {
    "minLength": 1,
    "maxLength": 49,
    "pattern": f"^({_IPV4}({_IPV4_BITS})?|{_IPV6}({_IPV6_BITS})?)$",
}
IMAGE_REFERENCE = (
    r"^([^\s:@/]+(:[0-9]+)?/)?([^\s:@/]+/)*[^\s:@/]+"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@[A-Za-z0-9+._-]+:[0-9a-fA-F]+)?$"
)
"""A host with a port and the parts of a repository, a tag, a digest: none of them empty, and no scheme."""
IMAGE: Mapping[str, Any] = {"minLength": 1, "maxLength": 512, "pattern": r"^[^\s:@/][^\s]*$"}
"""Limits of the name of an image."""


def spec_field(description: str, default: Any = None, *, embedded: str = "", **limits: Any) -> Any:
    """A field of the spec.

    `default` None: absent unless written, REQUIRED: must be written, anything else is the CRD's default too.
    `embedded` names the Kubernetes type (of the core APIs) that a Document holds, or that the items of a tuple of Documents are.
    `limits` are keywords of OpenAPI schemas (`minimum`, `maxLength`, `pattern`, `maxItems` …), those of an array's items under `items`, of a map's values
    under `values`.
    """
    metadata = {"description": description, "embedded": embedded, "limits": limits}
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    if default == {}:
        return dataclasses.field(default_factory=dict, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
