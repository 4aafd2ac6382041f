"""Runs all measurements of tools/bench, round by round, and hands the figures to report.py."""

import argparse
import functools
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zlib

import report
from machinery import Relay, Results, Server, TLSEcho, run
from peers import Anki, Fossil, peer_versions, write_anki_environment

GRID = "152921100001001"
FIRST_PUSH_NEEDS = 1000
NEED_ADD = ["need", "add", "东头路灯不亮，晚上老人出门不安全", "--category", "lighting", "--grid", GRID,
            "--resident", "王秀英", "--phone", "13900000001", "--address", "平房8排"]
# Two devices a grid, so that some of the edits are concurrent everywhere; the first has three.
COUNTY_GRIDS = 363
# Syncs at a time.
COUNTY_CLIENTS = 8
COUNTY_DEVICES = 2 * COUNTY_GRIDS + 1
# As Swift writes them before each of their functions: the length of the name, and the name.
OUR_MODULES = tuple(
    f"$s{len(name)}{name}" for name in
    ["SyncCore", "NeedModel", "WireFormat", "SQLiteStore", "DeviceJournal", "HubLedger",
     "DeviceSync", "TerminalUI", "waystation"])
# The parts that figures are of, as callgrind finds them; what stands around them is not counted.
HUBS_SIDE = "$s5bench4LinkC14measuredAnswer*"
CELLS_INSERTED = "$s5bench8RawCellsC6insert_*"
CELLS_EDITED = "$s5bench8RawCellsC6update_*"
NEED_ADDED = "$s13DeviceJournal0B0C7addNeed_*Error*YKF"
NEED_INSERTED = "$s5bench8RawCellsC10insertNeed_*"
FRESH_PULL = "$s10DeviceSync0B6ClientC6enroll_*"


class Bench:
    def __init__(self, arguments, work):
        self.quick = arguments.quick
        self.binaries = pathlib.Path(arguments.binaries)
        self.work = work
        self.results = Results()
        self.python = arguments.anki
        self.anki = self.fossil = None
        self.started = time.monotonic()
        self.slow = work / "slow-sync.so"
        self.timed = work / "timed"
        here = pathlib.Path(__file__).parent
        run(["cc", "-O2", "-shared", "-fPIC", "-o", self.slow, here / "slow-sync.c", "-ldl"])
        run(["cc", "-O2", "-o", self.timed, here / "timed.c"])
        # Valgrind of Debian 12 stumbles over Swift's debug information; names are enough.
        self.plain = work / "bench-without-debug-information"
        run(["strip", "--strip-debug", "-o", self.plain, self.binaries / "bench"])
        self.files = 0
        self.rounds = self.size(2, 5)

    # Small helpers

    def size(self, quick, full):
        return quick if self.quick else full

    def path(self, name):
        self.files += 1
        return self.work / f"{self.files}-{name}"

    def tool(self, *arguments, environment=None):
        out = run([self.binaries / "bench", *arguments],
                  env={**os.environ, **(environment or {})})
        return json.loads(out) if out.startswith("{") else out

    def ledger(self, needs, devices, grids, edited=0, free=False, frame=1000):
        ledger, states = self.path("ledger.sqlite"), self.path("devices")
        figures = self.tool("seed", ledger, "--devices", states, "--needs", needs, "--count",
                            devices, "--grids", grids, "--edited", edited, "--frame", frame,
                            *(["--free"] if free else []))
        return ledger, states, figures

    def serve(self, ledger, *arguments, environment=None):
        return Server([self.binaries / "waystation-server", "serve", "--ledger", ledger,
                       "--listen", "127.0.0.1:0", *arguments], environment)

    def invite(self, ledger, name):
        return run([self.binaries / "waystation-server", "invite", "--ledger", ledger, "--role",
                    "worker", "--territory", GRID, "--name", name]).split()[-1]

    def remove(self, *paths):
        for path in paths:
            for suffix in ("", "-wal", "-shm", ".lock"):
                pathlib.Path(f"{path}{suffix}").unlink(missing_ok=True)

    def say(self, text):
        print(f"bench: {time.monotonic() - self.started:4.0f} s  {text}", file=sys.stderr)

    # Bytes

    def bytes(self):
        """The same in every round, as the workload is seeded; so it runs once."""
        add = self.results.add
        for text, flags in (("phrases", []), ("free", ["--free"])):
            ledger, states, _ = self.ledger(0, 1, 1, free=text == "free")
            with self.serve(ledger) as server:
                relay = Relay(server.port)
                url = f"http://127.0.0.1:{relay.port}"
                common = ["--devices", states, "--url", url, *flags]
                # A device is enrolled for some time: its scope is known, its cursor set.
                self.tool("push", *common)
                relay.take()
                pushed = self.tool("push", *common, "--creates", FIRST_PUSH_NEEDS)
                add(f"push_bytes_{text}", sum(relay.take()) / FIRST_PUSH_NEEDS)
                for part in ("frame_bytes_up", "frame_bytes_down"):
                    add(f"push_{part}_{text}", pushed[part] / FIRST_PUSH_NEEDS)
                add(f"push_round_trips_{text}", pushed["round_trips"])
                if text == "phrases":
                    self.small_bytes(common, relay, states)
                relay.close()
            self.remove(ledger, states)
            content = self.tool("workload", "--needs", FIRST_PUSH_NEEDS, *flags).encode()
            add(f"content_bytes_{text}", len(content) / FIRST_PUSH_NEEDS)
            add(f"zlib_bytes_{text}", len(zlib.compress(content, 9)) / FIRST_PUSH_NEEDS)
            packed = subprocess.run(["zstd", "-19", "-c"], input=content, capture_output=True,
                                    check=True).stdout
            add(f"zstd_bytes_{text}", len(packed) / FIRST_PUSH_NEEDS)
        self.other_edit_bytes()
        self.tls_bytes()

    def small_bytes(self, common, relay, states):
        add = self.results.add
        edits, empty = self.path("edits"), self.path("empty")
        frames = {"edit": (edits, ["--edits", 10]), "empty": (empty, [])}
        with Server([self.binaries / "bench", "echo"]) as echo:
            bare = Relay(echo.port)
            for name, (file, flags) in frames.items():
                told = self.tool("frame", file, "--devices", states, *flags)
                add(f"{name}_curl_frame_bytes", told["bytes"])
                run(["curl", "-sS", "-H", "Accept:", "-H", "User-Agent:", "-H",
                     "Content-Type: a/b", "--data-binary", f"@{file}",
                     f"http://127.0.0.1:{bare.port}/v1/sync"])
                add(f"{name}_curl_bytes", sum(bare.take()))
            bare.close()
        pushed = self.tool("push", *common, "--edits", 10)
        add("edit_bytes", sum(relay.take()))
        add("edit_frame_bytes_up", pushed["frame_bytes_up"])
        add("edit_frame_bytes_down", pushed["frame_bytes_down"])
        add("edit_round_trips", pushed["round_trips"])
        pushed = self.tool("push", *common)
        add("empty_bytes", sum(relay.take()))
        add("empty_frame_bytes_up", pushed["frame_bytes_up"])
        add("empty_frame_bytes_down", pushed["frame_bytes_down"])

    def other_edit_bytes(self):
        """Each in a ledger of its own: nothing was edited there before."""
        for manner, flag in (("at_once", "--at-once"), ("mixed", "--mixed")):
            ledger, states, _ = self.ledger(FIRST_PUSH_NEEDS, 1, 1)
            with self.serve(ledger) as server:
                relay = Relay(server.port)
                push = ["push", "--devices", states, "--url", f"http://127.0.0.1:{relay.port}"]
                # The first change since the server started opens its term, and the answer says so.
                self.tool(*push, "--creates", 1)
                relay.take()
                self.tool(*push, "--edits", 10, flag)
                self.results.add(f"edit_{manner}_bytes", sum(relay.take()))
                relay.close()
            self.remove(ledger, states)

    def tls_bytes(self):
        """The real client against a certificate of the server's own, on a new connection."""
        key, certificate = self.path("key.pem"), self.path("certificate.pem")
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1", "-addext",
             "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate])
        ledger, states, _ = self.ledger(0, 1, 1)
        with self.serve(ledger, "--tls-certificate", certificate, "--tls-key", key) as server:
            relay = Relay(server.port)
            home = {**os.environ, "WAYSTATION_HOME": str(self.path("home"))}
            program = self.binaries / "waystation"
            run([program, "enroll", f"https://127.0.0.1:{relay.port}", self.invite(ledger, "tls")],
                env=home)
            run([program, "sync"], env=home)
            relay.take()
            run([program, "sync"], env=home)
            self.results.add("empty_tls_bytes", sum(relay.take()))
            relay.close()
        frame = self.path("empty")
        self.tool("frame", frame, "--devices", states)
        echo = TLSEcho(certificate, key)
        relay = Relay(echo.port)
        run(["curl", "-sS", "--tlsv1.3", "--http1.1", "--no-alpn", "--cacert", certificate, "-H",
             "Accept:", "-H", "User-Agent:", "-H", "Content-Type: a/b", "--data-binary",
             f"@{frame}", f"https://127.0.0.1:{relay.port}/v1/sync", "-o", os.devnull])
        self.results.add("empty_tls_curl_bytes", sum(relay.take()))
        relay.close()
        echo.close()
        self.remove(ledger, states)

    # Merging

    def merges(self):
        add = self.results.add
        frames = self.size(5, 20)
        for layout in ("clustered", "indexed"):
            database = self.path("cells.sqlite")
            figures = self.tool("cells", database, "--needs", frames * 1000, "--layout", layout)
            add(f"cells_{layout}_per_second", figures["needs_per_second"])
            self.remove(database)
        ledger, states, _ = self.ledger(0, 4, COUNTY_GRIDS)
        with self.serve(ledger) as server:
            before = server.cpu_seconds()
            figures = self.tool("merge", "--devices", states, "--url", server.url, "--frames",
                                frames)
            add("merge_per_second", figures["needs_per_second"])
            add("merge_cpu_share", (server.cpu_seconds() - before)
                / (figures["milliseconds"] / 1000))
        self.remove(ledger, states)
        ledger, states, _ = self.ledger(0, 4, COUNTY_GRIDS)
        with self.serve(ledger) as server:
            figures = self.tool("merge", "--devices", states, "--url", server.url, "--frames",
                                max(2, frames // 3), "--clients", 4)
            add("merge4_per_second", figures["needs_per_second"])
        self.remove(ledger, states)

    def merges_in_turn(self):
        """Frames of many devices, whose needs are of the same days: no ids in order."""
        writers = self.size(5, 100)
        self.results.notes["writers"] = writers
        ledger, states, _ = self.ledger(0, 1 + writers, COUNTY_GRIDS)
        with self.serve(ledger) as server:
            figures = self.tool("merge", "--devices", states, "--url", server.url, "--frames",
                                writers, "--writers", writers)
            self.results.add("merge_in_turn_per_second", figures["needs_per_second"])
        database = self.path("cells.sqlite")
        figures = self.tool("cells", database, "--needs", writers * 1000, "--writers", writers)
        self.results.add("cells_in_turn_per_second", figures["needs_per_second"])
        self.remove(ledger, states, database)

    def edits(self):
        add = self.results.add
        needs = self.size(3000, 20000)
        for edits in (600, 110):
            pushes = self.size(4, 15) if edits == 600 else self.size(8, 40)
            database = self.path("cells.sqlite")
            figures = self.tool("cells", database, "--needs", needs, "--pushes", pushes,
                                "--edits", edits)
            add(f"cells_edits_{edits}", figures["edits_per_second"])
            self.remove(database)
            ledger, states, _ = self.ledger(needs, 2, 1)
            with self.serve(ledger) as server:
                figures = self.tool("edits", "--devices", states, "--url", server.url, "--pushes",
                                    pushes, "--edits", edits)
                add(f"edits_{edits}", figures["edits_per_second"])
            self.remove(ledger, states)

    def small_pushes(self):
        seconds = self.size(1.5, 5)
        slow = {"LD_PRELOAD": str(self.slow)}
        database = self.path("commits.sqlite")
        figures = self.tool("commits", database, "--seconds", seconds, environment=slow)
        self.results.add("slow_commits_per_second", figures["commits_per_second"])
        self.remove(database)
        ledger, states, _ = self.ledger(0, 17, 16)
        with self.serve(ledger, environment=slow) as server:
            figures = self.tool("small-pushes", "--devices", states, "--url", server.url,
                                "--seconds", seconds)
            self.results.add("slow_pushes_per_second", figures["pushes_per_second"])
            self.results.add("slow_push_p99", figures["latency_p99_milliseconds"])
        self.remove(ledger, states)

    # One command

    def commands(self):
        add = self.results.add
        ledger, states, _ = self.ledger(0, 1, 1)
        with self.serve(ledger) as server:
            directory = self.path("journal")
            directory.mkdir()
            figures = self.tool("need", "--url", server.url, "--code",
                                self.invite(ledger, "one"), directory, "--count",
                                self.size(100, 500))
            add("need_milliseconds", figures["median_milliseconds"])
            add("need_floor_milliseconds", figures["floor_median_milliseconds"])
            shutil.rmtree(directory)
            home = self.path("home")
            environment = {**os.environ, "WAYSTATION_HOME": str(home)}
            run([self.binaries / "waystation", "enroll", server.url, self.invite(ledger, "shell")],
                env=environment)
        database = self.database_of_rows()
        ours, floor, memory, floor_memory = [], [], [], []
        for _ in range(self.size(15, 60)):
            spent, peak = self.time(["sqlite3", *self.row_inserted(database)], environment)
            floor.append(spent)
            floor_memory.append(peak)
            spent, peak = self.time([self.binaries / "waystation", *NEED_ADD], environment)
            ours.append(spent)
            memory.append(peak)
        add("shell_milliseconds", sorted(ours)[len(ours) // 2])
        add("shell_floor_milliseconds", sorted(floor)[len(floor) // 2])
        add("shell_memory", max(memory))
        add("shell_floor_memory", max(floor_memory))
        self.remove(ledger, states, database)

    def database_of_rows(self):
        database = self.path("floor.sqlite")
        run(["sqlite3", database, "PRAGMA journal_mode = WAL;"
             "CREATE TABLE need (id INTEGER PRIMARY KEY, text, category, grid, resident, phone,"
             " address, urgency, latitude, longitude, household, source, wished)"])
        return database

    @staticmethod
    def row_inserted(database):
        """What sqlite3's program is told for one need: same pragmas and close as ours."""
        values = "'东头路灯不亮，晚上老人出门不安全','lighting','%s','王秀英','13900000001','平房8排'" % GRID
        return ["-cmd", "PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 128;", "-cmd",
                ".dbconfig no_ckpt_on_close on", "-cmd", ".filectrl persist_wal 1", database,
                f"INSERT INTO need VALUES (NULL,{values},1,41100000,108500000,3,'visit',20700)"]

    def time(self, command, environment):
        spent, kilobytes = run([self.timed, *command], env=environment).split()[-2:]
        return int(spent) / 1e6, int(kilobytes) * 1024 / 1e6

    # Pulling

    def pulls(self, isFirst):
        needs = self.size(2000, 10000)
        if isFirst:
            self.pulled = self.ledger(needs, 2, 1, edited=30)
            self.unedited_pull_bytes(needs)
        ledger = self.pulled[0]
        with self.serve(ledger) as server:
            journal = self.path("fresh.sqlite")
            figures = self.tool("pull", "--url", server.url, "--code",
                                self.invite(ledger, "fresh"), journal)
            if figures["needs"] != needs:
                raise RuntimeError("a fresh device did not get all needs")
            self.results.add("pull_milliseconds", figures["milliseconds"] * 10000 / needs)
            self.remove(journal)
            if isFirst:
                self.results.add("pull_bytes", self.pulled_bytes(ledger, server) / needs)

    def unedited_pull_bytes(self, needs):
        ledger, states, _ = self.ledger(needs, 1, 1)
        with self.serve(ledger) as server:
            self.results.add("pull_unedited_bytes", self.pulled_bytes(ledger, server) / needs)
        self.remove(ledger, states)

    def pulled_bytes(self, ledger, server):
        relay, journal = Relay(server.port), self.path("fresh.sqlite")
        self.tool("pull", "--url", f"http://127.0.0.1:{relay.port}", "--code",
                  self.invite(ledger, "counted"), journal)
        relay.close()
        self.remove(journal)
        return sum(relay.take())

    # Size

    def growth(self):
        """Ever more needs in one ledger; time, instructions, memory and bytes at each size."""
        sizes = self.size([1000, 5000], [1000, 10000, 100000, 1000000])
        ledger, states = self.path("growing.sqlite"), self.path("devices")
        database, small_database = self.path("cells.sqlite"), self.path("cells.sqlite")
        small, small_states = self.path("small.sqlite"), self.path("devices")
        self.tool("cells", small_database, "--needs", sizes[0])
        self.tool("seed", small, "--devices", small_states, "--needs", sizes[0], "--count",
                  COUNTY_DEVICES, "--grids", COUNTY_GRIDS, "--edited", 30)
        for needs in sizes:
            self.say(f"ledger of {needs} needs")
            figures = self.tool("seed", ledger, "--devices", states, "--needs", needs, "--count",
                                COUNTY_DEVICES, "--grids", COUNTY_GRIDS, "--edited", 30)
            self.results.notes[f"seed_{needs}"] = figures
            self.tool("cells", database, "--needs", needs)
            self.results.add(f"cells_bytes_{needs}", database.stat().st_size / needs)
            self.pairs(needs, (ledger, states), (small, small_states),
                       (database, small_database))
            self.remove(database)
            few, many = 10, 30
            counted = [
                self.instructions("pairs", "--devices", states, "--ledger", ledger, "--pairs", count)
                for count in (few, many)]
            self.results.add(f"pair_instructions_{needs}",
                             (counted[1] - counted[0]) / (many - few))
        self.results.notes["sizes"] = sizes
        self.results.add("ledger_bytes_large", figures["bytes"] / sizes[-1])
        self.memory(ledger, states)
        self.remove(ledger, states, small, small_states, small_database)
        # Two devices in one grid, so that 5 % of the edits are concurrent.
        for name, needs, frame in (("ledger_bytes", self.size(5000, 50000), 1000),
                                   ("ledger_bytes_small_frames", self.size(1000, 10000), 10)):
            ledger, states, figures = self.ledger(needs, 2, 1, edited=30, frame=frame)
            self.results.add(name, figures["bytes"] / figures["needs"])
            self.remove(ledger, states)

    def pairs(self, needs, large, small, databases):
        """10 changes in the large ledger and in the smallest, and as raw cells, in turns."""
        pairs = self.size(30, 100)
        with self.serve(large[0]) as server, self.serve(small[0]) as small_server:
            sides = (("pair", large[1], server), ("pair_small", small[1], small_server))

            def exchange(devices, server, pairs):
                told = self.tool("pairs", "--devices", devices, "--url", server.url, "--pairs",
                                 pairs)
                return told["median_milliseconds"]

            # A device's first request opens a term, and reads what it never read.
            for _, devices, server in sides:
                exchange(devices, server, 5)
            for database in databases:
                self.tool("cell-pairs", database, "--pairs", 5)
            for _ in range(self.rounds):
                for name, devices, server in sides:
                    self.results.add(f"{name}_milliseconds_{needs}",
                                     exchange(devices, server, pairs))
                for name, database in zip(("cell_pair", "cell_pair_small"), databases):
                    told = self.tool("cell-pairs", database, "--pairs", pairs)
                    self.results.add(f"{name}_milliseconds_{needs}", told["median_milliseconds"])

    def instructions(self, *arguments, **options):
        out = self.callgrind(arguments, **options)
        total = self.total(out)
        out.unlink()
        return total

    @staticmethod
    def total(out):
        return int(re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.M).group(1))

    def callgrind(self, arguments, program=None, part=None, environment=None):
        """Counts a whole process, or a part of it: what the functions of that name do."""
        out = self.path("callgrind")
        run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
             *([f"--toggle-collect={part}"] if part else []), program or self.plain, *arguments],
            env=environment)
        return out

    def memory(self, ledger, states):
        empty, _, _ = self.ledger(0, 1, 1)
        with self.serve(empty) as server:
            time.sleep(1)
            self.results.add("idle_memory", server.memory()[0])
        self.remove(empty)
        with self.serve(ledger) as server:
            frames = self.size(2, 10)
            self.tool("merge", "--devices", states, "--url", server.url, "--frames", frames,
                      "--clients", 4)
            self.tool("small-pushes", "--devices", states, "--url", server.url, "--seconds",
                      self.size(1, 5))
            journal = self.path("fresh.sqlite")
            self.tool("pull", "--url", server.url, "--code", self.invite(ledger, "load"), journal)
            self.remove(journal)
            self.results.add("load_memory", server.memory()[1])

    # Requests

    def requests(self):
        seconds = self.size(1, 5)
        ledger, states, _ = self.ledger(100, 1, 1)
        body, script = self.path("frame"), self.path("wrk.lua")
        with self.serve(ledger) as server:
            self.tool("push", "--devices", states, "--url", server.url)
            token = self.tool("frame", body, "--devices", states)["token"]
            script.write_text(
                f'local file = io.open("{body}", "rb")\nwrk.method = "POST"\n'
                'wrk.body = file:read("*a")\nfile:close()\n'
                'wrk.headers["Content-Type"] = "application/vnd.waystation.v1"\n'
                f'wrk.headers["Authorization"] = "Bearer {token}"\n')
            with Server([self.binaries / "bench", "echo"]) as echo:
                for name, url in (("echo", echo.url + "/echo"), ("sync", server.url + "/v1/sync")):
                    out = run(["wrk", "-t1", "-c32", f"-d{seconds}s", "-s", script, url])
                    if "Non-2xx" in out or "Socket errors" in out:
                        raise RuntimeError(f"wrk: {out}")
                    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", out).group(1))
                    self.results.add(f"{name}_requests_per_second", rate)
        self.remove(ledger, states)

    # Peers

    def peers(self, isFirst):
        needs = self.size(2000, 10000)
        lines = self.path("needs.tsv")
        lines.write_text(self.tool("workload", "--needs", needs))
        anki = Anki(self.python, self.path("anki"))
        try:
            if isFirst:
                time.sleep(1)
                self.results.add("anki_idle_memory", anki.server.memory()[0])
            figures = anki.measure({"needs": str(lines), "count": needs, "frame": 1000,
                                    "edit_pushes": {600: self.size(2, 5), 110: self.size(4, 20)}})
            self.results.add("anki_push_bytes",
                             figures["first_push_bytes"] / figures["first_push_needs"])
            self.results.add("anki_pull_bytes", figures["pull_bytes"] / figures["pull_needs"])
            self.results.add("anki_pull_milliseconds",
                             figures["pull_milliseconds"] * 10000 / figures["pull_needs"])
            for name in ("edit_push_bytes", "empty_sync_bytes", "needs_per_second", "edits_600",
                         "edits_110"):
                self.results.add(f"anki_{name}", figures[name])
            self.results.add("anki_load_memory", anki.server.memory()[1])
        finally:
            anki.close()
            shutil.rmtree(anki.work)
        if isFirst:
            self.fossil_once()

    def fossil_once(self):
        count = self.size(60, 1000)
        lines = [line.split("\t") for line in
                 self.tool("workload", "--needs", count, "--edits", 10).splitlines()]
        needs, edits = lines[:count], lines[count:]
        fossil = Fossil(self.path("fossil"))
        try:
            self.results.add("fossil_idle_memory", fossil.server.memory()[0])
            fossil.add(needs)
            self.results.add("fossil_push_bytes", fossil.sync() / count)
            fossil.edit(edits)
            self.results.add("fossil_edit_bytes", fossil.sync())
            self.results.add("fossil_empty_bytes", fossil.sync())
        finally:
            fossil.close()
            shutil.rmtree(fossil.work)

    # Where the time goes

    def profile(self):
        """Instructions by function, from callgrind, of what the figures are of, and of the floors
        that are programs of ours."""
        jobs = self.results.notes["profile"] = {}

        def job(name, count, arguments, floor=None, **options):
            """Each of `count` things; a floor has a name, arguments and options."""
            jobs[name] = {**self.functions(arguments, **options), "count": count}
            if floor:
                words, arguments, options = floor
                jobs[name]["floor"] = words, self.instructions(*arguments, **options)

        def cells(*arguments):
            return ["cells", self.path("cells.sqlite"), *arguments]

        frames, edited = self.size(2, 10), self.size(1000, 20000)
        ledger, states, _ = self.ledger(0, 2, 1)
        with self.serve(ledger) as server:

            def added(name):
                directory = self.path("journal")
                directory.mkdir()
                return ["need", "--url", server.url, "--code", self.invite(ledger, name), directory,
                        "--count", 200]

            job("one need in process", 200, added("one"),
                ("plain SQLite", added("floor"), {"part": NEED_INSERTED}), part=NEED_ADDED)
            program = self.work / "waystation-without-debug-information"
            run(["strip", "--strip-debug", "-o", program, self.binaries / "waystation"])
            environment = {**os.environ, "WAYSTATION_HOME": str(self.path("home"))}
            run([program, "enroll", server.url, self.invite(ledger, "shell")], env=environment)
            job("`waystation need add`", 1, NEED_ADD,
                ("sqlite3 program", self.row_inserted(self.database_of_rows()),
                 {"program": "sqlite3"}), program=program, environment=environment)
        hub = ["--devices", states, "--ledger", ledger]
        job("a new need, the hub's side", frames * 1000, ["merge", *hub, "--frames", frames],
            ("raw cells", cells("--needs", frames * 1000), {"part": CELLS_INSERTED}),
            part=HUBS_SIDE)
        for edits in (600, 110):
            pushes = self.size(600, 6000) // edits
            flags = ["--pushes", pushes, "--edits", edits]
            job(f"an edit, {edits} a push, the hub's side", pushes * edits, ["edits", *hub, *flags],
                ("raw cells", cells("--needs", edited, *flags), {"part": CELLS_EDITED}),
                part=HUBS_SIDE)
        job("10 changes pushed and pulled, the hub's side", 200, ["pairs", *hub, "--pairs", 200],
            part=HUBS_SIDE)
        self.remove(ledger, states)
        needs = self.size(600, 3000)
        ledger, states, _ = self.ledger(needs, 3, 1, edited=30)
        job("a need of a fresh pull, the hub's side", needs,
            ["push", "--devices", states, "--ledger", ledger, "--device", 2], part=HUBS_SIDE)
        with self.serve(ledger) as server:
            job("a need of a fresh pull, the device's side", needs,
                ["pull", "--url", server.url, "--code", self.invite(ledger, "profile"),
                 self.path("profiled.sqlite")], part=FRESH_PULL)
        self.remove(ledger, states)

    def functions(self, arguments, **options):
        out = self.callgrind(arguments, **options)
        total = self.total(out)
        own = list(self.annotated(out, total))
        whole = list(self.annotated(out, total, "--inclusive=yes"))
        out.unlink()
        functions, parts, ours = {}, {}, {}
        for share, name, library in own:
            part = self.part(name, library)
            parts[part] = parts.get(part, 0) + share
            # Functions inside a library whose names were stripped count as one.
            name = f"{library}, inside" if name.startswith("0x") else name
            functions[name] = functions.get(name, 0) + share
        for share, name, library in whole:
            # A function of ours with all that it calls; closures and thunks repeat it.
            if name.startswith(OUR_MODULES) and "U_" not in name and "T" not in name[-3:]:
                ours.setdefault(name, min(share, 100))
        return {
            "instructions": total,
            "parts": sorted(((share, part) for part, share in parts.items()), reverse=True),
            "functions": self.demangled(functions, 8), "ours": self.demangled(ours, 16)}

    @staticmethod
    def annotated(out, total, *flags):
        """(per cent, function, library) of each function, greatest first."""
        listing = run(["callgrind_annotate", "--threshold=100", "--show-percs=no", *flags, out])
        for line in listing.splitlines():
            found = re.match(r"\s*([\d,]+)\s+\S*?:(.*?)(?: \[(\S+)\])?$", line)
            if found and "PROGRAM" not in line:
                library = pathlib.Path(found.group(3) or "").name.split(".so")[0]
                share = 100 * int(found.group(1).replace(",", "")) / total
                yield share, found.group(2).split("'")[0], library

    @staticmethod
    def demangled(functions, most):
        rows = sorted(functions.items(), key=lambda row: -row[1])[:most]
        try:
            names = subprocess.run(
                ["swift", "demangle", "--simplified"], input="\n".join(name for name, _ in rows),
                text=True, capture_output=True, timeout=60).stdout.splitlines()
        except OSError:
            names = [name for name, _ in rows]
        return [(share, name) for (_, share), name in zip(rows, names)]

    def part(self, name, library):
        """Whose work a function is."""
        if library.startswith("libz"):
            return "zlib"
        if library.startswith("libsqlite") or name in self.inside_sqlite:
            return "SQLite"
        if library.startswith("ld-") or "conformsToProtocol" in name or name.startswith("_dl_") \
                or name.startswith("do_lookup"):
            return "loading, and finding conformances"
        if "SwiftProtobuf" in name:
            return "SwiftProtobuf"
        if re.search(r"malloc|free|realloc|calloc", name):
            return "malloc and free"
        if re.search(r"mem(cpy|move|set|cmp|chr)", name):
            return "copying and clearing memory"
        if name.startswith("swift_") or "swift::" in name:
            return "Swift's runtime: counting references, metadata"
        if name.startswith(OUR_MODULES):
            return "our modules"
        if name.startswith("$s5bench"):
            return "the bench itself"
        if name.startswith("$s"):
            return "Swift's standard library"
        return "the rest"

    @functools.cached_property
    def inside_sqlite(self):
        """The names of SQLite's functions: the client's release has them inside."""
        library = run(["gcc", "-print-file-name=libsqlite3.a"]).strip()
        symbols = run(["nm", "--defined-only", library]).split("\n")
        return {words[2] for words in map(str.split, symbols)
                if len(words) == 3 and words[1] in "tT"}

    # All of it

    def sizes_of_programs(self):
        for program in ("waystation", "waystation-server"):
            stripped = self.path(program)
            run(["strip", "-o", stripped, self.binaries / program])
            self.results.add(f"{program}_megabytes", stripped.stat().st_size / 1e6)
            stripped.unlink()

    def everything(self, with_peers):
        rounds = self.rounds
        self.sizes_of_programs()
        self.say("bytes")
        self.bytes()
        for number in range(rounds):
            self.say(f"round {number + 1} of {rounds}")
            # Peers and floors stand between our own, so that all meet the same hours.
            self.merges()
            if number == 0:
                self.merges_in_turn()
            if with_peers and (number == 0 or not self.quick):
                self.say("peers")
                self.peers(isFirst=number == 0)
            self.say("edits")
            self.edits()
            self.say("pulls")
            self.pulls(isFirst=number == 0)
            self.say("small pushes")
            self.small_pushes()
            self.say("single commands")
            self.commands()
            self.say("requests")
            self.requests()
        self.remove(*self.pulled[:2])
        self.growth()
        self.say("profiles")
        self.profile()
        self.results.notes["rounds"] = rounds
        self.results.notes["seconds"] = time.monotonic() - self.started

    def scale(self):
        """A county's days against one server."""
        devices, needs = self.size(100, 1600), 10
        days = self.size(2, 5)
        self.say("bytes")
        self.bytes()
        self.say(f"enrolling {devices} devices")
        ledger, states, _ = self.ledger(0, devices + 1, COUNTY_GRIDS)
        # The last one is away all these days.
        away = self.path("away")
        lines = states.read_text().splitlines(keepends=True)
        states.write_text("".join(lines[:devices]))
        away.write_text(lines[devices])
        before = ledger.stat().st_size
        with self.serve(ledger) as server:
            # A first pull of the territory is no part of a day.
            self.tool("county", "--devices", states, "--url", server.url, "--days", 0)
            self.tool("push", "--devices", away, "--url", server.url)
            processor = server.cpu_seconds()
            self.say(f"{days} days of {devices} devices")
            figures = self.tool("county", "--devices", states, "--url", server.url, "--needs",
                                needs, "--days", days, "--threads", COUNTY_CLIENTS)
            figures["server_cpu_seconds"] = server.cpu_seconds() - processor
            figures["server_memory"] = server.memory()[1]
            figures["back"] = self.tool("push", "--devices", away, "--url", server.url)
        self.tool("seed", ledger, "--devices", states, "--needs", 0, "--count", devices,
                  "--grids", COUNTY_GRIDS)
        figures["ledger_growth"] = ledger.stat().st_size - before
        figures["days"] = days
        figures["needs_per_device"] = needs
        figures["clients"] = COUNTY_CLIENTS
        self.results.notes["county"] = figures
        # Each sync is a connection of its own.
        self.results.notes["handshake_bytes"] = (
            self.results.get("empty_tls_bytes") - self.results.get("empty_bytes"))


def commit():
    """What is measured: the newest commit, which is the one before the report's own."""
    changed = run(["git", "status", "--porcelain", "--", ".", ":!tools/bench-report"]).strip()
    return run(["git", "rev-parse", "--short", "HEAD"]).strip() + (" with changes" if changed else "")


def main():
    parser = argparse.ArgumentParser(prog="tools/bench")
    parser.add_argument("what", choices=["all", "scale"])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--anki", help="a folder for Anki's virtual environment; drives peers")
    parser.add_argument("--binaries", required=True)
    parser.add_argument("--report", required=True)
    parser.add_argument("--command", required=True)
    arguments = parser.parse_args()
    # A stop by signal cleans up as an end does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="waystation-bench-") as work:
        os.environ["BENCH_WORK"] = work
        with_peers = arguments.anki is not None and arguments.what == "all"
        if with_peers:
            arguments.anki = write_anki_environment(arguments.anki)
        bench = Bench(arguments, pathlib.Path(work))
        if with_peers:
            bench.results.notes["peers"] = peer_versions(arguments.anki)
        bench.results.notes["command"] = arguments.command
        bench.results.notes["commit"] = commit()
        if arguments.what == "scale":
            bench.scale()
            told = report.write_scale(bench.results, arguments.report)
        else:
            bench.everything(with_peers)
            told = report.write(bench.results, arguments.report)
        bench.say(f"done; the report is {told}")


main()
