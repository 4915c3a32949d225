"""Object stores through fsspec: s3fs against a real HTTP server on loopback that speaks enough S3."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.artifacts.registry import weights, write_registry
from tests.artifacts.zoo import make_bytes
from tests.cli.command import assert_one_line, bddzoo

DATA = make_bytes(300_000)


@pytest.fixture
def run(server, tmp_path):
    """Fetch with credentials and an endpoint of the test's own."""
    environment = {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }

    def run(*arguments):
        where = ["--registry", tmp_path / "registry.yaml", "--cache", tmp_path / "cache"]
        return bddzoo("fetch", "net_a", *arguments, *where, env=environment)

    return run


def test_fetches_from_a_bucket(server, run, tmp_path):
    pytest.importorskip("s3fs")
    server.put("bucket/zoo/testzoo/sem_seg/net_a.pth", DATA)
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", data=DATA)})
    done = run("--verify", "--from", "s3://bucket/zoo", "--format", "json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)[0]
    assert row["source"] == "s3://bucket/zoo/testzoo/sem_seg/net_a.pth"
    assert row["md5"] == hashlib.md5(DATA).hexdigest()


def test_the_registry_may_name_a_bucket(server, run, tmp_path):
    pytest.importorskip("s3fs")
    source = "s3://bucket/nets/net-a.pth"
    server.put("bucket/nets/net-a.pth", DATA)
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", source, data=DATA)})
    done = run("--verify", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["source"] == source
    where = ["--registry", tmp_path / "registry.yaml"]
    assert_one_line(bddzoo("registry", "health", *where), 5, "no model with a web link")
    assert source in bddzoo("info", "net_a", *where).stdout


def test_missing_bucket_file_is_named(server, run, tmp_path):
    pytest.importorskip("s3fs")
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", data=DATA)})
    assert_one_line(
        run("--from", "s3://bucket/zoo", "--retries", "0"), 5, "s3://bucket/zoo: has no net_a.pth"
    )


def test_offline_asks_no_bucket(server, run, tmp_path):
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", data=DATA)})
    assert_one_line(run("--from", "s3://bucket/zoo", "--offline"), 5, "--offline allows no connection")
    assert not server.requests


def test_missing_package_is_named(server, run, tmp_path):
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", data=DATA)})
    try:
        import gcsfs  # noqa: F401
    except ImportError:
        assert_one_line(run("--from", "gs://bucket/zoo"), 7, "gs:// needs the package gcsfs")
