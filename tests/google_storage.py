"""A server that speaks Google Cloud Storage's protocol, for tests: gcp-storage-emulator, one request at a time.

The emulator knows no conditions and loses a carriage return at the end of an object. What is added in front of it is our
reading of Google's documentation, so that it proves our side of the protocol and not theirs:

- `ifGenerationMatch` of an upload: 412 unless the object has that generation, 0 for none
  (cloud.google.com/storage/docs/request-preconditions), at the start of a resumable upload and again at its end
- the bytes of a multipart upload are kept as they are
- on command, refusals in the words of the real service (cloud.google.com/storage/docs/json_api/v1/status-codes)
"""

import base64
import io
import json
import logging
from functools import partial
from http.server import HTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from gcp_storage_emulator.handlers.buckets import create_bucket
from gcp_storage_emulator.server import RequestHandler, Router
from gcp_storage_emulator.storage import Storage

CONDITION = "At least one of the pre-conditions you specified did not hold."


class Kept(Storage):
    """Objects in memory; nothing of them is written anywhere, and what was deleted is gone."""

    def _write_config_to_file(self) -> None:
        pass

    def delete_file(self, bucket_name: str, file_name: str) -> None:
        self._hard_delete_file(bucket_name, file_name)


class Handler(RequestHandler):
    """One request.

    refusals  status and sentence of the next answers, whatever is asked
    lost      of so many requests after these, what was asked is done and only the answer lost on its way
    """

    refusals: ClassVar[list[tuple[int, str]]] = []
    lost: ClassVar[int] = 0
    storage: Kept

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        # Read whole whatever the answer is: a client that is still sending would see a broken connection instead of it.
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.refusals:
            return self._refuse(*self.refusals.pop(0))
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        name = query.get("name", "")
        if query.get("uploadType") == "multipart":
            name, body = self._exact(body)
        if url.path.startswith("/upload/") and "ifGenerationMatch" in query:
            bucket = unquote(url.path.split("/")[5])
            found = self.storage.objects.get(bucket, {}).get(name, {"generation": "0"})
            if found["generation"] != query["ifGenerationMatch"]:
                return self._refuse(412, CONDITION)
        if body:
            self.headers.replace_header("Content-Length", str(len(body)))
        self.rfile = io.BytesIO(body)
        if Handler.lost:
            Handler.lost, self.wfile = Handler.lost - 1, io.BytesIO()
        Router(self).handle(method)

    def _exact(self, body: bytes) -> tuple[str, bytes]:
        """The name in a multipart upload, and the upload with its data in an encoding that the emulator's parser leaves whole."""
        delimiter = b"--" + self.headers.get_boundary("").encode()
        _, described, rest = body.split(delimiter, 2)
        head, _, data = rest.partition(b"\n\n")
        data = base64.encodebytes(data[: data.index(b"\n" + delimiter)])
        head += b"\nContent-Transfer-Encoding: base64\n\n"
        name = json.loads(described.partition(b"\n\n")[2])["name"]
        return name, delimiter + described + delimiter + head + data + b"\n" + delimiter + b"--"

    def _refuse(self, status: int, sentence: str) -> None:
        told = json.dumps({"error": {"code": status, "message": sentence, "errors": [{"message": sentence}]}}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(told)))
        self.end_headers()
        self.wfile.write(told)


class GoogleServer(HTTPServer):
    """The server, at a free port of this machine, with an empty bucket of the name `bucket`."""

    def __init__(self) -> None:
        logging.getLogger("gcp_storage_emulator").setLevel(
            logging.CRITICAL
        )  # it tells of every object that is not there
        storage = Kept(use_memory_fs=True)
        create_bucket("bucket", storage)
        super().__init__(("127.0.0.1", 0), partial(Handler, storage))

    def handle_error(self, request: object, client_address: object) -> None:
        """gcsfs asks two things at once and hangs up on the slower one; whoever misses an answer fails by itself."""
