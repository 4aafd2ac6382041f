"""One Anki device on the same work; driven by peers.py, run in Anki's environment."""

import json
import pathlib
import sys
import time

from anki.collection import Collection

FIELDS = 11


def bytes_of_step():
    print("bytes?", flush=True)
    return sum(json.loads(sys.stdin.readline()))


def sync(collection, login):
    began = time.monotonic()
    output = collection.sync_collection(login, False)
    return output, time.monotonic() - began


def notetype(collection):
    kind = collection.models.new("need")
    for field in range(FIELDS):
        collection.models.add_field(kind, collection.models.new_field(f"f{field}"))
    template = collection.models.new_template("card")
    template["qfmt"] = "{{f0}}"
    template["afmt"] = "{{f1}}"
    collection.models.add_template(kind, template)
    collection.models.add(kind)
    return collection.models.by_name("need")


def main():
    request = json.loads(sys.stdin.readline())
    work = pathlib.Path(request["work"])
    lines = pathlib.Path(request["needs"]).read_text(encoding="utf-8").splitlines()
    needs = [line.split("\t") for line in lines[: request["count"]]]
    figures = {}
    collection = Collection(str(work / f"device-{time.monotonic_ns()}.anki2"))
    counted = collection.sync_login("bench", "bench", request["counted"])
    direct = collection.sync_login("bench", "bench", request["direct"])
    kind = notetype(collection)
    # An empty collection goes up whole; all later syncs are by change.
    collection.sync_collection(counted, False)
    collection.close_for_full_sync()
    collection.full_upload_or_download(auth=counted, server_usn=None, upload=True)
    collection.reopen(after_full_sync=True)
    collection.sync_collection(counted, False)
    bytes_of_step()

    def add(batch):
        deck = collection.decks.id("Default")
        for fields in batch:
            note = collection.new_note(kind)
            note.fields = list(fields)
            collection.add_note(note, deck)

    frame = request["frame"]
    times = []
    for start in range(0, len(needs), frame):
        add(needs[start : start + frame])
        login = counted if start == 0 else direct
        spent = sync(collection, login)[1]
        if start == 0:
            figures["first_push_bytes"] = bytes_of_step()
            figures["first_push_needs"] = min(frame, len(needs))
        else:
            times.append(spent / min(frame, len(needs) - start))
    if times:
        figures["needs_per_second"] = 1 / sorted(times)[len(times) // 2]

    ids = collection.find_notes("")

    def edit(identifiers):
        for identifier in identifiers:
            note = collection.get_note(identifier)
            note.fields[6] = str(1 + (int(note.fields[6] or 1)) % 3)
            note.fields[5] += "1"
            collection.update_note(note)

    edit(ids[:10])
    sync(collection, counted)
    figures["edit_push_bytes"] = bytes_of_step()
    sync(collection, counted)
    figures["empty_sync_bytes"] = bytes_of_step()

    for edits, pushes in request["edit_pushes"].items():
        times = []
        for push in range(pushes):
            count = min(int(edits), len(ids))
            edit(ids[:count])
            times.append(sync(collection, direct)[1] / count)
        figures[f"edits_{edits}"] = 1 / sorted(times)[len(times) // 2]
    collection.close()

    fresh = Collection(str(work / f"fresh-{time.monotonic_ns()}.anki2"))
    login = fresh.sync_login("bench", "bench", request["counted"])
    direct = fresh.sync_login("bench", "bench", request["direct"])
    bytes_of_step()
    fresh.sync_collection(login, False)
    fresh.close_for_full_sync()
    fresh.full_upload_or_download(auth=login, server_usn=None, upload=False)
    fresh.reopen(after_full_sync=True)
    figures["pull_bytes"] = bytes_of_step()
    fresh.sync_collection(direct, False)
    began = time.monotonic()
    fresh.close_for_full_sync()
    fresh.full_upload_or_download(auth=direct, server_usn=None, upload=False)
    fresh.reopen(after_full_sync=True)
    figures["pull_milliseconds"] = (time.monotonic() - began) * 1000
    figures["pull_needs"] = fresh.note_count()
    fresh.close()
    print(json.dumps(figures), flush=True)


main()
