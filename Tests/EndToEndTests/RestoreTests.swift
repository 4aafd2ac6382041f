import Foundation
import Glibc
import Testing

/// A backup in place of the ledger, with the real programs (README, "Backups").
@Suite(.lane) struct RestoreTests {
    private func names(_ folder: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: folder)
    }

    private func kinds(_ world: World) async throws -> [String] {
        try await world.admin("check", "--json").json()["events"].elements
            .compactMap { $0["kind"].text }
    }

    /// A need before the backup, another after it, and a device that has both.
    private func worldWithABackup() async throws -> (World, Device, backup: String) {
        let world = try await World()
        let device = try await world.enrolled("device", .worker)
        _ = try await device.add("先")
        try await device.sync()
        let backup = world.folder + "/backup"
        try await world.admin("backup", backup)
        _ = try await device.add("后")
        try await device.sync()
        return (world, device, backup)
    }

    @Test func restoredLedgerSaysSoAndDevicesGoOn() async throws {
        let (world, device, backup) = try await worldWithABackup()
        try await world.stop()
        let english = try await world.admin("restore", backup)
        #expect(english.output.isEmpty)
        #expect(english.stderr.contains(" 1 need; its last change"))
        #expect(english.stderr.contains("bring back"))
        let checked = try await world.admin("check")
        #expect(checked.output.isEmpty && checked.stderr.contains("restored from a backup"))
        #expect(try await world.needs().map { $0["text"].text } == ["先"])

        try await world.restart()
        #expect(world.serverLog.contains("this ledger was restored"))
        let third = try await device.add("再")
        try await device.sync()
        let needs = try await world.needs()
        #expect(needs.contains { $0["id"].text == third })
        #expect(Set(needs.map { $0["text"].text }) == ["先", "后", "再"])
        #expect(world.serverLog.contains("a device was ahead of this ledger"))
        #expect(try await kinds(world) == ["restored", "device-ahead"])
        #expect(try await device.waiting() == 0)
        // One sentence: what happened, and that nothing was lost.
        #expect(
            try await device.run("status").stdout.contains(
                "The server was restored from a backup; nothing was lost of the 1 record whose "
                    + "changes this device brought back.\n"))
        #expect(
            try await device.run("status", "--language", "zh-Hans").stdout.contains(
                "服务器曾由备份恢复；没有丢失内容，本机已把保存的 1 条记录的改动补传回去。\n"))
        try await world.check()
    }

    /// A code that was used after the backup enrols nobody else, and who had used it goes on.
    @Test func whoCameAfterTheBackupStays() async throws {
        let (world, device, backup) = try await worldWithABackup()
        let code = try await world.invite(.worker, name: "late")
        let late = world.device("late")
        try await late.enroll(world.url, code)
        _ = try await late.add("迟")
        try await late.sync()
        try await world.stop()
        let restored = try await world.admin("restore", backup)
        #expect(restored.stderr.contains("devices enrolled 1"))
        try await world.restart()
        try await world.device("other").enroll(world.url, code, exits: 77)
        try await device.sync()
        // Nobody has come yet who wrote it, and still it is known who did.
        let needs = try await world.needs()
        #expect(needs.count { $0["recorded_by"].text == "device" } == 2)
        try await late.sync()
        #expect(try await world.needs().contains { $0["recorded_by"].text == "late" })
        let devices = try await world.admin("devices", "--json").json().elements
        #expect(devices.map { $0["lost"].integer } == [0, 0])
        try await world.check()
    }

    @Test func checkSaysWhatToDo() async throws {
        let world = try await World(serving: false)
        try await SQLite.run(
            "UPDATE bucket SET digest = digest + 1", on: world.ledger, in: world)
        let english = try await world.admin("check", exits: 1)
        #expect(english.stdout.contains("digest"))
        #expect(english.stderr.contains("restore the newest backup"))
        let chinese = try await world.admin("check", "--language", "zh-Hans", exits: 1)
        #expect(chinese.stderr.contains("恢复最近一份完好的备份"))
    }

    /// Whichever part of the ledger is damaged, there are findings, and an object for scripts.
    @Test func checkTellsOfEveryDamagedTable() async throws {
        let world = try await World(serving: false)
        let backup = world.folder + "/backup"
        try await world.admin("backup", backup)
        let sound = try Data(contentsOf: URL(filePath: backup))
        let roots = try await SQLite.rows(
            of: "SELECT rootpage || ' ' || name FROM sqlite_schema WHERE rootpage > 1", on: backup,
            in: world)
        #expect(roots.count > 20)
        let damaged = world.folder + "/damaged"
        let pageBytes = 4_096
        for root in roots {
            let page = try #require(root.split(separator: " ").first.flatMap { Int($0) })
            var bytes = sound
            let start = (page - 1) * pageBytes
            bytes.replaceSubrange(start..<start + 64, with: repeatElement(0xA5, count: 64))
            for ending in ["-wal", "-shm"] {
                try? FileManager.default.removeItem(atPath: damaged + ending)
            }
            try bytes.write(to: URL(filePath: damaged))
            let command = [Programs.server, "check", "--ledger", damaged]
            let lines = try await world.start(command).end().expect(1)
            #expect(!lines.output.isEmpty, "\(root): \(lines)")
            #expect(lines.stderr.contains("restore the newest backup"), "\(root): \(lines)")
            let json = try await world.start(command + ["--json"]).end().expect(1).json()
            #expect(json["sound"] == .bool(false), "\(root)")
            #expect(!json["findings"].elements.isEmpty, "\(root)")
        }
    }

    @Test func restoreSpeaksChinese() async throws {
        let world = try await World(serving: false)
        let backup = world.folder + "/backup"
        try await world.admin("backup", backup)
        let outcome = try await world.admin("restore", backup, "--language", "zh-Hans")
        #expect(outcome.stderr.contains("自动补回"))
        let checked = try await world.admin("check", "--language", "zh-Hans")
        #expect(checked.stderr.contains("备份恢复"))
    }

    /// Somebody copied older files back by hand, as one must not.
    @Test func olderCopyIsNoticedWhenADeviceComes() async throws {
        let (world, device, backup) = try await worldWithABackup()
        try await world.stop()
        for ending in ["", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: world.ledger + ending)
        }
        try FileManager.default.copyItem(atPath: backup, toPath: world.ledger)
        try await world.restart()
        #expect(try await kinds(world) == [])
        try await device.sync()
        try await device.sync()
        #expect(world.serverLog.components(separatedBy: "ahead of this ledger").count == 2)
        #expect(try await kinds(world) == ["device-ahead"])
        try await world.check()
        try await world.stop()
        try await world.restart()
        #expect(world.serverLog.contains("ahead of this ledger"))
    }

    @Test func servedLedgerIsNotRestored() async throws {
        let (world, device, backup) = try await worldWithABackup()
        for language in ["en", "zh-Hans"] {
            let outcome = try await world.admin(
                "restore", backup, "--language", language, exits: 75)
            #expect(outcome.stderr.contains(language == "en" ? "stop the server" : "停止服务器"))
        }
        try await device.sync()
        #expect(try await world.needs().count == 2)
        #expect(try await kinds(world) == [])
    }

    /// Of restores at once each has the ledger to itself, or says that another has it.
    @Test func restoresAtOnceDoNotMix() async throws {
        let world = try await World(serving: false)
        let backup = world.folder + "/backup"
        try await world.admin("backup", backup)
        let command = [Programs.server, "restore", backup, "--ledger", world.ledger]
        let children = try (0..<4).map { _ in try world.start(command) }
        var codes: [Int] = []
        for child in children { codes.append(try await child.end().code) }
        #expect(Set(codes).isSubset(of: [0, 75]) && codes.contains(0))
        try await world.check()
        #expect(
            try names(world.folder).count { $0.contains(".replaced-") }
                == codes.count { $0 == 0 })
        #expect(try await kinds(world) == ["restored"])
    }

    @Test func whatIsNoBackupIsSaid() async throws {
        let world = try await World(serving: false)
        let garbage = world.folder + "/garbage"
        try write(String(repeating: "garbage ", count: 1_000), to: garbage)
        let newer = world.folder + "/newer"
        try await world.admin("backup", newer)
        try await SQLite.run("PRAGMA user_version = 999", on: newer, in: world)
        for (file, words) in [
            (garbage, "not a backup"), (newer, "999"), (world.folder + "/none", "no file"),
            (world.ledger, "itself"), (world.folder, "not a file"),
        ] {
            let outcome = try await world.admin("restore", file, exits: 1)
            #expect(outcome.stderr.contains(words) && outcome.stderr.contains("hint: "))
        }
        try await world.check()
        #expect(try await kinds(world) == [])
    }

    @Test(arguments: [true, false])
    func lostLedgerIsRestored(isDamaged: Bool) async throws {
        let (world, device, backup) = try await worldWithABackup()
        try await world.stop()
        if isDamaged {
            try write(String(repeating: "garbage ", count: 1_000), to: world.ledger)
        } else {
            try FileManager.default.removeItem(atPath: world.ledger)
        }
        let restored = try await world.admin("restore", backup)
        #expect(
            restored.stderr.contains(isDamaged ? "cannot be read" : "there was no former ledger")
                && restored.stderr.contains("give out new ones"))
        #expect(try await world.needs().map { $0["text"].text } == ["先"])
        try await world.restart()
        try await device.sync()
        try await world.check()
    }

    /// Wherever it is killed, there is the former ledger or the restored one, whole.
    @Test func killedRestoreLeavesOneOfTheTwo() async throws {
        let world = try await World(serving: false)
        let backup = world.folder + "/backup"
        try await world.admin("backup", backup)
        let backedUp = try await world.admin("check", "--json").json()["sequence"].integer ?? 0
        let table = world.folder + "/categories.csv"
        try await forEachRound(Programs.isLong ? 100 : 10) { round, random in
            try write("code,name\nc\(round),类别\n", to: table)
            try await world.admin("import", "categories", table)
            let before = try await world.admin("check", "--json").json()
            let restore = try world.start(
                [Programs.server, "restore", backup, "--ledger", world.ledger])
            try await Task.sleep(for: .milliseconds(random.below(250)))
            restore.signal(SIGKILL)
            _ = try await restore.end()
            let after = try await world.admin("check", "--json").json()
            let isFormer =
                after["sequence"] == before["sequence"] && after["events"] == before["events"]
            let isRestored =
                after["sequence"].integer == backedUp + 1 && after["events"].elements.count == 1
            guard isFormer || isRestored else {
                throw Surprise("neither: \(after), before: \(before)")
            }
        }
        try await world.admin("restore", backup)
        #expect(try !names(world.folder).contains { $0.contains(".restoring") })
    }
}
