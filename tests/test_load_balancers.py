"""HAProxy in front of the proxy and behind it, and nginx behind it: each tells or is told who the client is."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.peers import PATIENCE_S
from tests.running import Faultproxy
from tests.servers import program, running, unused_port

HAPROXY = """
defaults
  mode {mode}
  timeout connect 5s
  timeout client 20s
  timeout server 20s
listen it
  bind {bind}
  {what}
"""
NGINX = """
daemon off; pid {folder}/nginx.pid; error_log stderr; events {{}}
http {{
  access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port} proxy_protocol;
    return 200 "$proxy_protocol_addr:$proxy_protocol_port $proxy_protocol_server_addr:$proxy_protocol_server_port";
  }}
}}
"""
SAYS_WHO = 'http-request return status 200 content-type text/plain lf-string "%[src]:%[src_port] %[dst]:%[dst_port]"'


@contextmanager
def haproxy(folder: Path, mode: str, bind: str, what: str) -> Iterator[str]:
    """HAProxy with one listener; its port."""
    port = unused_port()
    file = folder / f"haproxy-{port}.cfg"
    file.write_text(HAPROXY.format(mode=mode, bind=bind.format(port=port), what=what))
    with running([program("haproxy"), "-f", str(file), "-db"], listens(port)):
        yield port


@contextmanager
def nginx(folder: Path) -> Iterator[str]:
    """nginx that asks for a header; its port."""
    port = unused_port()
    file = folder / "nginx.conf"
    file.write_text(NGINX.format(folder=folder, port=port))
    with running([program("nginx"), "-c", str(file), "-p", str(folder)], listens(port)):
        yield port


def listens(port: str) -> list[str]:
    """What ends well once somebody listens."""
    return ["bash", "-c", f"exec 3<>/dev/tcp/127.0.0.1/{port}"]


def get(port: int, path: str = "/") -> tuple[str, str]:
    """The body of a page, empty if there is none, and the address of the socket that it was asked for with."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as client:
        host, own = client.getsockname()
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert not answer or head.startswith(b"HTTP/1.1 200"), answer
    return body.decode(), f"{host}:{own}"


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("server", ["haproxy", "nginx"])
def test_the_server_is_told(tmp_path: Path, version: str, server: str) -> None:
    """Who the client is, and where it has connected to, as the server itself reads it."""
    behind = (
        haproxy(tmp_path, "http", "127.0.0.1:{port} accept-proxy", SAYS_WHO) if server == "haproxy" else nginx(tmp_path)
    )
    with behind as port:
        proxy = {"listen": "127.0.0.1:0", "upstream": f"127.0.0.1:{port}", "send_proxy": version}
        with Faultproxy(tmp_path, {"proxies": {"p": proxy}}) as faultproxy:
            listen = faultproxy.address("p")[1]
            page, own = get(listen)
            assert page == f"{own} 127.0.0.1:{listen}"


@pytest.mark.parametrize(
    "sends", ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl-cn", "send-proxy-v2 proxy-v2-options crc32c,authority"]
)
def test_haproxy_at_both_ends(tmp_path: Path, sends: str) -> None:
    """What the one in front says, with its extensions, reaches the rules, the log and the one behind."""
    reset = {"name": "reset", "when": {"client": "127.0.0.1", "starts_with": "GET /reset"}, "reset": {"to": "client"}}
    with haproxy(tmp_path, "http", "127.0.0.1:{port} accept-proxy", SAYS_WHO) as behind:
        proxy = {
            "listen": "127.0.0.2:0",
            "upstream": f"127.0.0.1:{behind}",
            "accept_proxy": True,
            "send_proxy": "v2",
            "rules": [reset],
        }
        with Faultproxy(tmp_path, {"proxies": {"p": proxy}}) as faultproxy:
            host, listen = faultproxy.address("p")
            # From 127.0.0.3: not by that address do the rules know the client.
            with haproxy(
                tmp_path, "tcp", "127.0.0.1:{port}", f"server it {host}:{listen} source 127.0.0.3 {sends}"
            ) as front:
                page, own = get(int(front))
                assert page == f"{own} 127.0.0.1:{front}"
                faultproxy.wait_for("connection.opened", client=own)
                assert get(int(front), "/reset")[0] == ""
                faultproxy.wait_for("fault.injected", rule="reset")


def test_haproxys_health_checks(tmp_path: Path) -> None:
    """It says LOCAL in its own: a connection of its own, from its own address; plain checks have no header, and fail."""
    with haproxy(tmp_path, "http", "127.0.0.1:{port} accept-proxy", SAYS_WHO) as behind:
        proxy = {"listen": "127.0.0.2:0", "upstream": f"127.0.0.1:{behind}", "accept_proxy": True, "send_proxy": "v2"}
        with Faultproxy(tmp_path, {"proxies": {"p": proxy}}) as faultproxy:
            host, listen = faultproxy.address("p")
            check = f"server it {host}:{listen} source 127.0.0.3 check inter 100ms send-proxy-v2 check-send-proxy"
            with haproxy(tmp_path, "tcp", "127.0.0.1:{port}", check):
                line = faultproxy.wait_for("connection.opened", 3)
                assert line["client"].startswith("127.0.0.3:")
            assert not faultproxy.seen("proxy_header.rejected")
