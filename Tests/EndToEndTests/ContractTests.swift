import Foundation
import Testing

/// `--json` is a contract: these shapes are what scripts rely on.
@Suite(.lane) struct ContractTests {
    private static let statuses = Shape.oneOf([
        "recorded", "dispatched", "declined", "accepted", "started", "finished", "rated",
        "withdrawn",
    ])
    private static let order = Shape.object([
        "team": .text, "team_name": .text, "due": .optional(.date),
    ])
    private static let answer = Shape.object([
        "verdict": .oneOf(["accepted", "declined", "started", "finished"]), "text": .text,
        "at": .optional(.time),
    ])
    private static let rating = Shape.object(["grade": .integer, "comment": .text])

    private static let needMembers: [String: Shape] = [
        "id": .id, "short_id": .text, "status": statuses, "text": .text,
        "category": .optional(.text), "category_name": .optional(.text),
        "grid": .optional(.text), "grid_name": .optional(.text), "resident": .optional(.text),
        "phone": .optional(.text), "address": .optional(.text), "urgency": .optional(.integer),
        "location": .optional(.text), "recorded_at": .time, "recorded_at_approximate": .bool,
        "recorded_by": .optional(.text), "dispatch": .optional(order),
        "answer": .optional(answer), "rating": .optional(rating),
        "withdrawal": .optional(.text), "overdue": .bool, "new": .bool, "unsent": .bool,
        "conflicts": .list(.text),
    ]
    private static let need = Shape.object(needMembers)
    private static let note = Shape.object([
        "id": .id, "text": .text, "recorded_at": .time, "recorded_by": .optional(.text),
        "unsent": .bool,
    ])
    private static let sheet = Shape.object(needMembers.merging(["notes": .list(note)]) { $1 })

    private static let line = Shape.object([
        "field": .text, "value": .optional(.anything), "at": .time, "at_approximate": .bool,
        "by": .optional(.text), "replica": .text, "counter": .integer,
        "sequence": .optional(.integer), "live": .bool, "shown": .bool,
        "clock": .dictionary(.integer),
    ])
    private static let version = Shape.object([
        "number": .integer, "field": .text, "value": .optional(.text), "at": .time,
        "by": .optional(.text), "shown": .bool,
    ])
    private static let conflicts = Shape.object([
        "conflicts": .list(
            .object([
                "id": .id, "field": .text, "contested_withdrawal": .bool,
                "versions": .list(version),
            ]))
    ])
    private static let refusedGroup = Shape.object([
        "number": .integer, "id": .id, "need": .optional(.id), "code": .text,
        "field": .optional(.text), "reason": .text, "written_at": .time,
        "refused_at": .time, "changes": .dictionary(.optional(.anything)),
    ])
    private static let status = Shape.object([
        "device": .integer, "name": .text, "role": .oneOf(["worker", "team", "office"]),
        "territory": .optional(.text), "team": .optional(.text), "banner": .text,
        "server": .text, "waiting_commands": .integer, "waiting_changes": .integer,
        "last_sync": .optional(.time), "needs": .integer, "conflicts": .integer,
        "refused": .integer, "pull_under_way": .bool, "notices": .list(.text),
    ])
    private static let news = [
        "new_jobs", "new_needs", "dispatched", "accepted", "declined", "started", "finished",
        "rated", "withdrawn", "restored", "changed", "noted", "new_conflicts",
        "settled_conflicts", "departed",
    ]
    private static let sync = Shape.object([
        "complete": .bool, "sent": .integer, "refused": .integer, "superseded": .integer,
        "waiting": .integer,
        "news": .object(
            Dictionary(uniqueKeysWithValues: news.map { ($0, Shape.list(.id)) })),
        "notices": .list(.text), "mended": .integer, "bytes_up": .integer,
        "bytes_down": .integer,
        "round_trips": .integer, "connections": .integer, "milliseconds": .integer,
        "error": .optional(.text),
    ])
    private static let check = Shape.object([
        "sound": .bool, "findings": .list(.text), "records": .integer, "damaged": .integer,
        "damaged_commands": .integer,
    ])

    /// A need with everything that can be in it, finished and rated, and another in conflict.
    private struct Full {
        let world: World
        let worker: Device
        let team: Device
        let office: Device
        let rated: String
        let disputed: String
    }

    private func full() async throws -> Full {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let team = try await world.enrolled("team", .team)
        let office = try await world.enrolled("office", .office)
        let rated = try await worker.add(
            "缺路灯", "--category", "lighting", "--resident", "王秀英", "--phone", "138",
            "--address", "3号楼", "--urgency", "2", "--at", "40.65,109.84")
        let disputed = try await worker.add("门口积水")
        try await worker.run("note", rated, "很急")
        for device in [worker, office, team] { try await device.sync() }
        try await team.run("job", "accept", rated)
        try await team.run("job", "finish", rated, "--result", "装好了")
        try await office.run("need", "edit", disputed, "address=二")
        try await worker.run("need", "edit", disputed, "address=一")
        for device in [team, office, worker] { try await device.sync() }
        try await worker.run("need", "rate", rated, "--grade", "5", "--comment", "谢谢")
        for device in [worker, office, team] { try await device.sync() }
        return Full(
            world: world, worker: worker, team: team, office: office, rated: rated,
            disputed: disputed)
    }

    @Test func needList() async throws {
        let full = try await full()
        let json = try await full.office.run("need", "list", "--json").json()
        #expect(Shape.object(["needs": .list(Self.need)]).faults(in: json) == [])
        #expect(json["needs"].elements.count == 2)
    }

    @Test func needShow() async throws {
        let full = try await full()
        let json = try await full.office.run("need", "show", full.rated, "--json").json()
        #expect(Self.sheet.faults(in: json) == [])
        for name in ["dispatch", "answer", "rating", "location"] { #expect(json[name] != .null) }
        #expect(json["notes"].elements.count == 1)
    }

    @Test func needShowHistory() async throws {
        let full = try await full()
        let json = try await full.worker.run(
            "need", "show", full.rated, "--history", "--json"
        ).json()
        #expect(Shape.list(Self.line).faults(in: json["history"]) == [])
        #expect(Set(json["history"].elements.map { $0["field"].text }).count == 11)
    }

    @Test func needAdd() async throws {
        let world = try await World(serving: true)
        let worker = try await world.enrolled("worker", .worker)
        let json = try await worker.run(
            "need", "add", "门口积水", "--grid", "152921100001001", "--json"
        ).json()
        #expect(Self.need.faults(in: json) == [])
        #expect(json["unsent"].isTrue && json["recorded_at_approximate"].isTrue)
    }

    @Test func jobList() async throws {
        let full = try await full()
        let json = try await full.team.run("job", "list", "--json").json()
        #expect(Shape.object(["jobs": .list(Self.need)]).faults(in: json) == [])
        #expect(json["jobs"].elements.count == 1)
    }

    @Test func jobShow() async throws {
        let full = try await full()
        let json = try await full.team.run("job", "show", full.rated, "--json").json()
        #expect(Self.sheet.faults(in: json) == [])
    }

    @Test(arguments: [["conflict", "list"], ["conflict", "show"]])
    func conflicts(command: [String]) async throws {
        let full = try await full()
        let whole = command + (command[1] == "show" ? [full.disputed] : []) + ["--json"]
        let json = try await full.worker.start(whole).end().expect(0).json()
        #expect(Self.conflicts.faults(in: json) == [])
        #expect(json["conflicts"][0]["versions"].elements.count == 2)
    }

    @Test func refused() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        _ = try await device.add("门口积水")
        let code = try await world.invite(.team, name: "device")
        try await device.enroll(world.url, code, exits: 65)
        let list = try await device.run("refused", "list", "--json").json()
        #expect(Shape.object(["refused": .list(Self.refusedGroup)]).faults(in: list) == [])
        let shown = try await device.run("refused", "show", "1", "--json").json()
        #expect(Self.refusedGroup.faults(in: shown) == [])
        #expect(list["refused"] == .list([shown]))
    }

    @Test func status() async throws {
        let full = try await full()
        for device in [full.worker, full.team] {
            #expect(try await Self.status.faults(in: device.state()) == [])
        }
        #expect(try await full.worker.state()["conflicts"].integer == 1)
    }

    @Test func sync() async throws {
        let full = try await full()
        try await full.worker.run("note", full.rated, "好")
        let done = try await full.worker.run("sync", "--json").json()
        #expect(Self.sync.faults(in: done) == [])
        #expect(done["complete"].isTrue && done["sent"].integer == 1)
        let pulled = try await full.office.run("sync", "--json").json()
        #expect(pulled["news"]["noted"] == .list([.text(full.rated)]))
        try await full.world.stop()
        let failed = try await full.worker.run("sync", "--json", exits: 69).json()
        #expect(Self.sync.faults(in: failed) == [])
        #expect(!failed["complete"].isTrue && failed["error"] != .null)
    }

    /// What a disk altered is told, and is mended by the next sync, it alone.
    @Test func check() async throws {
        let full = try await full()
        let sound = try await full.worker.run("check", "--json").json()
        #expect(Self.check.faults(in: sound) == [])
        #expect(sound["sound"].isTrue && sound["findings"].elements.isEmpty)
        let journal = full.worker.home + "/journal.sqlite"
        try await SQLite.run(
            "UPDATE record SET state = x'01' WHERE hex(id) = upper('\(full.rated.hexDigits)')",
            on: journal, in: full.world)
        try await SQLite.run(
            "DELETE FROM record WHERE hex(id) = upper('\(full.disputed.hexDigits)')", on: journal,
            in: full.world)
        try await full.worker.run("need", "list")
        let damaged = try await full.worker.run("check", "--json", exits: 1).json()
        #expect(Self.check.faults(in: damaged) == [])
        #expect(damaged["damaged"].integer == 1 && damaged["findings"].elements.count == 2)
        let chinese = try await full.worker.run("check", "--language", "zh-Hans", exits: 1)
        #expect(chinese.lines.contains { $0.contains("下次同步") })
        #expect(try await full.worker.run("sync", "--json").json()["mended"].integer == 2)
        try await full.worker.run("check")
        #expect(try await full.worker.needs().count == 2)
        #expect(try await full.worker.state()["notices"].elements.count == 1)
    }

    @Test func serverDevices() async throws {
        let full = try await full()
        let shape = Shape.list(
            .object([
                "id": .integer, "name": .text, "role": .oneOf(["worker", "team", "office"]),
                "territory": .optional(.text), "team": .optional(.text), "enrolled": .time,
                "last_sync": .optional(.time), "behind": .integer, "refused": .integer,
                "lost": .integer, "revoked": .bool,
            ]))
        let json = try await full.world.admin("devices", "--json").json()
        #expect(shape.faults(in: json) == [])
        #expect(json.elements.map { $0["name"].text } == ["worker", "team", "office"])
    }

    @Test func serverNeeds() async throws {
        let full = try await full()
        let shape = Shape.list(
            .object([
                "id": .id, "status": Self.statuses, "overdue": .bool, "text": .text,
                "category": .optional(.text), "grid": .text, "created": .time,
                "recorded_by": .text, "team": .optional(.text), "due": .optional(.date),
                "grade": .optional(.integer), "conflicts": .list(.text),
            ]))
        let json = try await full.world.admin("need", "list", "--json").json()
        #expect(shape.faults(in: json) == [])
        #expect(json.elements.map { $0["grade"].integer } == [5, nil])
    }

    @Test func serverConflicts() async throws {
        let full = try await full()
        let version = Shape.object(["writer": .text, "time": .time, "value": .optional(.text)])
        let shape = Shape.list(
            .object([
                "need": .id, "field": .text, "versions": .list(version), "contested": .list(.text),
            ]))
        let json = try await full.world.admin("conflict", "list", "--json").json()
        #expect(shape.faults(in: json) == [])
        #expect(json.elements.map { $0["need"].text } == [full.disputed])
    }

    @Test func serverCheck() async throws {
        let world = try await World(serving: false)
        let event = Shape.object([
            "kind": .oneOf(["restored", "device-ahead", "record-altered"]), "time": .time,
            "term": .text,
            "sequence": .integer, "device": .optional(.integer),
        ])
        let shape = Shape.object([
            "sound": .bool, "findings": .list(.text), "sequence": .integer, "needs": .integer,
            "bytes": .integer, "events": .list(event),
        ])
        try await world.admin("backup", world.folder + "/backup")
        try await world.admin("restore", world.folder + "/backup")
        let json = try await world.admin("check", "--json").json()
        #expect(shape.faults(in: json) == [])
        #expect(json["events"].elements.count == 1)
    }

    /// The JSON is the same in every language.
    @Test func languageDoesNotTouchJSON() async throws {
        let full = try await full()
        for command in [["need", "list"], ["conflict", "list"], ["status"], ["refused", "list"]] {
            let english = try await full.worker.start(command + ["--json", "--language", "en"])
                .end().expect(0)
            let chinese = try await full.worker.start(
                command + ["--json", "--language", "zh-Hans"]
            )
            .end().expect(0)
            #expect(english.output == chinese.output, "\(command)")
        }
    }

    /// Scripts are written from the README.
    @Test func readmeNamesEveryMember() throws {
        let readme = try String(
            contentsOf: Programs.repository.appending(path: "README.md"), encoding: .utf8)
        let shapes = [
            Self.sheet, Self.line, Self.conflicts, Self.refusedGroup, Self.status, Self.sync,
            Self.check,
        ]
        for name in shapes.reduce(into: Set<String>(), { $0.formUnion($1.names) }).sorted() {
            #expect(readme.contains("`\(name)`"), "\(name)")
        }
    }
}

extension String {
    fileprivate var hexDigits: String { filter(\.isHexDigit) }
}
