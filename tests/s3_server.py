"""A server on this machine that speaks S3, for tests of object stores."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

BUCKET = "bucket"


@contextmanager
def s3_server() -> Iterator[Any]:
    """The file system of the server, with `BUCKET` in it; this process and what it starts find it as S3."""
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs: pip install 'accompany[s3]'")
    moto = pytest.importorskip("moto.server", reason="needs a local S3 server: pip install 'moto[s3]' flask flask-cors")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    known = {"ACCESS_KEY_ID": "none", "SECRET_ACCESS_KEY": "none", "DEFAULT_REGION": "us-east-1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**known, "ENDPOINT_URL": f"http://{host}:{port}"}.items():
            patch.setenv(f"AWS_{name}", value)
        s3fs.S3FileSystem.clear_instance_cache()
        files = s3fs.S3FileSystem()
        files.mkdir(BUCKET)
        yield files
        s3fs.S3FileSystem.clear_instance_cache()
        # What was stored belongs to this process, not to the server.
        urllib.request.urlopen(f"http://{host}:{port}/moto-api/reset", data=b"").close()
        server.stop()


def in_bucket(s3: Any, folder: str) -> dict[str, bytes]:
    """All files below a folder of the bucket."""
    s3.invalidate_cache()
    return {path.removeprefix(f"{BUCKET}/{folder}/"): s3.cat_file(path) for path in s3.find(f"{BUCKET}/{folder}")}
