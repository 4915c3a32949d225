"""How polite and how patient: what a server sees, and when it is asked again."""

from __future__ import annotations

import time

import pytest

from bddzoo.artifacts import NetworkPolicy
from bddzoo.errors import NetworkError
from tests.artifacts.zoo import make_bytes, make_fetcher, make_model
from tests.support.server import Fault, Server


class TestManners:
    def test_says_who_it_is_and_asks_for_plain_bytes(self, tmp_path):
        with Server() as server:
            make_fetcher(tmp_path).fetch(make_model(b"x", sources=(server.put("x.pth", b"x"),)))
            headers = server.requests[0].headers
        assert headers["User-Agent"].startswith("bddzoo/")
        assert headers["Accept-Encoding"] == "identity"

    def test_proxy_and_netrc_of_the_environment(self, tmp_path, monkeypatch):
        netrc = tmp_path / "netrc"
        netrc.write_text("machine zoo.invalid login me password secret\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        with Server() as proxy:
            monkeypatch.setenv("http_proxy", proxy.url)
            proxy.put("x.pth", b"x")
            result = make_fetcher(tmp_path).fetch(make_model(b"x", sources=("http://zoo.invalid/x.pth",)))
            assert result.path.read_bytes() == b"x"
            assert proxy.requests[0].headers["Authorization"] == "Basic bWU6c2VjcmV0"

    def test_password_in_a_source_is_not_shown_or_kept(self, tmp_path):
        with Server() as server:
            base = server.url.replace("://", "://me:secret@")
            server.put("net_a.pth", b"x" * 5000)
            server.faults = [Fault("cut", after=3000, times=2)]
            with pytest.raises(NetworkError) as caught:
                make_fetcher(tmp_path, extra_sources=[base], policy=NetworkPolicy(attempts=1)).fetch(
                    make_model(b"y")
                )
            assert "secret" not in str(caught.value)
            result = make_fetcher(tmp_path, extra_sources=[base]).fetch(make_model(None))
            assert server.requests[-1].headers["Authorization"] == "Basic bWU6c2VjcmV0"
        assert result.source == server.url.replace("://", "://***@") + "/net_a.pth"
        assert not any(b"secret" in p.read_bytes() for p in (tmp_path / "cache").rglob("*") if p.is_file())

    def test_retry_after_is_waited_for_unless_it_is_long(self, tmp_path):
        with Server() as server:
            url = server.put("x.pth", b"x")
            server.faults = [Fault("429", delay=1, times=1)]
            start = time.monotonic()
            make_fetcher(tmp_path).fetch(make_model(b"x", sources=(url,)))
            assert time.monotonic() - start >= 1
            server.faults = [Fault("429", delay=3600)]
            other = server.put("y.pth", b"x")
            server.faults[0].pattern = "x.pth"
            result = make_fetcher(tmp_path, force=True).fetch(make_model(b"x", sources=(url, other)))
            assert result.source == other

    def test_counter_resets_when_bytes_arrive(self, tmp_path):
        data = make_bytes(50_000)
        with Server() as server:
            server.faults = [Fault("cut", after=3000)]
            make_fetcher(tmp_path).fetch(make_model(data, sources=(server.put("x.pth", data),)))
            assert len(server.requests) == 17, "many more tries than are allowed without progress"

    def test_no_progress_for_ever_ends(self, tmp_path):
        data = make_bytes(50_000)
        with Server() as server:
            server.faults = [Fault("cut", after=3000), Fault("ignore-range")]
            model = make_model(data, sources=(server.put("x.pth", data),))
            with pytest.raises(Exception, match="closed after 3000 of 50000 bytes"):
                make_fetcher(tmp_path).fetch(model)
            assert len(server.requests) < 12
