"""Real peers on the same work: Anki's sync server (PyPI) and Fossil's tickets (Debian)."""

import json
import os
import pathlib
import subprocess
import sys

from machinery import Relay, Server, free_port, run

FIELDS = 11


class Anki:
    """Drives ankiclient.py in the virtual environment that holds Anki, against Anki's own sync
    server; a need is a note with eleven fields."""

    def __init__(self, python, work):
        self.python = python
        self.work = pathlib.Path(work)
        self.work.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.server = Server(
            [python, "-m", "anki.syncserver"],
            {"SYNC_USER1": "bench:bench", "SYNC_BASE": str(self.work / "server"),
             "SYNC_HOST": "127.0.0.1", "SYNC_PORT": str(self.port), "RUST_LOG": "error"},
            port=self.port)
        self.relay = Relay(self.port)

    def measure(self, request):
        """Runs one client; it tells figures, and asks for the bytes of each step."""
        client = subprocess.Popen(
            [self.python, pathlib.Path(__file__).with_name("ankiclient.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        request = {**request, "direct": f"http://127.0.0.1:{self.port}/",
                   "counted": f"http://127.0.0.1:{self.relay.port}/", "work": str(self.work)}
        client.stdin.write(json.dumps(request) + "\n")
        client.stdin.flush()
        figures = None
        for line in client.stdout:
            if line.startswith("bytes?"):
                client.stdin.write(json.dumps(self.relay.take()) + "\n")
                client.stdin.flush()
            elif line.startswith("{"):
                figures = json.loads(line)
        client.stdin.close()
        if client.wait(30) != 0 or figures is None:
            raise RuntimeError("Anki's client failed")
        return figures

    def close(self):
        self.relay.close()
        self.server.stop()


class Fossil:
    """Needs as tickets: eleven fields each, among them those that tickets have anyway."""

    # Tickets know ten of these; the value of the eleventh goes into the comment.
    COLUMNS = ["title", "type", "subsystem", "status", "private_contact", "comment", "severity",
               "foundin", "priority", "resolution", "version"]

    def __init__(self, work):
        self.work = pathlib.Path(work)
        self.work.mkdir(parents=True, exist_ok=True)
        self.environment = {**os.environ, "HOME": str(self.work), "FOSSIL_USER": "bench", "USER": "bench"}
        self.hub = self.work / "hub.fossil"
        self.device = self.work / "device.fossil"
        self._fossil("init", self.hub)
        self._fossil("user", "password", "bench", "bench", "-R", self.hub)
        self._fossil("user", "capabilities", "bench", "s", "-R", self.hub)
        port = free_port()
        self.server = Server(
            ["fossil", "server", "--port", port, "--localhost", self.hub], self.environment,
            port=port)
        self.relay = Relay(port)
        self.url = f"http://bench:bench@127.0.0.1:{self.relay.port}/"
        self._fossil("clone", self.url, self.device, "--once")
        self._fossil("remote", self.url, "-R", self.device)
        self.relay.take()

    def _fossil(self, *arguments):
        return run(["fossil", *arguments], env=self.environment, stdin=subprocess.DEVNULL,
                   cwd=self.work)

    def sync(self):
        self._fossil("sync", self.url, "--once", "-R", self.device)
        return sum(self.relay.take())

    def add(self, needs):
        for fields in needs:
            pairs = [part for pair in zip(self.COLUMNS, fields) for part in pair]
            pairs[pairs.index("comment") + 1] += " " + pairs[-1]
            self._fossil("ticket", "add", *pairs[:-2], "-R", self.device)

    def edit(self, edits):
        tickets = self._fossil("sql", "-R", self.device,
                               "SELECT tkt_uuid FROM ticket ORDER BY tkt_id").split()
        columns = {"1": "title", "2": "type", "4": "status", "5": "private_contact",
                   "6": "comment", "7": "severity", "8": "foundin", "40": "priority",
                   "41": "resolution", "42": "resolution"}
        for edit in edits:
            number, values = int(edit[0]), edit[1:]
            pairs = []
            for field, value in zip(values[::2], values[1::2]):
                pairs += [columns[field], value]
            ticket = tickets[number % len(tickets)].strip("'")
            self._fossil("ticket", "set", ticket, *pairs, "-R", self.device)

    def close(self):
        self.relay.close()
        self.server.stop()


# What the committed report was made with.
ANKI_VERSION = "26.9.3"


def write_anki_environment(python_folder):
    """A virtual environment with Anki, made once and kept beside the build."""
    python = pathlib.Path(python_folder) / "bin" / "python"
    if subprocess.run([python, "-c", "import anki.collection"], capture_output=True).returncode \
            if python.exists() else True:
        print("bench: installing Anki from PyPI", file=sys.stderr)
        run([sys.executable, "-m", "venv", python_folder])
        run([python, "-m", "pip", "install", "-q", f"anki=={ANKI_VERSION}"])
    return python


def peer_versions(python):
    anki = run([python, "-c", "from importlib.metadata import version; print(version('anki'))"])
    return f"Anki {anki.strip()}, Fossil {run(['fossil', 'version']).split()[4]}"
