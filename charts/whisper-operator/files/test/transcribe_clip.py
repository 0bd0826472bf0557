"""`helm test`: makes the WhisperEndpoint of endpoint.json, waits until it is ready, has it transcribe a clip, deletes it.

Standard library only: it runs in the operator's image as it is. Exit code 0 only where every word is right. Its rights
are those of templates/tests/rights.yaml; the endpoint belongs to this pod, so that nothing is left if the pod is killed.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import ssl
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

HERE = Path(__file__).resolve().parent
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SPOKEN = "The quick brown fox jumps over the lazy dog."
POLL_S = 1.0
DELETE_LIMIT_S = 30.0
REQUEST_LIMIT_S = 60.0

Document = dict[str, Any]


class Failure(Exception):
    """The test has failed; the message says what a person should look at."""


@dataclass(frozen=True)
class Api:
    """The endpoint's place at the API server: made, read and deleted, nothing else."""

    server: str
    token_file: Path
    trust: ssl.SSLContext | None
    namespace: str
    name: str

    def create(self, document: Document) -> None:
        self._ask("POST", "", document)

    def read(self) -> Document | None:
        return self._ask("GET", f"/{self.name}")

    def delete(self) -> None:
        self._ask("DELETE", f"/{self.name}")

    def _ask(self, method: str, below: str, body: Document | None = None) -> Document | None:
        """The answer; None where there is no such object."""
        url = f"{self.server}/apis/whisper-operator.io/v1alpha1/namespaces/{self.namespace}/whisperendpoints{below}"
        # The kubelet renews the file.
        headers = {"Authorization": f"Bearer {self.token_file.read_text().strip()}", "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 - the server is the API server's address, no user's text
            url, method=method, headers=headers, data=json.dumps(body).encode() if body else None
        )
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_LIMIT_S, context=self.trust) as answer:  # noqa: S310
                found: Document = json.load(answer)
                return found
        except urllib.error.HTTPError as error:
            if error.code == 404 and method != "POST":
                return None
            raise Failure(f"{method} {url}: {error.code} {error.read().decode(errors='replace')[:2000]}") from None


def main() -> int:
    """Run the test; the result is the exit code."""
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, stop)
    endpoint: Document = json.loads(arguments.endpoint.read_text())
    if arguments.owner:
        pod_name, pod_uid = arguments.owner.split("/")
        owner = {"apiVersion": "v1", "kind": "Pod", "name": pod_name, "uid": pod_uid}
        endpoint["metadata"]["ownerReferences"] = [owner]
    metadata = endpoint["metadata"]
    trust = ssl.create_default_context(cafile=str(arguments.ca_file)) if arguments.ca_file else None
    api = Api(arguments.server, arguments.token_file, trust, metadata["namespace"], metadata["name"])
    try:
        transcribe_with(api, endpoint, arguments)
    except (Failure, OSError) as failure:
        say(f"FAILED: {failure}")
        return 1
    say("every word is right; the endpoint is deleted")
    return 0


def transcribe_with(api: Api, endpoint: Document, arguments: argparse.Namespace) -> None:
    """Create, wait, transcribe; and delete, whatever happens."""
    deadline_s = time.monotonic() + arguments.timeout
    remove(api)  # left by a test that was cut off
    say(f"making the WhisperEndpoint {api.namespace}/{api.name}")
    api.create(endpoint)
    try:
        url = wait_until_ready(api, deadline_s)
        text = transcribe(f"{arguments.url or url}/audio/transcriptions", arguments.clip, deadline_s)
    finally:
        remove(api)
    say(f"heard: {text}")
    if words(text) != words(SPOKEN):
        raise Failure(f"the clip says {SPOKEN!r}")


def wait_until_ready(api: Api, deadline_s: float) -> str:
    """Return the URL for clients, once the endpoint is Ready."""
    said = ""
    while True:
        document = api.read() or {}
        status = document.get("status", {})
        conditions = {one["type"]: one for one in status.get("conditions", [])}
        ready = conditions.get("Ready", {"status": "Unknown", "message": "no status: does the operator run?"})
        news = f"Ready={ready['status']} {ready.get('reason', '')}: {ready.get('message', '')}"
        if news != said:
            say(news)
            said = news
        current = status.get("observedGeneration") == document.get("metadata", {}).get("generation")
        if ready["status"] == "True" and current:
            return str(status["url"])
        if time.monotonic() > deadline_s:
            raise Failure(f"the endpoint is not ready; its status:\n{json.dumps(status, indent=2)}")
        time.sleep(POLL_S)


def transcribe(url: str, clip: Path, deadline_s: float) -> str:
    """Send the clip; again while nothing answers, since a Service needs a moment to know its pods."""
    body, content_type = form(clip)
    say(f"POST {url}")
    while True:
        request = urllib.request.Request(url, data=body, headers={"Content-Type": content_type})  # noqa: S310 - see Api
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_LIMIT_S) as answer:  # noqa: S310
                return str(json.load(answer)["text"])
        except urllib.error.HTTPError as error:
            said, passing = f"{error.code} {error.read().decode(errors='replace')[:2000]}", error.code in (502, 503)
        except OSError as error:
            said, passing = str(error), True
        if not passing or time.monotonic() > deadline_s:
            raise Failure(f"POST {url}: {said}")
        time.sleep(POLL_S)


def form(clip: Path) -> tuple[bytes, str]:
    """A multipart form with the clip, and its content type."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--{boundary}\r\n'
    head += f'Content-Disposition: form-data; name="file"; filename="{clip.name}"\r\n\r\n'
    return head.encode() + clip.read_bytes() + f"\r\n--{boundary}--\r\n".encode(), (
        f"multipart/form-data; boundary={boundary}"
    )


def remove(api: Api) -> None:
    """Delete the endpoint, and see it gone."""
    api.delete()
    until(lambda: api.read() is None, DELETE_LIMIT_S, "the endpoint is not gone")


def until(done: Callable[[], bool], limit_s: float, otherwise: str) -> None:
    deadline_s = time.monotonic() + limit_s
    while not done():
        if time.monotonic() > deadline_s:
            raise Failure(f"{otherwise} after {limit_s:.0f} s")
        time.sleep(POLL_S)


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def stop(_signal: int, _frame: object) -> NoReturn:
    """Leave through every `finally`."""
    sys.exit("stopped from outside")


def say(text: str) -> None:
    print(text, flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An endpoint is made, transcribes a clip, and is deleted.")
    parser.add_argument("--server", default="https://kubernetes.default.svc", help="the API server")
    parser.add_argument("--token-file", type=Path, default=ACCOUNT / "token")
    parser.add_argument("--ca-file", type=Path, default=ACCOUNT / "ca.crt")
    parser.add_argument("--endpoint", type=Path, default=HERE / "endpoint.json", help="the WhisperEndpoint, as JSON")
    parser.add_argument("--clip", type=Path, default=HERE / "clip.ogg")
    parser.add_argument("--owner", default="", help="NAME/UID of the pod that the endpoint belongs to")
    parser.add_argument("--timeout", type=float, default=240, help="seconds until there must be a transcript")
    parser.add_argument("--url", default="", help="where the clip is sent, instead of the endpoint's own")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
