"""A server of S3 on this machine, in a process of its own."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLES = {
    "AWS_ACCESS_KEY_ID": "key",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}
START_S = 60.0


@contextmanager
def serving(**variables: str) -> Iterator[dict[str, str]]:
    """Start the server; yield the environment variables that point to it.

    Args:
        variables: for the server's environment.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=os.environ | variables, **quiet)
    try:
        end = time.monotonic() + START_S
        while True:
            assert process.poll() is None, "the server has ended"
            assert time.monotonic() < end, "the server does not start"
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                time.sleep(0.05)
            else:
                break
        yield VARIABLES | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    finally:
        process.kill()
        process.wait()


def make_bucket(name: str) -> None:
    import fsspec

    fsspec.url_to_fs(f"s3://{name}", skip_instance_cache=True)[0].mkdir(name)
