#!/usr/bin/env python
"""Writes the SBOM of a packed chart (CycloneDX 1.6, JSON) to standard output: `chart_sbom.py CHART.tgz`.

A chart holds no programs of its own: its parts are the images that it deploys by default, as `artifacthub.io/images` of
its Chart.yaml lists them (tests/contract/test_charts.py compares that list with what it deploys). What is in the images is
in their own SBOMs. syft finds nothing in a chart, so CycloneDX's library writes this one.
"""

from __future__ import annotations

import hashlib
import sys
import tarfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

LICENSE = "Apache-2.0"


def sbom_of(chart: Path) -> Bom:
    """Raises SystemExit if it is no packed chart."""
    content = chart.read_bytes()
    about = _about(chart)
    digest = hashlib.sha256(content).hexdigest()
    name, version = str(about["name"]), str(about["version"])
    root = Component(
        type=ComponentType.APPLICATION,
        name=name,
        version=version,
        bom_ref=f"chart:{name}",
        description=str(about["description"]),
        licenses=[LicenseFactory().make_with_id(LICENSE)],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
        purl=PackageURL("helm", None, name, version),
    )
    # The same chart has the same serial number.
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"sha256:{digest}"))
    bom.metadata.component = root
    images = list(_images(about))
    for image in images:
        bom.components.add(image)
    bom.register_dependency(root, images)
    return bom


def _about(chart: Path) -> Mapping[str, Any]:
    try:
        with tarfile.open(chart) as packed:
            (member,) = [
                one for one in packed.getmembers() if one.name.count("/") == 1 and one.name.endswith("/Chart.yaml")
            ]
            file = packed.extractfile(member)
            assert file is not None
            return dict(yaml.safe_load(file))
    except (OSError, tarfile.TarError, ValueError) as error:
        raise SystemExit(f"{chart} is no chart that `helm package` has packed: {error}") from None


def _images(about: Mapping[str, Any]) -> Iterator[Component]:
    listed = yaml.safe_load(about.get("annotations", {}).get("artifacthub.io/images", "[]"))
    for image in listed:
        repository, _, tag = image["image"].rpartition(":")
        yield Component(
            type=ComponentType.CONTAINER,
            name=repository,
            version=tag,
            bom_ref=f"image:{image['name']}",
            purl=PackageURL(
                "oci", None, repository.rsplit("/", 1)[-1], None, {"repository_url": repository, "tag": tag}
            ),
        )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    print(JsonV1Dot6(sbom_of(Path(sys.argv[1]))).output_as_string(indent=1))
