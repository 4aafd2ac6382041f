import Foundation
import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

@Suite("Enrolment whose answer was lost") struct LostEnrolmentTests {
    private let path = FileManager.default.temporaryDirectory
        .appendingPathComponent("ledger-\(UUID().uuidString).sqlite").path
    private let now: Int64 = 1_800_000_000_000

    private func makeLedger() throws -> (Ledger, code: String) {
        let now = now
        try Ledger.create(
            at: path, banner: "15", name: "旗", offsetMinutes: 480, clock: { now })
        let ledger = try Ledger(opening: path, clock: { now })
        _ = try ledger.importTable(
            .territory, csv: "code,name,level,parent\n15,旗,banner,\ng1,格,grid,15\n")
        return (
            ledger,
            try ledger.invite(
                role: .worker, territory: "15", team: nil, name: "网格员", lifetimeSeconds: 60)
        )
    }

    private func cleanUp() {
        for suffix in ["", "-wal", "-shm"] {
            try? FileManager.default.removeItem(atPath: path + suffix)
        }
    }

    private func request(_ replica: ReplicaID) -> SyncRequest {
        SyncRequest(
            attempt: 1, replica: replica, nextCounter: 1, cursor: .origin, scope: 0,
            clocks: ClockReading(wallMilliseconds: now, boot: 1, elapsedMilliseconds: 1),
            resume: [], pageBytes: 65_536, groups: [], chain: nil, ancestors: [])
    }

    @Test("the same journal asks again, and gets the same device with a new token")
    func again() throws {
        defer { cleanUp() }
        let (ledger, code) = try makeLedger()
        let replica = ReplicaID(truncating: 77)
        let first = try ledger.enroll(EnrollRequest(code: code, replica: replica))
        let second = try ledger.enroll(EnrollRequest(code: code, replica: replica))
        #expect(second.assignment.device == first.assignment.device)
        #expect(try ledger.device(withToken: first.token) == nil)
        #expect(try ledger.device(withToken: second.token)?.name == "网格员")
        #expect(try ledger.devices().count == 1)
    }

    @Test("another journal with the same code is refused")
    func another() throws {
        defer { cleanUp() }
        let (ledger, code) = try makeLedger()
        let first = try ledger.enroll(
            EnrollRequest(code: code, replica: ReplicaID(truncating: 77)))
        #expect(throws: LedgerError.self) {
            try ledger.enroll(EnrollRequest(code: code, replica: ReplicaID(truncating: 78)))
        }
        #expect(try ledger.device(withToken: first.token) != nil)
    }

    @Test("once the device has synced, the code is used up")
    func usedUp() throws {
        defer { cleanUp() }
        let (ledger, code) = try makeLedger()
        let replica = ReplicaID(truncating: 77)
        let first = try ledger.enroll(EnrollRequest(code: code, replica: replica))
        _ = try ledger.sync([(first.assignment.device, request(replica))])
        #expect(throws: LedgerError.self) {
            try ledger.enroll(EnrollRequest(code: code, replica: replica))
        }
    }

    @Test("a backup never replaces a file")
    func backupKeepsWhatIsThere() throws {
        defer { cleanUp() }
        let (ledger, _) = try makeLedger()
        let file = path + "-other"
        defer { try? FileManager.default.removeItem(atPath: file) }
        try Data("notes".utf8).write(to: URL(fileURLWithPath: file))
        #expect(throws: LedgerError.self) { try ledger.backup(to: file) }
        #expect(try Data(contentsOf: URL(fileURLWithPath: file)) == Data("notes".utf8))
    }
}
