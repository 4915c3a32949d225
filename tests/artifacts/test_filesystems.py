"""Object stores through fsspec: s3fs against a real HTTP server on loopback that speaks enough S3."""

from __future__ import annotations

import hashlib
import json
from urllib.parse import quote

import pytest

from tests.artifacts.registry import weights, write_registry
from tests.artifacts.zoo import make_bytes
from tests.cli.command import assert_one_line, interrupt
from tests.support.server import Fault

DATA = make_bytes(300_000)


@pytest.fixture
def environment(server):
    """Credentials and an endpoint of the test's own."""
    return {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    }


@pytest.fixture
def fetch(environment, run):
    """Fetch a model, `net_a` if no other is named."""

    def fetch(*arguments, models=("net_a",)):
        return run("fetch", *models, *arguments, env=environment)

    return fetch


def test_fetches_from_a_bucket(server, fetch, tmp_path):
    pytest.importorskip("s3fs")
    server.put("bucket/zoo/testzoo/sem_seg/net_a.pth", DATA)
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", data=DATA)})
    done = fetch("--verify", "--from", "s3://bucket/zoo", "--format", "json")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)[0]
    assert row["source"] == "s3://bucket/zoo/testzoo/sem_seg/net_a.pth"
    assert row["md5"] == hashlib.md5(DATA).hexdigest()


def test_the_registry_may_name_a_bucket(server, fetch, run, tmp_path):
    pytest.importorskip("s3fs")
    source = "s3://bucket/nets/net-a.pth"
    server.put("bucket/nets/net-a.pth", DATA)
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", source, data=DATA)})
    done = fetch("--verify", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[0]["source"] == source
    assert_one_line(run("registry health"), 5, "no model with a web link")
    assert source in run("info", "net_a").stdout


@pytest.mark.parametrize("name", ["deeplabv3+_r50.pth", "50%.pth", "ü.pth"])
def test_odd_names_in_a_bucket(server, fetch, tmp_path, name):
    """A mirror in a bucket, and an address of the registry, which writes odd characters encoded."""
    pytest.importorskip("s3fs")
    server.put(f"bucket/zoo/{name}", DATA)
    source = f"s3://bucket/zoo/{quote(name)}"
    for fields, arguments in (((), ("--from", "s3://bucket/zoo")), ((source,), ())):
        write_registry(tmp_path / "registry.yaml", {"net_a": weights(name, *fields, data=DATA)})
        done = fetch("--verify", "--force", "--retries", "0", *arguments)
        assert done.returncode == 0, done.stderr


def test_health_says_whom_it_does_not_ask(server, run, tmp_path):
    store = "s3://bucket/net_a.pth"
    models = {"net_a": weights("net_a.pth", store), "net_b": weights("net_b.pth", server.put("b.pth", DATA))}
    write_registry(tmp_path / "registry.yaml", models)
    done = run("registry health")
    assert done.returncode == 0, done.stderr
    assert "1 of 1 files alive" in done.stderr
    assert f"not asked, for they lie in object stores: 1, as {store}" in done.stderr


def test_addresses_are_not_chained(server, fetch, tmp_path):
    source = "s3://bucket/x%3A%3Afile:///etc/passwd"
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", data=DATA)})
    assert_one_line(fetch("--from", source, "--retries", "0"), 7, "no way to open an address with '::' in it")
    assert not server.requests


def test_schemes_in_upper_case(server, fetch, tmp_path):
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", data=DATA)})
    server.put("m/net_a.pth", DATA)
    (tmp_path / "net_a.pth").write_bytes(DATA)
    for source in (server.url.replace("http", "HTTP") + "/m", f"FILE://{tmp_path}"):
        assert fetch("--verify", "--force", "--from", source).returncode == 0


def test_store_that_cannot_be_reached_is_left_alone(fetch, server, tmp_path):
    pytest.importorskip("s3fs")
    server.close()
    models = {f"net_{i}": weights(f"net_{i}.pth", f"s3://bucket/net_{i}.pth") for i in range(3)}
    write_registry(tmp_path / "registry.yaml", models)
    done = fetch("--jobs", "1", models=tuple(models))
    assert done.returncode == 7
    assert done.stderr.count("trying again") == 1
    assert done.stderr.count("(2 times)") == 2, "told when it happened, and in the table"
    assert done.stderr.count("(not asked again in this run)") == 2


@pytest.mark.parametrize(("fault", "timeout", "told"), [("drip-header", 0.2, 0.4), ("drip", 0.2, 4)])
def test_store_that_drips_is_a_stall(fetch, server, tmp_path, fault, timeout, told):
    """The package waits as long as a byte comes now and then."""
    pytest.importorskip("s3fs")
    server.put("bucket/net_a.pth", DATA)
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", "s3://bucket/net_a.pth")})
    server.faults = [Fault(fault, delay=timeout / 3, chunk=10)]
    words = f"s3://bucket/net_a.pth: stalled: no answer in {told} s"
    assert_one_line(fetch("--timeout", timeout, "--retries", "0"), 7, words)


def test_ctrl_c_while_a_store_drips(environment, server, tmp_path):
    pytest.importorskip("s3fs")
    server.put("bucket/net_a.pth", DATA)
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", "s3://bucket/net_a.pth")})
    server.faults = [Fault("drip-header", delay=0.1)]
    where = ["--registry", tmp_path / "registry.yaml", "--cache", tmp_path / "cache"]
    done = interrupt(["fetch", "net_a", *where], lambda: server.requests, environment)
    assert_one_line(done, 130, "interrupted")


def test_missing_bucket_file_is_named(server, fetch, tmp_path):
    pytest.importorskip("s3fs")
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", data=DATA)})
    assert_one_line(
        fetch("--from", "s3://bucket/zoo", "--retries", "0"), 5, "s3://bucket/zoo: has no net_a.pth"
    )


def test_offline_asks_no_bucket(server, fetch, tmp_path):
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", data=DATA)})
    assert_one_line(fetch("--from", "s3://bucket/zoo", "--offline"), 5, "--offline allows no connection")
    assert not server.requests


def test_missing_package_is_named(server, fetch, tmp_path):
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", data=DATA)})
    try:
        import gcsfs  # noqa: F401
    except ImportError:
        done = fetch("--from", "gs://bucket/zoo")
        assert_one_line(done, 7, "gs:// needs the package gcsfs")
        assert "try again" not in done.stderr  # it would not help
