import Foundation
import Glibc
import Testing

/// Several programs at one journal or one ledger.
@Suite(.lane) struct ConcurrencyTests {
    @Test func eightCommandsAtOnceAllRecord() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let texts = (0..<8).map { "水\($0)" }
        let ids = try await withThrowingTaskGroup(of: String.self) { group in
            for text in texts { group.addTask { try await worker.add(text) } }
            return try await group.reduce(into: Set<String>()) { $0.insert($1) }
        }
        #expect(ids.count == 8)
        try await worker.sync()
        #expect(try await world.needs().compactMap { $0["text"].text }.sorted() == texts)
        try await world.check()
    }

    @Test func twoSyncsAtOnceSendOnce() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        for number in 0..<5 { _ = try await worker.add("水\(number)") }
        let first = try worker.start(["sync"])
        let second = try worker.start(["sync"])
        // Either both succeed, or one says that it is busy.
        let codes = [try await first.end().code, try await second.end().code].sorted()
        #expect(codes == [0, 0] || codes == [0, 75])
        #expect(try await worker.waiting() == 0)
        #expect(try await world.needs().count == 5)
    }

    @Test func recordingWhileSyncingWorks() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let silent = try FakeServer.silent()
        try await SQLite.run(
            "UPDATE enrolment SET server = '\(silent.url)'",
            on: worker.home + "/journal.sqlite", in: world)
        let sync = try worker.start(["sync"])
        try await eventually("the connection") { silent.connections == 1 }
        let id = try await worker.add("门口积水")
        #expect(try await worker.status(of: id) == "recorded")
        sync.signal(SIGINT)
        try await sync.end().expect(130)
    }

    /// Another program holds the journal for longer than a command waits.
    @Test func journalInUseIsSaidAfterABoundedWait() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let script = """
            import sqlite3, sys, time
            connection = sqlite3.connect(sys.argv[1], isolation_level=None)
            connection.execute("BEGIN IMMEDIATE")
            print("held", flush=True)
            sys.stdin.read() or time.sleep(60)
            """
        let holder = try world.start(
            ["python3", "-c", script, worker.home + "/journal.sqlite"])
        try await eventually("the lock") { holder.stdout == "held\n" }
        let outcome = try await worker.run(
            "need", "add", "水", "--grid", "152921100001001", exits: 75)
        #expect(outcome.stderr.contains("another command"))
        await holder.destroy()
        _ = try await worker.add("水")
        #expect(try await worker.needs().count == 1)
    }

    /// A copied journal is noticed (rule 10): what both recorded is there, and nothing twice.
    @Test func copiedJournalGoesOnAsANewOne() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        _ = try await worker.add("一")
        try await worker.sync()
        let copy = world.device("copy")
        try FileManager.default.copyItem(atPath: worker.home, toPath: copy.home)
        _ = try await worker.add("二")
        _ = try await copy.add("三")
        for device in [worker, copy, worker] { try await device.sync() }
        #expect(try await copy.state()["notices"].elements.count == 1)
        // One sentence: what happened, and that nothing was lost.
        #expect(
            try await copy.run("status").stdout.contains(
                "a copy or a restored backup; nothing in it was lost, it went on as a new one, "
                    + "and 1 waiting command with it.\n"))
        #expect(
            try await copy.run("status", "--language", "zh-Hans").stdout.contains(
                "本机记录被发现是副本或由备份恢复；其中内容没有丢失，已作为新的记录继续，1 项随之上传。\n"))
        for device in [worker, copy] {
            let texts = try await device.needs().compactMap { $0["text"].text }
            #expect(Set(texts) == ["一", "二", "三"] && texts.count == 3)
        }
        #expect(try await world.needs().count == 3)
        try await world.check()
    }

    // MARK: The server

    @Test func secondServerRefusesToStart() async throws {
        let world = try await World()
        let outcome = try await world.admin("serve", "--listen", "127.0.0.1:0", exits: 75)
        #expect(outcome.stderr.contains("another server"))
        #expect(world.isServing)
        _ = try await world.enrolled("worker", .worker)
    }

    @Test(arguments: [SIGTERM, SIGINT])
    func signalStopsTheServerCleanly(number: Int32) async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        _ = try await worker.add("水")
        try await worker.sync()
        let server = try await world.stop(with: number)
        #expect(server.stderr.hasSuffix("stopped\n"))
        try await world.restart()
        #expect(try await worker.sync().stdout == "nothing new\n")
    }

    /// People copy what they see, and an old ledger is as sound to `check` as a new one.
    @Test func stoppedLedgerIsOneFile() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let id = try await worker.add("水")
        try await worker.sync()
        try await world.stop()
        let copy = world.folder + "/copy.sqlite"
        try await world.start(["cp", world.ledger, copy]).end().expect(0)
        let held = try await world.start(
            [Programs.server, "need", "list", "--json", "--ledger", copy]
        ).end().expect(0).json().elements
        #expect(held.map { $0["id"].text } == [id])
    }

    @Test func operatorsCommandsWorkUnderLoad() async throws {
        let world = try await World()
        let devices = [
            try await world.enrolled("a", .worker), try await world.enrolled("b", .worker),
        ]
        let first = try await devices[0].add("一")
        try await devices[0].sync()
        let backup = world.folder + "/backup.sqlite"
        try await withThrowingTaskGroup(of: Void.self) { group in
            for device in devices {
                group.addTask {
                    for number in 0..<8 {
                        _ = try await device.add("\(device.name)\(number)")
                        try await device.sync()
                    }
                }
            }
            group.addTask {
                try await world.admin(
                    "import", "teams", "\(Programs.demoData)/teams.csv")
                _ = try await world.invite(.worker, name: "late")
                try await world.admin("dispatch", first, "--team", "T02")
                try await world.admin("backup", backup)
                try await world.admin("devices")
                try await world.admin("conflict", "list")
                try await world.check()
            }
            try await group.waitForAll()
        }
        #expect(try await world.needs().count == 17)
        try await world.check()
        try await world.start([Programs.server, "check", "--ledger", backup]).end().expect(0)
        let held = try await world.start(
            [Programs.server, "need", "list", "--json", "--ledger", backup]
        ).end().expect(0).json().elements
        #expect(held.contains { $0["id"].text == first && $0["team"].text == "T02" })
    }

    @Test func backupServesInTheLedgersPlace() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let id = try await worker.add("水")
        try await worker.sync()
        let backup = world.folder + "/backup.sqlite"
        try await world.admin("backup", backup)
        try await world.stop()
        try await world.start(
            ["sh", "-c", "rm '\(world.ledger)'* && cp '\(backup)' '\(world.ledger)'"]
        ).end().expect(0)
        try await world.restart()
        try await worker.sync()
        #expect(try await world.needs().map { $0["id"].text } == [id])
    }

    @Test func backupOverwritesNothing() async throws {
        let world = try await World()
        let backup = world.folder + "/backup.sqlite"
        try await world.admin("backup", backup)
        let before = try Data(contentsOf: URL(filePath: backup))
        let worker = try await world.enrolled("worker", .worker)
        _ = try await worker.add("水")
        try await worker.sync()
        for path in [backup, world.ledger] {
            let outcome = try await world.admin("backup", path, exits: 1)
            #expect(outcome.stderr.contains(path))
        }
        #expect(try Data(contentsOf: URL(filePath: backup)) == before)
        #expect(try await world.needs().count == 1)
        try await world.check()
    }

    @Test func importWhileServingReachesTheDevices() async throws {
        let world = try await World()
        let worker = try await world.enrolled("worker", .worker)
        let file = world.folder + "/categories.csv"
        try write("code,name\nroads,道路\n", to: file)
        try await world.admin("import", "categories", file)
        try await worker.sync()
        _ = try await worker.add("路坏了", "--category", "道路")
    }
}
