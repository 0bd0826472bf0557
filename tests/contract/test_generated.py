"""What is made from the code is what the code says: the CRD, the page about it, and what both promise of other parts."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from operator_kit.endpoints import make_stored_endpoint
from operator_kit.specs import ACCEPTED
from whisper_operator.manifests import OPTIONAL_KINDS, make_children
from whisper_operator.resource.crd import make_crd
from whisper_operator.resource.parse import parse_endpoint
from whisper_operator.resource.reserved import RESERVED_ENV
from whisper_operator.resource.spec import Endpoint
from whisper_operator.settings import Settings
from whisper_operator.snapshot import ChildKey, ClusterSnapshot, FieldConflict, ImageHold
from whisper_operator.status import make_status
from whisper_server.settings import Settings as ServerSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "whisperendpoint.md").read_text()
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.yaml"))
SCHEMA = make_crd()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SETTINGS = Settings(server_image_gpu="gpu", server_image_cpu="cpu")
NOT_OF_THE_SPEC = {"MAX_DECODED_SECONDS"}
"""Set along with maxAudioSeconds, and free to be set otherwise."""


def test_the_chart_and_the_page_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "generate.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_kubectl_apply_without_server_side_can_hold_the_crd() -> None:
    # It keeps the whole document in an annotation, and annotations have 262144 bytes together.
    assert len(json.dumps(make_crd())) < 200_000


def has_preload(endpoint: Endpoint) -> bool:
    return endpoint.spec.cache is not None and endpoint.spec.cache.preload


@pytest.mark.parametrize("name", ACCEPTED)
def test_variables_that_the_operator_sets_are_reserved(name: str) -> None:
    endpoint = parse_endpoint(make_stored_endpoint(ACCEPTED[name]))
    children = make_children(endpoint, SETTINGS, served_kinds=OPTIONAL_KINDS, ingress_controller="none")
    (made,) = (child for child in children if child["kind"] == ("Job" if has_preload(endpoint) else "Deployment"))
    (container,) = made["spec"]["template"]["spec"]["containers"]
    own = {one["name"] for one in endpoint.spec.pod.env}
    assert {one["name"] for one in container["env"]} - own - NOT_OF_THE_SPEC - {"LOG_FORMAT"} <= set(RESERVED_ENV)


def test_reserved_variables_have_a_field_or_a_reason() -> None:
    for path in (path for text in RESERVED_ENV.values() if text for path in text.split(" or ")):
        node = SCHEMA["properties"]["spec"]
        for name in path.split("."):
            node = node["properties"][name]
    served = {name.upper() for name in ServerSettings.__dataclass_fields__}
    with_field = {name for name, field in RESERVED_ENV.items() if field}
    assert with_field - served == {"VLLM_DTYPE", "AWS_ENDPOINT_URL_S3"}  # other names of DTYPE and AWS_ENDPOINT_URL


def test_the_page_quotes_every_field_to_write_instead_of_a_variable() -> None:
    table = PAGE.split("<!-- variables:")[1].split("<!-- end -->")[0]
    cells = dict(re.findall(r"^\| `([A-Z0-9_]+)` \| (.*) \|$", table, re.MULTILINE))
    assert set(cells) == set(RESERVED_ENV)
    for name, fields in RESERVED_ENV.items():
        assert cells[name].startswith("–") if not fields else cells[name] == f"`{fields.replace(' or ', '` or `')}`"


def test_the_page_names_every_example() -> None:
    named = set(re.findall(r"\]\(examples/(.*?)\)", PAGE))
    assert named == {path.name for path in EXAMPLES} != set()


def test_endpoints_on_the_page_can_be_read() -> None:
    blocks = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    assert len(blocks) == 2
    for block in blocks:
        parse_endpoint({**make_stored_endpoint(), "spec": block["spec"]})


def test_the_page_and_the_schema_tell_all_conditions() -> None:
    preload = {"cache": {"existingClaim": "models", "preload": True}}
    document = make_stored_endpoint({**ACCEPTED["gateway"], **ACCEPTED["scaled-to-a-fixed-number"], **preload})
    endpoint = parse_endpoint(document)
    now = datetime.now(UTC)
    conflict = FieldConflict(key=ChildKey("Deployment", "speech"), fields=("spec.replicas",))
    snapshot = ClusterSnapshot(image_hold=ImageHold(kept="a:1", wanted="a:2"), conflicts=(conflict,))
    status = make_status(endpoint, None, document=document, snapshot=snapshot, resolved=None, url="", now=now)
    types = {condition["type"] for condition in status["conditions"]}
    assert set(re.findall(r"^\| `([A-Z][A-Za-z]+)` \| .*\|.*\|$", PAGE.split("### Reasons")[0], re.MULTILINE)) == types
    schema = SCHEMA["properties"]["status"]["properties"]["conditions"]["items"]["properties"]["type"]
    assert set(re.findall(r"[A-Z][A-Za-z]+", schema["description"].partition(":")[2])) == types
