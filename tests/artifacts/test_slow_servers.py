"""Servers that send a byte now and then, where no read ever times out: each wait has an end of its own."""

from __future__ import annotations

import subprocess
import threading
import time
from dataclasses import replace

import pytest

from bddzoo.artifacts import NetworkPolicy
from bddzoo.artifacts.http import Deadline
from bddzoo.artifacts.probe import Prober
from bddzoo.artifacts.streams import Stopped
from bddzoo.errors import IntegrityError, NetworkError
from tests.artifacts.registry import weights, write_registry
from tests.artifacts.zoo import leftovers, make_bytes, make_fetcher, make_model
from tests.cli.command import assert_one_line, bddzoo, interrupt
from tests.support.proxy import TunnelProxy
from tests.support.server import Fault, Server

DATA = make_bytes(200_000)
# A byte each 50 ms is never too late for `read_s`; the header of an answer takes ten seconds so.
DRIP = 0.05
SHORT = NetworkPolicy(
    connect_s=5, read_s=5, header_s=0.4, stall_s=5, attempts=2, backoff_s=0.01, backoff_max_s=0.02
)
PATIENT = NetworkPolicy(connect_s=600, read_s=600, header_s=600, stall_s=600)
HEADER = "stalled: its header was not complete after 0.4 s"


@pytest.fixture
def secure(tmp_path, monkeypatch):
    """A server that speaks TLS, with a certificate that the client believes."""
    path = tmp_path / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", path, "-out", tmp_path / "only.pem", "-days", "2", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + (tmp_path / "only.pem").read_text())
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "only.pem"))
    with Server(certificate=path) as server:
        yield server


def test_header_that_drips_is_a_stall(server, tmp_path):
    model = make_model(DATA, sources=(server.put("net_a.pth", DATA),))
    server.faults = [Fault("drip-header", delay=DRIP)]
    with pytest.raises(NetworkError, match=rf"{HEADER} \(2 times\)") as found:
        make_fetcher(tmp_path, policy=SHORT).fetch(model)
    assert "\n" not in found.value.message
    assert len(server.requests) == 2


def test_next_try_goes_on_where_the_bytes_ended(server, tmp_path):
    model = make_model(DATA, sources=(server.put("net_a.pth", DATA),))
    server.faults = [Fault("cut", after=120_000, times=1)]
    fetcher = make_fetcher(tmp_path, policy=replace(SHORT, attempts=3))
    original, seen = server.take, []

    def take(path):
        # The second answer drips: the one that is asked for the rest.
        seen.append(path)
        server.faults += [Fault("drip-header", delay=DRIP, times=1)] if len(seen) == 2 else []
        return original(path)

    server.take = take
    assert fetcher.fetch(model, verify=True).path.read_bytes() == DATA
    assert [r.headers.get("Range") for r in server.requests] == [None, "bytes=120000-", "bytes=120000-"]
    assert not leftovers(fetcher.cache)


def test_behind_tls(secure, tmp_path):
    model = make_model(DATA, sources=(secure.put("net_a.pth", DATA),))
    secure.faults = [Fault("drip-header", delay=DRIP, times=2)]
    with pytest.raises(NetworkError, match=HEADER):
        make_fetcher(tmp_path, policy=SHORT).fetch(model)
    result = make_fetcher(tmp_path, policy=SHORT).fetch(model, verify=True)
    assert result.path.read_bytes() == DATA
    assert result.source.startswith("https://")


def test_behind_a_tunnel(secure, tmp_path, monkeypatch):
    model = make_model(DATA, sources=(secure.put("net_a.pth", DATA),))
    secure.faults = [Fault("drip-header", delay=DRIP, times=2)]
    with TunnelProxy() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(NetworkError, match=HEADER):
            make_fetcher(tmp_path, policy=SHORT).fetch(model)
        assert make_fetcher(tmp_path, policy=SHORT).fetch(model, verify=True).path.read_bytes() == DATA
        assert proxy.asked[-1] == f"127.0.0.1:{secure.port}"


def test_proxy_that_drips(secure, tmp_path, monkeypatch):
    model = make_model(DATA, sources=(secure.put("net_a.pth", DATA),))
    with TunnelProxy(delay=DRIP) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(NetworkError, match=r"stalled: the proxy's answer was not complete after 0\.4 s"):
            make_fetcher(tmp_path, policy=SHORT).fetch(model)
        assert not secure.requests
        proxy.delay = 0
        assert make_fetcher(tmp_path, policy=SHORT).fetch(model, verify=True).path.read_bytes() == DATA


def test_plain_proxy(server, tmp_path, monkeypatch):
    server.put("net_a.pth", DATA)
    server.faults = [Fault("drip-header", delay=DRIP)]
    monkeypatch.setenv("http_proxy", server.url)
    model = make_model(DATA, sources=("http://zoo.invalid/net_a.pth",))
    with pytest.raises(NetworkError, match=HEADER):
        make_fetcher(tmp_path, policy=SHORT).fetch(model)


def test_framing_that_drips_is_a_stall(server, tmp_path):
    """The size of a chunk comes digit by digit, and never one byte of the file."""
    model = make_model(DATA, sources=(server.put("net_a.pth", DATA),))
    server.faults = [Fault("drip-framing", after=100_000, delay=DRIP, times=1)]
    server.faults += [Fault("drip-framing", after=1, delay=DRIP)]
    manners = replace(SHORT, stall_s=0.4, stall_bytes=1)
    with pytest.raises(NetworkError, match=r"stalled: no bytes in 0\.4 s \(2 times\)"):
        make_fetcher(tmp_path, policy=manners).fetch(model)
    assert [r.headers.get("Range") for r in server.requests] == [None, "bytes=100000-"]
    server.faults = []
    assert make_fetcher(tmp_path, policy=manners).fetch(model, verify=True).path.read_bytes() == DATA


def test_page_behind_a_redirect_is_not_waited_for(server, tmp_path):
    model = make_model(DATA, sources=(server.put("net_a.pth", DATA),))
    server.faults = [Fault("redirect-page")]
    result = make_fetcher(tmp_path, policy=PATIENT).fetch(model, verify=True)
    assert result.path.read_bytes() == DATA
    assert server.paths() == ["/net_a.pth", "/redirected/net_a.pth"]
    assert server.open_now == 0


def test_published_digest_that_drips_is_none(server, tmp_path):
    url = server.put("net_a.pth", DATA)
    server.put("net_a.pth.md5", b"0" * 32)
    server.faults = [Fault("drip-header", delay=DRIP, pattern=r"\.md5")]
    model = make_model(None, sources=(url,))
    assert make_fetcher(tmp_path, policy=SHORT).fetch(model).digest_state == "observed"
    with pytest.raises(IntegrityError, match="cannot be verified"):
        make_fetcher(tmp_path, policy=SHORT).fetch(model, verify=True)


def test_probes_say_so_and_the_others_go_on(server):
    slow, good = server.put("slow.pth", DATA), server.put("good.pth", DATA)
    server.faults = [Fault("drip-header", delay=DRIP, pattern="slow")]
    found = {p.url: p for p in Prober(jobs=1, policy=SHORT).probe_all([slow, good])}
    assert (found[slow].state, found[slow].note) == ("unreachable", "its header was not complete after 0.4 s")
    assert found[good].state == "alive"


def test_health_names_it_in_one_line(server, tmp_path):
    slow = server.put("net_a.pth", DATA)
    write_registry(tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", slow)})
    server.faults = [Fault("drip-header", delay=DRIP, pattern="net_a")]
    done = bddzoo("registry", "health", "-v", "--timeout", "0.3", "--registry", tmp_path / "registry.yaml")
    assert f"unreachable: {slow} its header was not complete after 0.6 s" in done.stderr.splitlines()
    done = bddzoo(
        "fetch", "net_a", "--timeout", "0.3", "--retries", "1",
        "--registry", tmp_path / "registry.yaml", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert_one_line(done, 7, f"{slow}: stalled: its header was not complete after 0.6 s (2 times)")


class TestStopping:
    """What waits for a server for ever ends when the user wants to stop."""

    def stop(self, fetcher, model, until) -> Exception | None:
        """Fetch in a thread, abort as soon as `until` holds, and give what the thread ended with."""
        ended = []

        def work():
            try:
                fetcher.fetch(model)
                ended.append(None)
            except BaseException as error:
                ended.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        while not until():
            assert thread.is_alive(), ended
            time.sleep(0.01)
        fetcher.abort()
        thread.join(30)
        assert not thread.is_alive(), "it still waits"
        return ended[0]

    def test_in_a_header(self, server, tmp_path):
        model = make_model(DATA, sources=(server.put("net_a.pth", DATA),))
        server.faults = [Fault("drip-header", delay=DRIP)]
        fetcher = make_fetcher(tmp_path, policy=PATIENT)
        assert isinstance(self.stop(fetcher, model, lambda: server.requests), Stopped)
        server.faults = []
        assert make_fetcher(tmp_path).fetch(model, verify=True).path.read_bytes() == DATA
        assert not leftovers(fetcher.cache)

    def test_in_a_body_without_length(self, server, tmp_path):
        """A connection that is shut down looks like the end of such a file, and must not be taken for it."""
        model = make_model(None, sources=(server.put("net_a.bin", DATA),), name="net_a.bin")
        server.faults = [Fault("no-length"), Fault("drip", chunk=5000, delay=DRIP)]
        fetcher = make_fetcher(tmp_path, policy=PATIENT)

        def begun() -> bool:
            return any(p.stat().st_size >= 20_000 for p in fetcher.cache.root.rglob("*.part"))

        assert isinstance(self.stop(fetcher, model, begun), Stopped)
        assert list(fetcher.cache.entries()) == []
        assert not list((fetcher.cache.root / "objects").glob("*"))

    @pytest.mark.parametrize(
        "command", ["fetch net_a --cache {0}/cache --timeout 600", "registry health --timeout 600"]
    )
    def test_ctrl_c(self, server, tmp_path, command):
        registry = write_registry(
            tmp_path / "registry.yaml", {"net_a": weights("net_a.pth", server.put("net_a.pth", DATA))}
        )
        server.faults = [Fault("drip-header", delay=DRIP)]
        words = [*command.format(tmp_path).split(), "--registry", str(registry)]
        done = interrupt(words, lambda: server.requests)
        assert_one_line(done, 130, "interrupted")
        assert not done.stdout


def test_deadline_ends_what_is_due_and_nothing_else():
    stop, ended = threading.Event(), threading.Event()
    with (
        Deadline(lambda: None, stop) as calm,
        Deadline(ended.set, stop) as due,
        Deadline(lambda: None, stop) as resting,
    ):
        calm.start(600)
        resting.start(0.2)
        resting.end()
        due.start(0.2)
        assert ended.wait(30)
        assert (calm.passed, due.passed, resting.passed) == (False, True, False)
    assert not any(t.name == "deadline" and not t.daemon for t in threading.enumerate())
