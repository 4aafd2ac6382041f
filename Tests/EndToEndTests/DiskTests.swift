import Foundation
import Glibc
import Testing

/// Disks that are full, read-only or broken: it is said, nothing that was stored is lost, and all
/// goes on when the disk is well again.
@Suite(.lane) struct DiskTests {
    // MARK: Full

    /// A device whose journal lies on the small disk.
    private func device(in world: World, on disk: SmallDisk) async throws -> Device {
        let device = Device(world: world, name: "device", home: disk.path + "/home")
        try await device.enroll(world.url, world.invite(.worker, name: "device"))
        return device
    }

    @Test func needIsNotRecordedOnAFullDisk() async throws {
        let world = try await World()
        let disk = try SmallDisk(in: world)
        let device = try await device(in: world, on: disk)
        let before = try await device.add("先")
        try disk.fill()
        let long = String(repeating: "很", count: 2_000)
        let outcome = try await device.run(
            "need", "add", long, "--grid", "152921100001001", exits: 74, wrapper: disk.wrapper())
        #expect(outcome.output.isEmpty)
        #expect(outcome.stderr.contains("nothing was stored"))
        disk.free()
        #expect(try await device.needs().map { $0["id"].text } == [before])
        let after = try await device.add("后")
        try await device.sync()
        #expect(
            Set(try await world.needs().compactMap { $0["id"].text }) == [before, after])
    }

    @Test func pullOntoAFullDiskGoesOnLater() async throws {
        let world = try await World()
        let disk = try SmallDisk(in: world)
        let device = try await device(in: world, on: disk)
        let office = try await world.enrolled("office", .office)
        for number in 0..<4 {
            _ = try await office.add("\(number)" + String(repeating: "很", count: 2_000))
        }
        try await office.sync()
        try disk.fill()
        let outcome = try await device.run("sync", exits: 74, wrapper: disk.wrapper())
        #expect(!outcome.errors.isEmpty)
        disk.free()
        try await device.sync()
        #expect(try await device.needs().count == 4)
    }

    /// A world whose ledger lies on the small disk, behind a link.
    private func hub() async throws -> (World, SmallDisk) {
        let world = try await World(serving: false)
        let disk = try SmallDisk(in: world)
        try FileManager.default.createDirectory(
            atPath: disk.path + "/hub", withIntermediateDirectories: true)
        let ledger = disk.path + "/hub/ledger.sqlite"
        for name in try FileManager.default.contentsOfDirectory(atPath: world.folder)
        where name.hasPrefix("ledger.") {
            try FileManager.default.moveItem(
                atPath: world.folder + "/" + name, toPath: disk.path + "/hub/" + name)
        }
        try FileManager.default.createSymbolicLink(
            atPath: world.ledger, withDestinationPath: ledger)
        return (world, disk)
    }

    /// Whoever sends requests to several hubs sends none to this one then, and sees it recover.
    @Test func hubWithAFullDiskIsNotReadyUntilThereIsRoom() async throws {
        let (world, disk) = try await hub()
        // A bound on the size of files could not be lifted again.
        guard disk.isMounted else { return }
        try await world.serve()
        func readiness() throws -> Int? {
            try RawRequest(method: "GET", path: "/readyz").send(to: world.port)?.status
        }
        let device = try await world.enrolled("device", .worker)
        #expect(try readiness() == 200)
        try disk.fill()
        let long = String(repeating: "很", count: 2_000)
        for number in 0..<50 { _ = try await device.add("\(number)" + long) }
        try await device.sync(exits: 75)
        for _ in 0..<3 { #expect(try readiness() == 503) }
        #expect(try RawRequest(method: "GET", path: "/healthz").send(to: world.port)?.status == 200)
        disk.free()
        try await eventually("the hub to be ready") { try readiness() == 200 }
        try await device.sync()
    }

    @Test func hubWithAFullDiskTakesNothingAndLosesNothing() async throws {
        let (world, disk) = try await hub()
        try await world.serve()
        let device = try await world.enrolled("device", .worker)
        _ = try await device.add("先")
        try await device.sync()
        try await world.stop()
        try disk.fill()
        try await world.serve(port: world.port, wrapper: disk.wrapper(kibibytes: 256))
        let long = String(repeating: "很", count: 2_000)
        for number in 0..<50 { _ = try await device.add("\(number)" + long) }
        let outcome = try await device.sync(exits: 75)
        #expect(outcome.stderr.contains("records are safe"))
        #expect(try await (device.waiting() ?? 0) > 0)
        try await world.admin("import", "categories", "\(Programs.demoData)/categories.csv")
        disk.free()
        try await world.stop()
        try await world.restart()
        try await device.sync()
        #expect(try await world.needs().count == 51)
        try await world.check()
    }

    /// Nothing is promised of a file that cannot be read.
    @Test func damagedJournalIsNotCalledSafe() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        _ = try await device.add("先")
        try await SQLite.run("DELETE FROM audit", on: journal(of: device), in: world)
        let outcome = try await device.sync(exits: 74)
        #expect(outcome.stderr.contains("damaged"))
        #expect(!outcome.stderr.contains("safe"))
    }

    /// What the disk made of a command is not sent, and asks for the person; the rest is sent.
    @Test func damagedCommandIsSetAsideAndSaid() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        let damaged = try await device.add("先")
        let sound = try await device.add("后")
        try await SQLite.run(
            "UPDATE outbox SET content = substr(content, 1, length(content) - 12) WHERE number = 1",
            on: journal(of: device), in: world)
        let outcome = try await device.sync(exits: 65)
        #expect(outcome.lines.contains { $0.contains("refused list") })
        let kept = try await device.refused()
        #expect(kept.map { $0["code"].text } == ["damaged"])
        #expect(kept.map { $0["id"].text } == [damaged])
        #expect(try await world.needs().map { $0["id"].text } == [sound])
        // It is said once.
        try await device.sync()
    }

    @Test func importOntoAFullDiskStoresNothing() async throws {
        let world = try await World(serving: false)
        let disk = try SmallDisk(in: world)
        let ledger = disk.path + "/ledger.sqlite"
        try await world.start(
            [Programs.server, "init", "--banner", "1", "--name", "旗", "--ledger", ledger]
        ).end().expect(0)
        let rows = (0..<20_000).map { "c\($0),类别\($0)\n" }.joined()
        let file = world.folder + "/categories.csv"
        try write("code,name\n" + rows, to: file)
        try disk.fill()
        let command = [Programs.server, "import", "categories", file, "--ledger", ledger]
        let outcome = try await world.start(disk.wrapper() + command).end().expect(74)
        #expect(!outcome.errors.isEmpty)
        disk.free()
        let check = [Programs.server, "check", "--json", "--ledger", ledger]
        #expect(try await world.start(check).end().expect(0).json()["sequence"].integer == 0)
    }

    @Test func initOntoAFullDiskLeavesNothing() async throws {
        let world = try await World(serving: false)
        let disk = try SmallDisk(in: world)
        let ledger = disk.path + "/ledger.sqlite"
        let command = [
            Programs.server, "init", "--banner", "1", "--name", "旗", "--ledger", ledger,
        ]
        try disk.fill()
        try await world.start(disk.wrapper() + command).end().expect(74)
        #expect(!FileManager.default.fileExists(atPath: ledger))
        disk.free()
        try await world.start(command).end().expect(0)
    }

    @Test func enrollingOntoAFullDiskUsesNoCode() async throws {
        let world = try await World()
        let disk = try SmallDisk(in: world)
        let device = Device(world: world, name: "device", home: disk.path + "/home")
        let code = try await world.invite(.worker, name: "device")
        try disk.fill()
        try await device.run("enroll", world.url, code, exits: 74, wrapper: disk.wrapper())
        disk.free()
        try await device.enroll(world.url, code)
    }

    @Test func backupOntoAFullDiskLeavesNothing() async throws {
        let world = try await World()
        let disk = try SmallDisk(in: world)
        try disk.fill()
        let before = try FileManager.default.contentsOfDirectory(atPath: disk.path)
        let file = disk.path + "/backup"
        let command = [Programs.server, "backup", file, "--ledger", world.ledger]
        try await world.start(disk.wrapper() + command).end().expect(74)
        #expect(try FileManager.default.contentsOfDirectory(atPath: disk.path) == before)
        disk.free()
        try await world.admin("backup", file)
    }

    @Test func restoreOntoAFullDiskChangesNothing() async throws {
        let world = try await World(serving: false)
        let disk = try SmallDisk(in: world)
        let ledger = disk.path + "/ledger.sqlite"
        func server(_ arguments: String..., wrapper: [String] = []) async throws -> Outcome {
            try await world.start(wrapper + [Programs.server] + arguments + ["--ledger", ledger])
                .end()
        }
        let backup = world.folder + "/backup"
        try await world.admin("backup", backup)
        try await server("init", "--banner", "152921", "--name", "旗").expect(0)
        try disk.fill()
        let outcome = try await server("restore", backup, wrapper: disk.wrapper()).expect(74)
        #expect(!outcome.errors.isEmpty)
        disk.free()
        let present = try await server("check", "--json").expect(0).json()
        #expect(present["sequence"].integer == 0 && present["events"] == .list([]))
        let names = try FileManager.default.contentsOfDirectory(atPath: disk.path)
        #expect(!names.contains { $0.contains("restoring") || $0.contains("replaced") })
        try await server("restore", backup).expect(0)
        #expect(try await (server("check", "--json").json()["sequence"].integer ?? 0) > 1)
    }

    // MARK: Read-only

    /// Root may write everywhere, so a test as root gives that right up.
    private var withoutPrivilege: [String] {
        getuid() == 0 ? ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"] : []
    }

    private func setMode(_ mode: Int, of device: Device) throws {
        let manager = FileManager.default
        for name in try manager.contentsOfDirectory(atPath: device.home) {
            try manager.setAttributes(
                [.posixPermissions: mode & 0o666], ofItemAtPath: device.home + "/" + name)
        }
        try manager.setAttributes([.posixPermissions: mode], ofItemAtPath: device.home)
    }

    @Test func readOnlyJournalIsSaid() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        _ = try await device.add("先")
        try setMode(0o500, of: device)
        let outcome = try await device.run(
            "need", "add", "后", "--grid", "152921100001001", exits: 74,
            wrapper: withoutPrivilege)
        #expect(outcome.output.isEmpty && outcome.stderr.contains(device.home))
        try setMode(0o700, of: device)
        #expect(try await device.needs().map { $0["text"].text } == ["先"])
    }

    @Test func enrollingIntoAReadOnlyFolderUsesNoCode() async throws {
        let world = try await World()
        let device = world.device("device")
        try FileManager.default.createDirectory(
            atPath: device.home, withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o500])
        let code = try await world.invite(.worker, name: "device")
        try await device.run(
            "enroll", world.url, code, exits: 74, wrapper: withoutPrivilege)
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o700], ofItemAtPath: device.home)
        try await device.enroll(world.url, code)
    }

    /// Each command says the same of a file or folder that it may not use, and not that the disk is
    /// full.
    @Test(arguments: [
        ("/ledger.sqlite", 0o400), ("/ledger.sqlite", 0), ("/ledger.sqlite.lock", 0o400),
        ("/ledger.sqlite.lock", 0), ("", 0o500), ("", 0),
    ])
    func ledgerWithoutPermissionIsSaid(name: String, mode: Int) async throws {
        let world = try await World(serving: false)
        // No log is there, so it has to be made.
        try await SQLite.run("PRAGMA wal_checkpoint(TRUNCATE)", on: world.ledger, in: world)
        let hub = world.folder + "/hub"
        try FileManager.default.createDirectory(atPath: hub, withIntermediateDirectories: true)
        for name in try FileManager.default.contentsOfDirectory(atPath: world.folder)
        where name.hasPrefix("ledger.") {
            try FileManager.default.moveItem(
                atPath: world.folder + "/" + name, toPath: hub + "/" + name)
        }
        #expect(FileManager.default.fileExists(atPath: hub + "/ledger.sqlite.lock"))
        try FileManager.default.setAttributes(
            [.posixPermissions: mode], ofItemAtPath: hub + name)
        for command in ["devices", "check", "serve"] {
            let outcome = try await world.start(
                withoutPrivilege + [Programs.server, command, "--ledger", hub + "/ledger.sqlite"]
            ).end().expect(74)
            #expect(outcome.stderr.contains("hint: ") && !outcome.stderr.contains("space"))
        }
        try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: hub)
    }

    @Test func folderThatCannotBeMade() async throws {
        let world = try await World(serving: false)
        let file = world.folder + "/file"
        try write("", to: file)
        let device = Device(world: world, name: "device", home: file + "/home")
        try await device.enroll("http://127.0.0.1:9", "AAAA-BBBB", exits: 74)
    }

    // MARK: Not a journal, or not one of ours

    private func journal(of device: Device) -> String { device.home + "/journal.sqlite" }

    @Test func newerJournalIsLeftAlone() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        try await SQLite.run("PRAGMA user_version = 999", on: journal(of: device), in: world)
        let before = try Data(contentsOf: URL(filePath: journal(of: device)))
        for command in [["need", "list"], ["need", "add", "水"], ["sync"], ["status"]] {
            let outcome = try await device.start(command).end().expect(1)
            #expect(outcome.stderr.contains("999") && outcome.stderr.contains("Upgrade"))
        }
        #expect(try Data(contentsOf: URL(filePath: journal(of: device))) == before)
    }

    @Test(arguments: [100, 100_000])
    func garbageIsNoJournalAndIsLeftAlone(bytes: Int) async throws {
        let world = try await World(serving: false)
        let device = world.device("device")
        try FileManager.default.createDirectory(
            atPath: device.home, withIntermediateDirectories: true)
        let garbage = Data((0..<bytes).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ 7) })
        try garbage.write(to: URL(filePath: journal(of: device)))
        for command in [["need", "list"], ["sync"], ["enroll", "http://127.0.0.1:9", "AAAA"]] {
            let outcome = try await device.start(command).end().expect(1)
            #expect(outcome.stderr.contains("is not a journal"), "\(command)")
        }
        #expect(try Data(contentsOf: URL(filePath: journal(of: device))) == garbage)
    }

    @Test func databaseOfAnotherProgramIsLeftAlone() async throws {
        let world = try await World(serving: false)
        let device = world.device("device")
        try FileManager.default.createDirectory(
            atPath: device.home, withIntermediateDirectories: true)
        try await SQLite.run("CREATE TABLE mine (x)", on: journal(of: device), in: world)
        let outcome = try await device.run("need", "list", exits: 1)
        #expect(outcome.stderr.contains("is not a journal"))
        let tables = try await SQLite.rows(
            of: "SELECT name FROM sqlite_schema", on: journal(of: device), in: world)
        #expect(tables == ["mine"])
    }

    /// Bad blocks in the middle of the file.
    @Test func damagedJournalIsSaid() async throws {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        _ = try await device.add("门口积水")
        try await SQLite.run(
            "PRAGMA wal_checkpoint(TRUNCATE)", on: journal(of: device), in: world)
        let file = try FileHandle(forUpdating: URL(filePath: journal(of: device)))
        let size = Int(try file.seekToEnd())
        try file.seek(toOffset: 4_096)
        try file.write(contentsOf: Data(repeating: 0xA5, count: size - 4_096))
        try file.close()
        let outcome = try await device.run("need", "list", exits: 74)
        #expect(outcome.stderr.contains("damaged"))
        try await device.run("need", "add", "水", "--grid", "152921100001001", exits: 74)
    }

    @Test func emptyJournalIsNotEnrolled() async throws {
        let world = try await World(serving: false)
        let device = world.device("device")
        try FileManager.default.createDirectory(
            atPath: device.home, withIntermediateDirectories: true)
        try write("", to: journal(of: device))
        try await device.run("need", "list", exits: 77)
    }

    // MARK: Not a ledger

    @Test func newerLedgerIsLeftAlone() async throws {
        let world = try await World(serving: false)
        try await SQLite.run("PRAGMA user_version = 999", on: world.ledger, in: world)
        for command in ["check", "devices", "serve"] {
            let outcome = try await world.admin(command, exits: 1)
            #expect(outcome.stderr.contains("999"), "\(command)")
        }
    }

    @Test func garbageIsNoLedger() async throws {
        let world = try await World(serving: false)
        for name in ["", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: world.ledger + name)
        }
        try write(String(repeating: "garbage ", count: 1_000), to: world.ledger)
        for command in ["check", "devices", "serve"] {
            let outcome = try await world.admin(command, exits: 1)
            #expect(!outcome.errors.isEmpty && outcome.output.isEmpty, "\(command)")
        }
    }

    @Test func missingLedgerIsNotMade() async throws {
        let world = try await World(serving: false)
        let path = world.folder + "/none.sqlite"
        for command in ["check", "serve", "devices"] {
            let outcome = try await world.start([Programs.server, command, "--ledger", path])
                .end().expect(1)
            #expect(outcome.stderr.contains("init"), "\(command)")
        }
        #expect(!FileManager.default.fileExists(atPath: path))
    }

    @Test func initOverwritesNothing() async throws {
        let world = try await World(serving: false)
        try await world.admin("init", "--banner", "1", "--name", "x", exits: 1)
        try await world.check()
    }
}
