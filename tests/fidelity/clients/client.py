"""A plain client in Python; protocol.md says what it reads and prints."""

import socket
import sys
import time


def main() -> None:
    for line in sys.stdin:
        sys.stdout.write("\t".join(f"{key}={value}" for key, value in exchange(*line.split()).items()) + "\n")
        sys.stdout.flush()


def exchange(host: str, port: str, verb: str, count: str, *steps: str) -> dict[str, object]:
    said: dict[str, object] = {}
    start = time.monotonic()
    with socket.socket() as sock:
        for step in steps:
            name, _, option = step.partition(":")
            try:
                if name == "patience":
                    sock.settimeout(int(option) / 1000)
                elif name == "connect":
                    sock.connect((host, int(port)))
                    said[name] = "ok"
                elif name == "send":
                    sock.sendall(f"{verb} {count}\n".encode())
                    said[name] = "ok"
                elif name == "shut":
                    sock.shutdown(socket.SHUT_WR)
                    said[name] = "ok"
                elif name == "read":
                    read(sock, said, start)
                    said[name] = "EOF"
                elif name == "write":
                    for written in range(int(option)):
                        said["written"] = written
                        time.sleep(0.02)
                        sock.sendall(b"more\n")
                    said[name] = "ok"
            except OSError as error:
                said[name] = f"{type(error).__name__}: {error}"
                break
    return said | {"end_ms": elapsed_ms(start)}


def read(sock: socket.socket, said: dict[str, object], start: float) -> None:
    changed: list[int] = []
    received = 0
    try:
        while data := sock.recv(65536):
            said["last_ms"] = elapsed_ms(start)
            said.setdefault("first_ms", said["last_ms"])
            changed += [offset for offset, byte in enumerate(data, received) if byte != offset % 251]
            received += len(data)
    finally:
        said |= {"bytes": received, "changed": ",".join(map(str, changed[:9]))}


def elapsed_ms(start: float) -> int:
    return int((time.monotonic() - start) * 1000)


main()
