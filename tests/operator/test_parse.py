"""Documents into `Endpoint`: the CRD's defaults, every field under its name, clear messages for invalid values."""

from __future__ import annotations

import copy
import dataclasses
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operator_kit.endpoints import CREATED_AT, UID, make_endpoint, make_stored_endpoint, parsed_endpoint
from operator_kit.specs import ACCEPTED
from whisper_operator.errors import SpecError
from whisper_operator.resource.choices import AccessMode, GpuClass, ServiceType
from whisper_operator.resource.crd import make_crd
from whisper_operator.resource.declared import Declared, declared_fields, is_section
from whisper_operator.resource.fields import Quantity
from whisper_operator.resource.model import Model
from whisper_operator.resource.parse import parse_endpoint, parse_spec
from whisper_operator.resource.pod import VolumeClaim
from whisper_operator.resource.spec import Endpoint, Spec
from whisper_runtime.choices import EngineName

LEAST: dict[str, Any] = {"model": {"id": "demo"}}
SCHEMA = make_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]


def test_endpoint_is_parsed() -> None:
    document = make_stored_endpoint({"gpu": {"class": "t4"}}, generation=3, labels={"team": "a"})
    assert parse_endpoint(document) == Endpoint(
        namespace="team-a",
        name="speech",
        uid=UID,
        generation=3,
        created_at=CREATED_AT,
        spec=dataclasses.replace(
            parse_spec(LEAST), gpu=dataclasses.replace(Spec(model=Model(id="x")).gpu, class_=GpuClass.T4)
        ),
        labels={"team": "a"},
    )
    assert parse_endpoint(make_endpoint()).uid == ""


def test_minimal_spec_has_all_defaults() -> None:
    assert parse_spec(LEAST) == Spec(model=Model(id="demo"))


def test_every_type_is_parsed() -> None:
    spec = parsed_endpoint(ACCEPTED["everything-on-a-t4"]).spec
    assert spec.engine.type is EngineName.VLLM
    assert spec.service.type is ServiceType.LOAD_BALANCER
    assert spec.model.served_names == ("whisper", "whisper-1", "org/name:1")
    assert spec.gpu.min_memory_gib == 15
    assert spec.engine.gpu_memory_utilization == 0.45
    assert spec.rollout.max_surge == 1
    assert spec.rollout.max_unavailable == "100%"
    assert spec.access.network_policy.from_[1]["podSelector"] == {}
    assert [secret.name for secret in spec.pod.image_pull_secrets] == ["registry"]
    assert spec.pod.labels == {"team": "a", "example.com/tier": ""}
    assert spec.pod.resources == {
        "requests": {"cpu": 2, "memory": "8Gi"},
        "limits": {"cpu": "2000m", "memory": "8192Mi", "example.com/nic": 1},
    }


def test_amounts_may_be_numbers() -> None:
    cache = parse_spec({**LEAST, "cache": {"persistentVolumeClaim": {"size": 20_000_000_000}}}).cache
    assert cache is not None
    assert cache.persistent_volume_claim == VolumeClaim(
        size=Quantity("20000000000"), access_modes=(AccessMode.READ_WRITE_ONCE,)
    )


def test_integer_is_accepted_as_number() -> None:
    spec = parse_spec({**LEAST, "transcription": {"segmentDurationSeconds": 20}})
    assert spec.transcription.segment_duration_seconds == 20.0


def test_null_counts_as_absent() -> None:
    nothing = {field.name: None for field in declared_fields(Spec) if field.name != "model"}
    assert parse_spec({**LEAST, **nothing}) == parse_spec(LEAST)
    assert parse_spec({"model": {"id": "demo", "revision": None}, "pod": {"env": None}}) == parse_spec(LEAST)


def test_unknown_field_is_ignored() -> None:
    newer = {"model": {"id": "demo", "quantization": "x"}, "later": {"a": [1]}, "gpu": {"count": 2}}
    assert parse_spec(newer) == parse_spec(LEAST)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"model": None}, "spec.model: must be written"),
        ({"model": {}}, "spec.model.id: must be written"),
        ({"model": []}, "spec.model: is []: write an object"),
        ({"gpu": {"class": "volta"}}, "spec.gpu.class: is 'volta', which this version of the operator does not know: write one of auto, none, t4, ampere, ada, hopper, blackwell"),
        ({"gpu": {"class": 4}}, "spec.gpu.class: is 4, which this version of the operator does not know: write one of auto, none, t4, ampere, ada, hopper, blackwell"),
        ({"replicas": "2"}, "spec.replicas: is '2': write a whole number"),
        ({"replicas": True}, "spec.replicas: is True: write a whole number"),
        ({"replicas": 1.5}, "spec.replicas: is 1.5: write a whole number"),
        ({"suspend": 1}, "spec.suspend: is 1: write true or false"),
        ({"engine": {"gpuMemoryUtilization": "0.5"}}, "spec.engine.gpuMemoryUtilization: is '0.5': write a number"),
        ({"transcription": {"languageForce": False}}, "spec.transcription.languageForce: is False: write a text"),
        ({"rollout": {"maxSurge": 0.5}}, "spec.rollout.maxSurge: is 0.5: write a number, or a share such as 25%"),
        ({"cache": {"emptyDir": {"sizeLimit": []}}}, "spec.cache.emptyDir.sizeLimit: is []: write an amount such as 20Gi"),
        ({"model": {"id": "demo", "servedNames": "one"}}, "spec.model.servedNames: is 'one': write a list"),
        ({"model": {"id": "demo", "servedNames": ["one", 2]}}, "spec.model.servedNames[1]: is 2: write a text"),
        ({"pod": {"labels": {"a": 1}}}, "spec.pod.labels[a]: is 1: write a text"),
        ({"pod": {"labels": "a"}}, "spec.pod.labels: is 'a': write an object"),
        ({"pod": {"env": ["A"]}}, "spec.pod.env[0]: is 'A': write an object"),
        ({"pod": {"imagePullSecrets": [{}]}}, "spec.pod.imagePullSecrets[0].name: must be written"),
        ({"cache": {}}, "spec.cache: holds nothing: write exactly one of emptyDir, persistentVolumeClaim, existingClaim, image"),
        ({"exposure": {"ingress": {}, "gateway": {"parentRefs": []}}}, "spec.exposure: holds ingress and gateway: write exactly one of ingress, gateway"),
    ],
)  # fmt: skip
def test_invalid_value_is_named(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError) as refused:
        parse_spec({**LEAST, **spec})
    assert str(refused.value) == words
    assert refused.value.reason == "InvalidSpec"


@pytest.mark.parametrize("spec", [None, {}])
def test_missing_spec_is_refused(spec: Any) -> None:
    with pytest.raises(SpecError, match=r"^spec\.model: must be written$"):
        parse_endpoint({**make_stored_endpoint(), "spec": spec})
    with pytest.raises(SpecError, match=r"^spec: is \[\]: write an object$"):
        parse_spec([])


def as_the_api_server_stores(value: Any, schema: Mapping[str, Any]) -> Any:
    """Structural defaulting: defaults of fields that are absent, at every depth that is there."""
    if isinstance(value, Mapping):
        properties = schema.get("properties", {})
        missing = {name: copy.deepcopy(one["default"]) for name, one in properties.items() if "default" in one}
        return {
            name: as_the_api_server_stores(one, properties.get(name, schema.get("additionalProperties") or {}))
            for name, one in (missing | dict(value)).items()
        }
    if isinstance(value, list):
        return [as_the_api_server_stores(one, schema.get("items", {})) for one in value]
    return value


@pytest.mark.parametrize("name", ACCEPTED)
def test_parser_defaults_equal_crd_defaults(name: str) -> None:
    spec = make_endpoint(ACCEPTED[name])["spec"]
    assert parse_spec(as_the_api_server_stores(spec, SCHEMA)) == parse_spec(spec)


def test_every_default_is_compared() -> None:
    """The specs above hold every section once, so that each default of the CRD is filled in somewhere."""

    def sections(schema: Mapping[str, Any], path: str) -> set[str]:
        inner = {f"{path}.{name}": one for name, one in schema.get("properties", {}).items()}
        found = {path} if any("default" in one for one in inner.values()) else set()
        return found.union(*(sections(one, name) for name, one in inner.items()))

    def written(value: Any, path: str) -> set[str]:
        if not isinstance(value, Mapping):
            return set()
        return {path}.union(*(written(one, f"{path}.{name}") for name, one in value.items()))

    stored = [as_the_api_server_stores(make_endpoint(spec)["spec"], SCHEMA) for spec in ACCEPTED.values()]
    assert sections(SCHEMA, "spec") <= set().union(*(written(spec, "spec") for spec in stored))


def written_values(cls: type, *, depth: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """Documents of a section: every required field, and any of the others. Limits and rules are not kept."""
    fields = declared_fields(cls)
    required = {field.name: values(field.type, field, depth) for field in fields if field.required}
    optional = {field.name: values(field.type, field, depth) for field in fields if not field.required}
    return st.fixed_dictionaries(required, optional=optional)


def values(type_: Any, field: Declared, depth: int) -> st.SearchStrategy[Any]:
    if is_section(type_):
        documents = written_values(type_, depth=depth + 1)
        alternatives = field.name in {"cache", "exposure"}
        return documents.filter(lambda document: len({*document} - {"preload"}) == 1) if alternatives else documents
    if typing.get_origin(type_) is tuple:
        return st.lists(values(typing.get_args(type_)[0], field, depth), max_size=2)
    if typing.get_origin(type_) is Mapping:
        return st.dictionaries(st.text("abc", min_size=1), st.text("abc"), max_size=2)
    if isinstance(type_, type) and issubclass(type_, Enum):
        return st.sampled_from([member.value for member in type_])
    return SCALARS[type_]


SCALARS: Mapping[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(0, 10**9),
    float: st.floats(0, 10**6, allow_nan=False) | st.integers(0, 9),
    str: st.text("abc", min_size=1),
    Quantity: st.integers(1, 10**9) | st.sampled_from(["1Gi", "500m"]),
    typing.Union[int, str]: st.integers(0, 9) | st.just("25%"),  # noqa: UP007 - equal to what `declared` makes
}


def as_written(section: Any, fields: tuple[Declared, ...], like: Mapping[str, Any]) -> dict[str, Any]:
    """A section as YAML again, as far as it was written."""
    return {
        field.name: plain(getattr(section, field.attribute), like[field.name]) for field in fields if field.name in like
    }


def plain(value: Any, like: Any) -> Any:
    if is_section(type(value)):
        return as_written(value, declared_fields(value.__class__), like)
    if isinstance(value, tuple):
        return [plain(one, other) for one, other in zip(value, like, strict=True)]
    if isinstance(value, Enum):
        return value.value
    return int(value) if isinstance(like, int) and not isinstance(like, bool) else value


@settings(max_examples=200, deadline=None)
@given(written_values(Spec))
def test_every_field_is_found_under_its_name(document: dict[str, Any]) -> None:
    assert as_written(parse_spec(document), declared_fields(Spec), document) == document
