import Foundation
import Glibc
import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

@Suite struct JournalFileTests {
    private func pragma(_ bench: Bench, _ sql: String) throws -> String {
        let statement = try bench.journal.connection.prepare(uncached: sql)
        return try statement.first { $0.text(at: 0) } ?? ""
    }

    private func size(_ path: String) -> Int {
        (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? 0
    }

    @Test func commitsSurviveAPowerCut() throws {
        let bench = try Bench()
        #expect(try pragma(bench, "PRAGMA journal_mode") == "wal")
        #expect(try pragma(bench, "PRAGMA synchronous") == "2")
        #expect(try pragma(bench, "PRAGMA wal_autocheckpoint") == "128")
    }

    @Test func onlyTheOwnerMayReadTheToken() throws {
        let bench = try Bench()
        try bench.add()
        for suffix in ["", "-wal"] {
            var status = stat()
            #expect(stat(bench.path + suffix, &status) == 0)
            #expect(status.st_mode & 0o777 == 0o600)
        }
    }

    @Test func aFileThatOthersMayReadIsClosedToThem() throws {
        let bench = try Bench()
        chmod(bench.path, 0o644)
        try bench.reopen()
        var status = stat()
        #expect(stat(bench.path, &status) == 0)
        #expect(status.st_mode & 0o777 == 0o600)
    }

    /// A frame of the log is one page, so this is what one command makes the disk write.
    @Test func oneRecordedNeedDirtiesThreePagesAtMost() throws {
        let bench = try Bench()
        // An empty log, so that its length counts this command alone.
        try bench.journal.connection.checkpoint(.truncate)
        let text = FieldEdit(.text, .text("小区里缺路灯，晚上老人出门不安全"))
        _ = try bench.journal.addNeed(
            [text, FieldEdit(.grid, .text(Bench.grid))], clocks: bench.now)
        let frames = (size(bench.path + "-wal") - 32) / (4_096 + 24)
        #expect((1...3).contains(frames))
    }

    @Test func closingFoldsNothingAndLosesNothing() throws {
        let bench = try Bench()
        let id = try bench.add("留在日志里")
        try bench.reopen()
        #expect(size(bench.path + "-wal") > 0)
        #expect(try bench.shown(id).text == "留在日志里")
    }

    /// As programs do that run for one command, one after the other, and share no memory.
    private func addNeeds(_ count: Int, _ bench: Bench, to path: String) throws {
        for number in 0..<count {
            let journal = try Journal(path: path)
            _ = try journal.addNeed(
                [
                    FieldEdit(.text, .text("水管漏水 \(number)")),
                    FieldEdit(.grid, .text(Bench.grid)),
                ], clocks: bench.now)
        }
    }

    /// A copy that nobody has open.
    private func closedCopy(_ bench: Bench) throws -> String {
        let copy = bench.directory + "/copy.sqlite"
        for suffix in ["", "-wal"] {
            try FileManager.default.copyItem(
                atPath: bench.path + suffix, toPath: copy + suffix)
        }
        return copy
    }

    @Test func theLogOfManyCommandsStaysShort() throws {
        let bench = try Bench()
        let path = try closedCopy(bench)
        var longest = 0
        for _ in 0..<15 {
            try addNeeds(10, bench, to: path)
            longest = max(longest, size(path + "-wal"))
        }
        // Beyond it lie the frames of the command that exceeds it.
        #expect(longest < (Int(JournalLimits.logFramesMax) + 20) * 4_120)
        #expect(try Journal(path: path).needs().count == 150)
    }

    /// Somebody who reads meanwhile holds up no command, and is not held up.
    @Test func aLongLogIsLeftToWhoComesLater() throws {
        let bench = try Bench()
        let path = try closedCopy(bench)
        try addNeeds(40, bench, to: path)
        let reader = try Connection(path: path, mode: .readOnly)
        func count() throws -> Int64? {
            try reader.first("SELECT count(*) FROM outbox") { $0.integer(at: 0) }
        }
        try reader.transaction(.deferred) {
            let before = try count()
            try addNeeds(60, bench, to: path)
            let after = try count()
            #expect(before == 40 && after == 40)
            #expect(size(path + "-wal") > Int(JournalLimits.logFramesMax) * 4_120)
        }
        let needs = try Journal(path: path).needs()
        #expect(needs.count == 100)
        #expect(size(path + "-wal") == 0)
    }

    @Test func aMissingJournalIsNotEnrolled() throws {
        let bench = try Bench()
        expect(.notEnrolled) { try Journal(path: bench.directory + "/other.sqlite") }
        #expect(!FileManager.default.fileExists(atPath: bench.directory + "/other.sqlite"))
    }

    @Test func anEmptyFileIsNotEnrolled() throws {
        let bench = try Bench()
        let path = bench.directory + "/empty.sqlite"
        #expect(FileManager.default.createFile(atPath: path, contents: Data()))
        expect(.notEnrolled) { try Journal(path: path) }
    }

    @Test func aNewJournalBelongsToNobody() throws {
        let bench = try Bench(enrolled: false)
        #expect(try bench.journal.identity() == nil)
        #expect(try bench.journal.replica() != .none)
        expect(.notEnrolled) { try bench.add() }
        expect(.notEnrolled) { try bench.request() }
        expect(.notEnrolled) { try bench.journal.hubAccess() }
    }

    @Test func openingToCreateKeepsWhatIsThere() throws {
        let bench = try Bench()
        let id = try bench.add()
        let replica = try bench.journal.replica()
        bench.journal = try Journal(path: bench.path, creating: true, random: Seeded(5))
        #expect(try bench.journal.replica() == replica)
        #expect(try bench.shown(id).isWaiting)
    }

    @Test func aNewerFormatIsRefusedUnchanged() throws {
        let bench = try Bench()
        let newest = try bench.journal.connection.userVersion
        try bench.journal.connection.setUserVersion(newest + 1)
        expect(.newerFormat(found: Int(newest) + 1, supported: Int(newest))) {
            try Journal(path: bench.path)
        }
        #expect(try bench.journal.connection.userVersion == newest + 1)
    }

    @Test func anotherProgramsDatabaseIsRefused() throws {
        let bench = try Bench()
        let path = bench.directory + "/foreign.sqlite"
        let foreign = try Connection(path: path, mode: .readWriteCreate)
        try foreign.execute("PRAGMA application_id = 5; CREATE TABLE theirs (x)")
        expect(.foreign(path: path)) { try Journal(path: path, creating: true) }
        #expect(try foreign.applicationID == 5)
    }

    @Test func aFileThatIsNoDatabaseIsRefused() throws {
        let bench = try Bench()
        let path = bench.directory + "/text.sqlite"
        let content = Data(repeating: 0x41, count: 8_192)
        try content.write(to: URL(fileURLWithPath: path))
        expect(.foreign(path: path)) { try Journal(path: path, creating: true) }
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == content)
    }

    @Test func aMissingDirectoryIsNamed() throws {
        let bench = try Bench()
        let path = bench.directory + "/nowhere/journal.sqlite"
        let error = try #require(throws: JournalError.self) {
            try Journal(path: path, creating: true)
        }
        #expect(error.category == .disk)
        #expect(error.description.contains(path))
    }

    @Test func aFullDiskLosesNothingThatWasStored() throws {
        let bench = try Bench()
        let first = try bench.add("在磁盘满之前")
        let waiting = try bench.journal.waitingGroups()
        let next = try bench.request().nextCounter
        // SQLite's own bound stands in for the disk's: the same error at the same place.
        try bench.journal.connection.execute("PRAGMA max_page_count = 1")
        let long = String(repeating: "长", count: 2_600)
        var failure: JournalError?
        for _ in 0..<100 where failure == nil {
            do { try bench.add(long) } catch { failure = error as? JournalError }
        }
        #expect(failure == .diskFull)
        #expect(failure?.category == .disk)
        let stored = try bench.journal.waitingGroups()
        try bench.reopen()
        #expect(try bench.shown(first).text == "在磁盘满之前")
        #expect(try bench.journal.waitingGroups() == stored)
        // What failed has used no counter: there are no holes.
        let request = try bench.request()
        #expect(request.nextCounter == next + UInt64(stored - waiting) * 2)
        #expect(request.groups.last?.nextCounter == request.nextCounter)
    }

    @Test func damagedBytesAreCalledDamaged() throws {
        let bench = try Bench()
        try bench.add()
        try bench.journal.connection.execute("DELETE FROM audit")
        let error = try #require(throws: JournalError.self) { try bench.request() }
        #expect(error.category == .disk)
        guard case .damaged = error else {
            Issue.record("\(error) instead of damaged")
            return
        }
    }
}

@Suite struct SharedJournalTests {
    @Test func twoCommandsAtOnceBothSucceed() throws {
        let bench = try Bench()
        let other = try Journal(path: bench.path)
        let first = try bench.add("第一条")
        let second = try other.addNeed(
            [FieldEdit(.text, .text("第二条")), FieldEdit(.grid, .text(Bench.grid))],
            clocks: bench.now
        ).id
        let third = try bench.add("第三条")
        let request = try bench.request()
        #expect(request.groups.map(\.record) == [first, second, third])
        #expect(request.groups.map(\.firstCounter) == [1, 3, 5])
        #expect(try other.needs().count == 3)
    }

    @Test func theSecondIsToldToTryLater() throws {
        let bench = try Bench()
        let holder = try Connection(path: bench.path, mode: .readWrite)
        let other = try Journal(path: bench.path, busyTimeoutMilliseconds: 0)
        try holder.transaction { () throws in
            expect(.busy) {
                try other.addNeed(
                    [FieldEdit(.text, .text("等")), FieldEdit(.grid, .text(Bench.grid))],
                    clocks: bench.now)
            }
            // Reading goes on.
            #expect(try other.needs().isEmpty)
        }
        #expect(JournalError.busy.category == .tryLater)
        #expect(try other.needs().isEmpty)
    }

    @Test func manyThreadsLeaveNoHoles() async throws {
        let bench = try Bench()
        let path = bench.path
        let clocks = bench.now
        await withTaskGroup(of: Void.self) { group in
            for thread in 0..<4 {
                group.addTask {
                    do {
                        let journal = try Journal(path: path)
                        for number in 0..<10 {
                            _ = try journal.addNeed(
                                [
                                    FieldEdit(.text, .text("\(thread)-\(number)")),
                                    FieldEdit(.grid, .text(Bench.grid)),
                                ], clocks: clocks)
                        }
                    } catch {
                        Issue.record(error)
                    }
                }
            }
        }
        let request = try bench.request()
        #expect(request.groups.map(\.firstCounter) == (0..<40).map { 1 + 2 * $0 })
        #expect(Set(request.groups.map(\.record)).count == 40)
        #expect(request.nextCounter == 81)
    }
}
