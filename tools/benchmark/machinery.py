"""Processes, byte counting and small statistics for tools/bench. Loopback only."""

import json
import os
import pathlib
import re
import select
import signal
import socket
import ssl
import statistics
import subprocess
import threading
import time

COMMAND_SECONDS_MAX = 600


def run(command, **options):
    """Runs a command to its end; returns its standard output."""
    options.setdefault("timeout", COMMAND_SECONDS_MAX)
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )
    if done.returncode != 0:
        name = pathlib.Path(str(command[0])).name
        raise RuntimeError(
            f"{name} {' '.join(map(str, command[1:3]))}… ended with {done.returncode}: "
            + done.stderr.decode(errors="replace")[-600:]
        )
    return done.stdout.decode(errors="replace")


class Listener:
    """Serves connections to a free port of loopback, each on a thread of its own."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(near,), daemon=True).start()

    def close(self):
        # Wakes the thread that accepts.
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()


class Relay(Listener):
    """Passes TCP connections on to a port and counts their payload both ways: what every side is
    measured with, whatever it counts itself."""

    def __init__(self, port):
        self.target = port
        self.up = self.down = self.connections = 0
        self.lock = threading.Lock()
        super().__init__()

    def serve(self, near):
        try:
            far = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            near.close()
            return
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.lock:
            self.connections += 1
        open_ends = {near, far}
        with near, far:
            while open_ends:
                readable, _, _ = select.select(list(open_ends), [], [], 60)
                if not readable:
                    return
                for source in readable:
                    sink = far if source is near else near
                    try:
                        data = source.recv(1 << 16)
                        if data:
                            # Counted before it is passed on: whoever has an answer may ask.
                            with self.lock:
                                if source is near:
                                    self.up += len(data)
                                else:
                                    self.down += len(data)
                            sink.sendall(data)
                        else:
                            open_ends.discard(source)
                            sink.shutdown(socket.SHUT_WR)
                    except OSError:
                        return

    def take(self):
        """The bytes since the last call, once the line has gone quiet."""
        before = -1
        while before != self.up + self.down:
            before = self.up + self.down
            time.sleep(0.05)
        with self.lock:
            taken = (self.up, self.down)
            self.up = self.down = 0
        return taken


class TLSEcho(Listener):
    """The floor over TLS: answers one request a connection with one header and no body."""

    def __init__(self, certificate, key):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        super().__init__()

    def serve(self, near):
        with near, self.context.wrap_socket(near, server_side=True) as stream:
            stream.settimeout(10)
            request = b""
            while b"\r\n\r\n" not in request:
                request += stream.recv(1 << 16)
            head, body = request.split(b"\r\n\r\n", 1)
            length = int(re.search(rb"(?i)content-length: (\d+)", head).group(1))
            while len(body) < length:
                body += stream.recv(1 << 16)
            stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            # The other end closes, as it does with the server.
            stream.recv(1)


class Server:
    """A server that runs while a block does."""

    def __init__(self, command, environment=None, port=None, ready=r"http[s]?://127\.0\.0\.1:(\d+)",
                 cwd=None):
        self.log = open(pathlib.Path(os.environ["BENCH_WORK"]) / f"server-{time.monotonic_ns()}.log", "w+")
        self.process = subprocess.Popen(
            [str(part) for part in command], stdout=self.log, stderr=self.log,
            env={**os.environ, **(environment or {})}, cwd=cwd,
        )
        self.port = port
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if port is not None:
                try:
                    socket.create_connection(("127.0.0.1", port), timeout=1).close()
                    return
                except OSError:
                    pass
            else:
                found = re.search(ready, pathlib.Path(self.log.name).read_text())
                if found:
                    self.port = int(found.group(1))
                    return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        raise RuntimeError(
            f"{pathlib.Path(str(command[0])).name} did not start: "
            + pathlib.Path(self.log.name).read_text()[-600:])

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def memory(self):
        """MB resident: now, and at the peak."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        kilobytes = {
            key: int(re.search(rf"{key}:\s+(\d+)", status).group(1)) for key in ("VmRSS", "VmHWM")}
        return kilobytes["VmRSS"] * 1024 / 1e6, kilobytes["VmHWM"] * 1024 / 1e6

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def median(values):
    return statistics.median(values) if values else None


class Results:
    """Every figure of every round, by name."""

    def __init__(self):
        self.values = {}
        self.notes = {}

    def add(self, name, value):
        self.values.setdefault(name, []).append(value)

    def get(self, name):
        return median(self.values.get(name, []))

    def ratios(self, above, below):
        """Each round's own, so that a slow hour hits both sides."""
        pairs = list(zip(self.values.get(above, []), self.values.get(below, [])))
        return [a / b for a, b in pairs if b]

    def ratio(self, above, below):
        return median(self.ratios(above, below))

    def save(self, path):
        pathlib.Path(path).write_text(
            json.dumps({"values": self.values, "notes": self.notes}, indent=1, ensure_ascii=False))
