"""Turns figures into tools/bench-report: tables in Markdown, plots in SVG."""

import datetime
import json
import pathlib
import platform
import re
import subprocess

import plots
from machinery import median
from plots import number


class Row:
    """One figure of the table: what it is, what it was, and what it was to be.

    `value` is compared with `target`; `least` says that more is better."""

    def __init__(self, name, ours, value, target, *, unit="", least=False, beside=(), ratio=None):
        self.name, self.ours, self.value, self.target = name, ours, value, target
        self.unit, self.least, self.ratio = unit, least, ratio
        self.beside = [(label, text) for label, text in beside if text]

    @property
    def score(self):
        return self.value / self.target if self.least else self.target / self.value

    @property
    def reached(self):
        return self.score >= 1


def rows(r):
    get, ratio = r.get, r.ratio

    def over(above, below):
        a, b = get(above), get(below)
        return a / b if a and b else None

    def times(value):
        return None if value is None else f"{number(value)} ×"

    def spread(above, below):
        """The median of the rounds' ratios, and the least and the greatest of them."""
        ratios = r.ratios(above, below)
        if len(ratios) < 2:
            return times(median(ratios))
        return f"{times(median(ratios))} ({number(min(ratios))} to {number(max(ratios))})"

    def bytes_row(name, key, target, floor, peers, unit):
        first, first_name = floor
        return Row(
            name, f"{number(get(key))} {unit}", get(key), target, unit=unit,
            ratio=f"{times(over(key, first))} {first_name}",
            beside=[(label, text(get(other))) for label, other in [(first_name, first), *peers]])

    def text(value):
        return None if value is None else number(value)

    result = []
    for kind, target, words in (("phrases", 36, "phrases"), ("free", 105, "free text")):
        peers = [("zlib 9", f"zlib_bytes_{kind}")]
        if kind == "phrases":
            peers += [("Anki", "anki_push_bytes"), ("Fossil", "fossil_push_bytes")]
        result.append(bytes_row(
            f"first push of 1,000 needs, {words}", f"push_bytes_{kind}", target,
            (f"zstd_bytes_{kind}", "zstd 19"), peers, "B/need"))
    result.append(bytes_row(
        "push of 20 changes on 10 needs", "edit_bytes", 500, ("edit_curl_bytes", "curl POST"),
        [("ours written at one moment", "edit_at_once_bytes"),
         ("ours of all fields", "edit_mixed_bytes"), ("Anki", "anki_edit_push_bytes"),
         ("Fossil", "fossil_edit_bytes")], "B"))
    result.append(bytes_row(
        "sync with nothing to say", "empty_bytes", 320, ("empty_curl_bytes", "curl POST"),
        [("Anki", "anki_empty_sync_bytes"), ("Fossil", "fossil_empty_bytes")], "B"))
    result.append(Row(
        "the same over TLS 1.3, new connection", f"{number(get('empty_tls_bytes'))} B",
        get("empty_tls_bytes"), 2600, unit="B",
        ratio=f"{times(over('empty_tls_bytes', 'empty_tls_curl_bytes'))} curl POST",
        beside=[("curl POST", text(get("empty_tls_curl_bytes"))),
                ("without TLS", text(get("empty_bytes")))]))

    def speed(name, key, target, floor, words, beside=()):
        value = ratio(key, floor)
        result.append(Row(
            name, f"{number(get(key))}/s", value, target, least=True,
            ratio=f"{spread(key, floor)} {words}",
            beside=[(words, f"{number(get(floor))}/s"),
                    *[(label, f"{number(get(other))}/s" if get(other) else None)
                      for label, other in beside]]))

    speed("merge of new needs, 1 client", "merge_per_second", 3, "cells_clustered_per_second",
          "raw cells", [("raw cells with an index", "cells_indexed_per_second"),
                        (f"raw cells of {r.notes['writers']} devices in turn",
                         "cells_in_turn_per_second"),
                        ("ours of these", "merge_in_turn_per_second"),
                        ("Anki", "anki_needs_per_second")])
    speed("merge of new needs, 4 clients", "merge4_per_second", 3.5, "cells_clustered_per_second",
          "raw cells")
    speed("merge of edits, 600 a push", "edits_600", 2, "cells_edits_600", "raw cells",
          [("Anki", "anki_edits_600")])
    speed("merge of edits, 110 a push", "edits_110", 1, "cells_edits_110", "raw cells",
          [("Anki", "anki_edits_110")])
    speed("16 devices pushing 10 edits, slow disk", "slow_pushes_per_second", 4,
          "slow_commits_per_second", "one commit each")

    def slower(name, key, target, floor, words):
        value = ratio(key, floor)
        result.append(Row(
            name, f"{number(get(key))} ms", value, target,
            ratio=f"{spread(key, floor)} {words}",
            beside=[(words, f"{number(get(floor))} ms")]))

    slower("one need in process", "need_milliseconds", 1.3, "need_floor_milliseconds",
           "plain SQLite")
    slower("`waystation need add` from the shell", "shell_milliseconds", 2,
           "shell_floor_milliseconds", "sqlite3 program")
    result.append(Row(
        "its peak memory", f"{number(get('shell_memory'))} MB", get("shell_memory"), 20, unit="MB",
        ratio=f"{times(ratio('shell_memory', 'shell_floor_memory'))} sqlite3 program",
        beside=[("sqlite3 program", f"{number(get('shell_floor_memory'))} MB")]))
    pull = ratio("pull_milliseconds", "anki_pull_milliseconds")
    if pull:
        result.append(Row(
            "fresh device pulls 10,000 needs", f"{number(get('pull_milliseconds'))} ms", pull, 0.8,
            ratio=f"{spread('pull_milliseconds', 'anki_pull_milliseconds')} Anki",
            beside=[("Anki", f"{number(get('anki_pull_milliseconds'))} ms")]))
    else:
        # Against the 120 ms that were seen of Anki elsewhere.
        result.append(Row(
            "fresh device pulls 10,000 needs", f"{number(get('pull_milliseconds'))} ms",
            get("pull_milliseconds"), 96, unit="ms", ratio="no peer in this run"))
    result.append(Row(
        "its bytes", f"{number(get('pull_bytes'))} B/need", get("pull_bytes"), 40, unit="B/need",
        ratio=f"{times(over('pull_bytes', 'anki_pull_bytes')) or '–'} Anki",
        beside=[("ours with nothing edited", text(get("pull_unedited_bytes"))),
                ("Anki", text(get("anki_pull_bytes")))]))
    sizes = r.notes["sizes"]
    few, many = sizes[0], sizes[-1]
    instructions = f"pair_instructions_{many}"
    value = over(instructions, f"pair_instructions_{few}")
    result.append(Row(
        f"10 changes with {many:,} needs: instructions", number(get(instructions)), value, 1.2,
        ratio=f"{times(value)} with {few:,}",
        beside=[(f"with {few:,}", number(get(f"pair_instructions_{few}")))]))
    # Time is compared with the small ledger's in the same round; so is that of raw cells.
    value = ratio(f"pair_milliseconds_{many}", f"pair_small_milliseconds_{many}")
    raw = ratio(f"cell_pair_milliseconds_{many}", f"cell_pair_small_milliseconds_{many}")
    result.append(Row(
        f"10 changes with {many:,} needs: time",
        f"{number(get(f'pair_milliseconds_{many}'))} ms", value, 1.5,
        ratio=f"{times(value)} with {few:,}",
        beside=[(f"with {few:,}", f"{number(get(f'pair_small_milliseconds_{many}'))} ms"),
                ("raw cells", f"{times(raw)}: "
                 f"{number(get(f'cell_pair_small_milliseconds_{many}'))} ms to "
                 f"{number(get(f'cell_pair_milliseconds_{many}'))} ms")]))
    result.append(Row(
        "server memory idle", f"{number(get('idle_memory'))} MB", get("idle_memory"), 22, unit="MB",
        ratio=f"{times(over('idle_memory', 'anki_idle_memory')) or '–'} Anki",
        beside=[("Anki", text(get("anki_idle_memory"))),
                ("Fossil", text(get("fossil_idle_memory")))]))
    result.append(Row(
        f"server memory under load, {many:,} needs", f"{number(get('load_memory'))} MB",
        get("load_memory"), 40, unit="MB",
        ratio=f"{times(over('load_memory', 'anki_load_memory')) or '–'} Anki",
        beside=[("Anki, fewer needs", text(get("anki_load_memory")))]))
    result.append(Row(
        "ledger bytes per need", f"{number(get('ledger_bytes'))} B", get("ledger_bytes"), 420,
        unit="B", ratio=f"{times(over('ledger_bytes', 'content_bytes_phrases'))} the plain content",
        beside=[("plain content", text(get("content_bytes_phrases"))),
                (f"raw cells of {many:,} needs, nothing edited", text(get(f"cells_bytes_{many}"))),
                (f"ours of {many:,} needs", text(get("ledger_bytes_large"))),
                ("ours in frames of ten needs", text(get("ledger_bytes_small_frames")))]))
    speed("empty syncs, 32 connections", "sync_requests_per_second", 0.6,
          "echo_requests_per_second", "bare echo")
    return result


def machine():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s+(\d+)", pathlib.Path("/proc/meminfo").read_text())
    cores = len(re.findall(r"^processor", pathlib.Path("/proc/cpuinfo").read_text(), re.M))
    words = lambda command: subprocess.run(
        command, capture_output=True, text=True).stdout.strip().splitlines()[:1]
    swift = words(["swift", "--version"])
    return (f"{cpu.group(1) if cpu else platform.machine()}, {cores} cores, "
            f"{int(memory.group(1)) / 1e6:.0f} GB, Linux {platform.release().split('-')[0]}, "
            f"SQLite {words(['sqlite3', '--version'])[0].split()[0]}"
            + (f", {swift[0].split(' (')[0]}" if swift else ""))


def head(title, notes):
    today = datetime.date.today().isoformat()
    peers = f", {notes['peers']}" if "peers" in notes else ""
    return [f"# {title}", "",
            f"`{notes['command']}` of commit {notes['commit']}, {today}. {machine()}{peers}.", ""]


def write(r, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    table = rows(r)
    lines = head("What it costs, beside floors and peers", r.notes)
    reached = sum(row.reached for row in table)
    lines += [
        f"{reached} of {len(table)} figures reach their target. Made by the command above in "
        f"{r.notes['seconds'] / 60:.0f} minutes. Times and rates are medians of {r.notes['rounds']} "
        "rounds in which ours, floors and peers take turns, their ratios taken within each round "
        "(in brackets the least and the greatest); what is of many devices in turn is measured "
        "once, the largest ledgers after the rounds, by turns with their own floor; bytes, instructions and the memory of servers are measured once, as the workload is made "
        "from a seed (the last table says how often each was). Bytes are the payload of TCP both "
        "ways, counted by one relay for all; each need is of eleven fields, "
        f"{number(r.get('content_bytes_phrases'))} bytes as plain text.", "",
        "![How many times its target each figure is](targets.svg)", "",
        "| figure | ratio | | ours | beside it, in the same run | to reach |",
        "|---|---|---|---|---|---|"]
    for row in table:
        beside = "; ".join(f"{label} {text}" for label, text in row.beside) or "–"
        sign = "≥" if row.least else "≤"
        unit = f" {row.unit}" if row.unit else " ×"
        lines.append(f"| {row.name} | {row.ratio} | {'reached' if row.reached else '**missed**'} | "
                     f"{row.ours} | {beside} | {sign} {row.target:,}{unit} |")
    sizes = r.notes["sizes"]
    lines += [
        "", "![Bytes](bytes.svg)", "", "![Cost of 10 changes over the ledger's size](growth.svg)",
        "", "## What the floors are", "",
        "- *raw cells*: SQLite's C interface, WAL, synchronous=FULL, one row a field with value "
        "and stamp, clustered by (record, field), one transaction a push; nothing travels, nothing "
        "is asked; the ids of one device, so that each row comes behind the last. *With an index*: "
        "the same in a plain table with a unique index. *Of devices in turn*: each with 1,000 "
        "needs of the same days, so that rows come between those of others; ours lie by device.",
        "- *one commit each*: raw cells, ten edits a transaction; every fsync takes 3.3 ms at "
        "least on both sides (`tools/benchmark/slow-sync.c`).",
        "- *plain SQLite*, *sqlite3 program*: one row with all of a need, same pragmas and close.",
        "- The pulled ledger and the growing one have 30 % of their needs edited, 5 % of the edits "
        "in conflict. Of the growing one the pair of devices works in a grid of 200 needs, whatever "
        "lies elsewhere; the instructions are of both sides. Frames are of 1,000 needs; a ledger "
        "filled ten needs at a time is larger.",
        "- The compression dictionary has words that such needs use, 7 of the workload's 24 "
        "problems, one of its places and one of its effects, 9 of its 12 codes of categories, 23 "
        "of its 24 surnames and 20 of the 30 characters of its given names among them; zlib and "
        "zstd have none.",
        "- *curl POST*: a frame of the same content "
        f"({number(r.get('edit_curl_frame_bytes'))} B of edits where ours is "
        f"{number(r.get('edit_frame_bytes_up'))}, {number(r.get('empty_curl_frame_bytes'))} B of "
        f"nothing where ours is {number(r.get('empty_frame_bytes_up'))}), sent by curl with the "
        "fewest headers to a server that answers 200 with one header and no body, over TLS with "
        "the same certificate; *zstd 19*, *zlib 9*: the same content as lines of text, packed "
        "whole.",
        "- The ten edits of the push set an urgency and one field more each (Fossil's the same, "
        "Anki's the urgency and a digit of the address), written some minutes apart. Beside them "
        "stand ten at one moment, and ten of all fields, each as often as in other edits.",
        "- *bare echo*: HummingbirdCore's server, with neither router nor date, gives the body "
        "back; wrk, one thread.",
        "- A fresh pull is ours from the first byte of the enrolment, at a server that has just "
        "started, to the last need stored; Anki's is the download by a client that has logged in, "
        "at a server that has served.",
        "- *Anki*: its sync server from PyPI, a note for a need, 1,000 a sync; its times are of "
        "whole syncs, the client's part too, where ours of merging are of the waiting for the "
        "hub alone. *Fossil*: Debian's, a ticket for a need.",
        "- What has none: the peers are those two, which install as they are from PyPI and Debian; "
        "neither was asked for free text, TLS or the size of its files. Anki's server keeps a collection for each user and lets one client at it "
        "at a time, so nothing of it stands beside several clients at once. Neither peer can be "
        "asked for one change beside a given number of others, nor has a command that stores one "
        "need and ends. Raw cells know no history, no conflicts and no time of another's clock, so "
        "their bytes are no floor of a ledger's. Fossil is driven by a process a ticket: its bytes "
        "and its idle memory are told, no time.", ""]
    missed = [row for row in table if not row.reached]
    if missed:
        lines += ["## Where a target is not reached", ""]
        for row in missed:
            far = 1 / row.score
            away = f"{number(far)} ×" if far >= 1.1 else f"{(far - 1) * 100:.1f} %"
            lines.append(f"- **{row.name}**: {row.ours}, {row.ratio}; {away} from "
                         f"{row.target:,}.{detail(r, row)}")
        lines.append("")
    lines += ["What stands in the way of each, and what was tried, is kept by hand in "
              "[NOTES.md](NOTES.md).", "", "## Where the time goes", "",
              "Instructions by function (callgrind), only of what the figure is of: the hub's side "
              "is counted from the frame that came to the frame that goes, without HTTP; the "
              "device's and the command's with all they do.", ""]
    for job, told in r.notes["profile"].items():
        parts = ", ".join(f"{name} {share:.0f} %" for share, name in told["parts"] if share >= 0.5)
        lines += [f"**{job}**: {instructions_of(told)}. Of ours: {parts}.", "",
                  "| % | ours, with all that it calls | % | any, by itself |", "|---|---|---|---|"]
        for index in range(max(len(told["ours"]), len(told["functions"]))):
            cells = []
            for column in (told["ours"], told["functions"]):
                share, name = column[index] if index < len(column) else (None, None)
                cells += [f"{share:.1f}", f"`{short(name)}`"] if name else ["", ""]
            lines.append("| " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["## Release builds", "",
              f"Statically linked to the Swift runtime and stripped: `waystation` "
              f"{number(r.get('waystation_megabytes'))} MB, `waystation-server` "
              f"{number(r.get('waystation-server_megabytes'))} MB.", "",
              "## Every figure", "", "Medians; all rounds are in [figures.json](figures.json).", "",
              "| name | median | rounds |", "|---|---|---|"]
    lines += [f"| {name} | {number(r.get(name))} | {len(values)} |"
              for name, values in sorted(r.values.items())]
    (folder / "REPORT.md").write_text("\n".join(lines) + "\n")
    r.save(folder / "figures.json")
    (folder / "targets.svg").write_text(plots.targets(
        "Times the target (reached to the right of the line)",
        [(row.name.replace("`", ""), row.score) for row in table]))
    get = r.get
    (folder / "bytes.svg").write_text(plots.bars("Bytes on the wire, both ways with headers", [
        ("first push of 1,000 needs, phrases, B/need", [
            ("Waystation", get("push_bytes_phrases"), True),
            ("zstd 19, no protocol", get("zstd_bytes_phrases"), False),
            ("Anki", get("anki_push_bytes"), False), ("Fossil", get("fossil_push_bytes"), False)]),
        ("20 changes on 10 needs, B", [
            ("Waystation", get("edit_bytes"), True),
            ("curl POST", get("edit_curl_bytes"), False),
            ("Anki", get("anki_edit_push_bytes"), False),
            ("Fossil", get("fossil_edit_bytes"), False)]),
        ("nothing to say, B", [
            ("Waystation", get("empty_bytes"), True),
            ("curl POST", get("empty_curl_bytes"), False),
            ("Anki", get("anki_empty_sync_bytes"), False),
            ("Fossil", get("fossil_empty_bytes"), False)]),
    ]))
    first = get(f"pair_instructions_{sizes[0]}")

    def grown(key):
        return [r.ratio(f"{key}_milliseconds_{size}", f"{key}_small_milliseconds_{size}")
                for size in sizes]

    (folder / "growth.svg").write_text(plots.curves(
        "10 changes pushed and pulled, as a multiple of the smallest ledger", sizes, [
            ("instructions", [get(f"pair_instructions_{size}") / first for size in sizes], True),
            ("time", grown("pair"), True),
            ("raw cells, time", grown("cell_pair"), False)],
        "×", "needs in the ledger"))
    return folder / "REPORT.md"


def short(name):
    name = name.replace("|", "\\|").replace("`", "")
    return name if len(name) <= 80 else name[:77] + "…"


def instructions_of(told):
    """What one thing of a profile costs, beside its floor."""
    text = f"{told['instructions'] / told['count']:,.0f} instructions"
    if "floor" in told:
        name, floor = told["floor"]
        text += f", {name} {floor / told['count']:,.0f}"
    return text


# Which profile tells of which figure.
PROFILES = {
    "merge of new needs": ["a new need, the hub's side"],
    "merge of edits, 600": ["an edit, 600 a push, the hub's side"],
    "merge of edits, 110": ["an edit, 110 a push, the hub's side"],
    "one need in process": ["one need in process"],
    "`waystation need add`": ["`waystation need add`"],
    "fresh device": ["a need of a fresh pull, the hub's side",
                     "a need of a fresh pull, the device's side"],
}


def detail(r, row):
    """What the run itself knows of a figure's parts."""
    text = parts_of(r, row)
    for start, jobs in PROFILES.items():
        if row.name.startswith(start):
            for job in jobs:
                text += f" {job[0].upper()}{job[1:]}: {instructions_of(r.notes['profile'][job])}."
    return text


def parts_of(r, row):
    get = r.get
    if row.name.startswith("first push"):
        kind = "free" if "free" in row.name else "phrases"
        return (f" Of it the frames up {number(get(f'push_frame_bytes_up_{kind}'))} and down "
                f"{number(get(f'push_frame_bytes_down_{kind}'))} B/need in "
                f"{number(get(f'push_round_trips_{kind}'))} round trips, the rest headers.")
    if row.name.startswith("push of 20"):
        return (f" The frame up is {number(get('edit_frame_bytes_up'))} B, down "
                f"{number(get('edit_frame_bytes_down'))} B; the rest is headers.")
    if row.name.startswith("sync with nothing"):
        return (f" The frames up and down are {number(get('empty_frame_bytes_up'))} and "
                f"{number(get('empty_frame_bytes_down'))} B of it; the rest is headers.")
    if row.name.endswith("1 client"):
        return (f" The server's processor time is {number(get('merge_cpu_share'))} of the time "
                "waited.")
    return ""


COUNTIES = 2_843
WORKERS = 4_500_000


def memory_of_great_ledger(folder):
    """MB of a server under load and needs in its ledger, of the report beside; None without it."""
    try:
        told = json.loads((folder / "figures.json").read_text())
    except FileNotFoundError:
        return None
    return median(told["values"]["load_memory"]), told["notes"]["sizes"][-1]


def write_scale(r, folder):
    folder = pathlib.Path(folder)
    folder.mkdir(exist_ok=True)
    county = r.notes["county"]
    seconds = county["milliseconds"] / 1000
    syncs, needs, days = county["syncs"], county["needs"], county["days"]
    up, down = county["bytes_up"] / needs, county["bytes_down"] / needs
    handshake = r.notes["handshake_bytes"]
    sync_bytes = (up + down) * county["needs_per_device"] + handshake
    stored = county["ledger_growth"] / needs
    processor = county["server_cpu_seconds"] / syncs
    national = WORKERS * county["needs_per_device"]
    rate = syncs / seconds
    back = county["back"]
    memory, held = memory_of_great_ledger(folder) or (county["server_memory"], needs)
    # Half of a day's syncs within one evening hour.
    peak = 0.5 * WORKERS / 3600
    lines = head("How a county and a country fit", r.notes)
    lines += [
        f"A county of {county['devices']:,} devices, each logging {county['needs_per_device']} "
        f"needs a day and syncing once over a connection of its own: {days} days replayed at full "
        f"speed, {county['clients']} syncs at a time over HTTP, against one server on the same machine "
        "as its clients; most of the latency is their waiting for each other.", "",
        "| figure | measured |", "|---|---|",
        f"| one day of the county | {seconds / days:.1f} s |",
        f"| syncs | {rate:,.0f}/s, {needs / seconds:,.0f} needs/s |",
        f"| latency of a sync, p50 / p90 / p99 / p99.9 / max | "
        + " / ".join(number(county[f"latency_{name}_milliseconds"])
                     for name in ("p50", "p90", "p99", "p999", "max")) + " ms |",
        f"| HTTP bytes of a need, up / down | {up:.0f} / {down:.0f} |",
        f"| bytes of a TLS handshake beside | {handshake:,.0f} |",
        f"| ledger bytes of a need | {stored:.0f} |",
        f"| server processor time of a sync | {processor * 1000:.2f} ms |",
        f"| server memory at the peak | {county['server_memory']:.0f} MB |",
        f"| a device back from {days} days away, after {syncs:,} syncs of others | "
        f"{number(back['waited_milliseconds'])} ms, "
        f"{back['round_trips']} round trip{'s' * (back['round_trips'] != 1)} |", "",
        "![Latency of a sync](county.svg)", "",
        f"Of a sync's processor time the greater part goes through the frames that came since the "
        f"device's last one, a day's {county['devices']:,} here, for what it may hold; so it "
        "follows how long a device was away and how many others write. What is known of the "
        "parts, and of longer absences, is in [NOTES.md](NOTES.md).", "",
        f"## The country, on paper", "",
        f"{WORKERS:,} grid workers, {COUNTIES:,} county-level ledgers that know nothing of each "
        "other, the same ten needs a worker and day. Syncs come when signal comes, each over a new "
        "connection with TLS; half of a day's are put into one hour.", "",
        "| what | of one county | of the country |", "|---|---|---|",
        f"| needs a day | {national / COUNTIES:,.0f} | {national:,} |",
        f"| syncs a second, peak hour | {peak / COUNTIES:.2f} | {peak:,.0f} |",
        f"| processor cores busy, peak hour | {peak / COUNTIES * processor:.5f} | "
        f"{peak * processor:.1f} |",
        f"| bandwidth in and out, peak hour | {peak / COUNTIES * sync_bytes * 8 / 1000:.1f} kbit/s "
        f"| {peak * sync_bytes * 8 / 1e6:.0f} Mbit/s |",
        f"| traffic a day | {WORKERS / COUNTIES * sync_bytes / 1e6:.1f} MB | "
        f"{WORKERS * sync_bytes / 1e9:.1f} GB |",
        f"| disk a year | {national / COUNTIES * stored * 365 / 1e9:.1f} GB | "
        f"{national * stored * 365 / 1e12:.1f} TB |",
        f"| memory, one server a ledger of {held:,} needs | {memory:.0f} MB | "
        f"{memory * COUNTIES / 1000:.0f} GB |", "",
        f"So a county needs a small share of one machine, and the country, with one server process "
        f"a ledger, fits {max(2, -(-int(memory * COUNTIES / 1000) // 48))} "
        f"machines of 64 GB by memory (48 GB of it used) and {max(1, -(-int(peak * processor) // 8))} "
        "of 8 cores by processor; twice as many for a standby of each. The bytes down and the "
        "processor time include what the others of a grid (4.4 devices share one) had recorded. "
        "The processor time of handshakes (a millisecond each, by assumption), edits and backups "
        "come on top; they are not in these figures. A county's ledger has a million needs after "
        f"{1e6 / (national / COUNTIES):.0f} days; what memory one of more than {held:,} takes was "
        "not measured.", ""]
    (folder / "SCALE.md").write_text("\n".join(lines))
    (folder / "county.svg").write_text(plots.bars(
        "Latency of a sync in a county's day", [("all devices, ms", [
            (name, county[f"latency_{key}_milliseconds"], True)
            for name, key in (("half", "p50"), ("90 %", "p90"), ("99 %", "p99"),
                              ("99.9 %", "p999"), ("all", "max"))])]))
    return folder / "SCALE.md"
