import Foundation
import NeedModel
import SQLiteStore
import SyncCore
import Testing
import WireFormat

@testable import DeviceJournal

/// One journal on a real file, and the hub's part played by hand.
final class Bench {
    /// The hub's own replica, and its term.
    static let hub = ReplicaID(truncating: 0xA0)
    /// Somebody else's.
    static let stranger = ReplicaID(truncating: 0xB0)
    static let grid = "G1"
    static let otherGrid = "G2"
    static let hubStart: Int64 = 1_800_000_000_000
    static let boot: UInt64 = 77

    let directory: String
    let path: String
    var journal: Journal
    /// Milliseconds since this machine's boot; each look moves it on by one second.
    var elapsed: Int64 = 1_000_000
    /// How far the device's wall clock is off.
    var wallError: Int64 = 0
    var boot = Bench.boot
    /// The hub's sequence so far.
    var sequence: UInt64 = 100
    /// Counters of ``stranger``.
    private var strangerCounter: UInt64 = 0
    private var attempt: UInt32 = 0

    init(role: Role = .worker, team: String = "", enrolled: Bool = true, seed: UInt64 = 1) throws {
        directory = NSTemporaryDirectory() + "journal-" + UUID().uuidString
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        path = directory + "/journal.sqlite"
        journal = try Journal(path: path, creating: true, random: Seeded(seed))
        if enrolled {
            try enroll(role: role, team: team)
            try pull(reference())
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: directory) }

    /// Closes the journal as the end of a process does, and opens it again.
    func reopen() throws {
        journal = try Journal(path: path, random: Seeded(99))
    }

    /// The journal as it is now, once more, as a cloned disk image has it.
    func copy(random seed: UInt64) throws -> Journal {
        try journal.connection.checkpoint(.truncate)
        let copyPath = directory + "/copy.sqlite"
        try FileManager.default.copyItem(atPath: path, toPath: copyPath)
        return try Journal(path: copyPath, random: Seeded(seed))
    }

    var now: ClockReading {
        elapsed += 1_000
        return ClockReading(
            wallMilliseconds: hubMilliseconds + wallError, boot: boot,
            elapsedMilliseconds: elapsed)
    }

    var hubMilliseconds: Int64 { Bench.hubStart + elapsed }

    // MARK: The hub's words

    static let scope = Scope([.reference, .recordedBy(device: 7), .grid(grid)])

    func assignment(
        role: Role = .worker, team: String = "", scope: Scope = Bench.scope, device: Int64 = 7
    ) -> Assignment {
        Assignment(
            device: device, deviceName: "网格员一", role: role, territory: "V1", team: team,
            banner: "B1", offsetMinutes: 480, scope: scope)
    }

    func enroll(
        role: Role = .worker, team: String = "", scope: Scope? = nil, device: Int64 = 7,
        forkCounter: UInt64? = nil
    ) throws {
        let scope =
            scope
            ?? (role == .team
                ? Scope([.reference, .recordedBy(device: 7), .team(team)]) : Bench.scope)
        current = assignment(role: role, team: team, scope: scope, device: device)
        try journal.enroll(
            server: "http://hub.example", token: "token", pin: nil, authority: nil,
            answer: EnrollAnswer(
                token: "token", assignment: current, forkCounter: forkCounter))
    }

    /// What the hub would assign now.
    lazy var current = assignment()

    /// A banner, a village, two grids, two teams, a category.
    func reference() -> [PageRecord] {
        var number: UInt64 = 0
        func record(_ kind: Kind, _ fields: [UInt32: String]) -> PageRecord {
            number += 1
            return page(
                RecordID(milliseconds: Bench.hubStart, replica: Bench.hub, number: number),
                kind: kind,
                fields.mapValues { Array($0.utf8) }, by: Bench.hub)
        }
        return [
            record(.territory, [1: "B1", 2: "旗", 3: "banner"]),
            record(.territory, [1: "V1", 2: "村", 3: "village", 4: "B1"]),
            record(.territory, [1: Bench.grid, 2: "第一网格", 3: "grid", 4: "V1"]),
            record(.territory, [1: Bench.otherGrid, 2: "第二网格", 3: "grid", 4: "V1"]),
            record(.team, [1: "T1", 2: "水电队", 3: "V1"]),
            record(.team, [1: "T2", 2: "医疗队", 3: "V1"]),
            record(.category, [1: "lighting", 2: "路灯"]),
        ]
    }

    /// A record sent whole, each field with one version by one writer.
    func page(
        _ id: RecordID, kind: Kind = .need, _ fields: [UInt32: [UInt8]?],
        by replica: ReplicaID = Bench.stranger, whole: Bool = true, contested: [UInt32] = []
    ) -> PageRecord {
        PageRecord(
            id: id, kind: kind.rawValue, createdMilliseconds: whole ? hubMilliseconds : nil,
            contested: contested, places: places(of: kind, fields, by: id.replica),
            fields: fields.sorted { $0.key < $1.key }.map { field, value in
                PageRecord.Field(field: field, versions: [version(value, by: replica)])
            })
    }

    /// Which of the device's buckets the hub would say that a record lies in; a note lies in the
    /// grid.
    func places(
        of kind: Kind, _ fields: [UInt32: [UInt8]?], by replica: ReplicaID
    ) -> HeldPlaces {
        var placement = Placement(isReference: kind.isReference)
        if kind == .note {
            placement.grid = Bench.grid
        } else if case .text(let grid)? = fields[NeedField.grid.rawValue].flatMap({ $0 })
            .flatMap({ FieldValue(.text, bytes: $0) })
        {
            placement.grid = grid
        }
        if case .dispatch(let dispatch)? = fields[NeedField.dispatch.rawValue].flatMap({ $0 })
            .flatMap({ FieldValue(.dispatch, bytes: $0) })
        {
            placement.team = dispatch.team
        }
        if replica != Bench.stranger, replica != Bench.hub {
            placement.device = current.device
        }
        return current.scope.places(of: placement)
    }

    func version(
        _ value: [UInt8]?, by replica: ReplicaID = Bench.stranger, counter: UInt64? = nil
    ) -> PageRecord.Version {
        strangerCounter += 1
        sequence += 1
        return PageRecord.Version(
            value: value.map { .bytes($0) } ?? .cleared,
            stamp: Stamp(
                milliseconds: hubMilliseconds + Int64(sequence),
                dot: Dot(replica, counter ?? strangerCounter)),
            sequence: sequence)
    }

    /// A need as somebody else recorded it.
    func need(
        _ text: String = "缺路灯", grid: String = Bench.grid, number: UInt64,
        _ more: [NeedField: FieldValue] = [:]
    ) -> PageRecord {
        var fields: [UInt32: [UInt8]?] = [
            NeedField.text.rawValue: Array(text.utf8), NeedField.grid.rawValue: Array(grid.utf8),
        ]
        for (field, value) in more { fields[field.rawValue] = value.bytes }
        return page(Bench.strangersNeed(number), fields)
    }

    static func strangersNeed(_ number: UInt64) -> RecordID {
        RecordID(milliseconds: hubStart + Int64(number), replica: stranger, number: number)
    }

    /// The hub's version of what this device sent, as it comes with the pull.
    func echo(_ group: ChangeGroup, replica: ReplicaID, asSent: Bool = true) -> PageRecord {
        PageRecord(
            id: group.record, kind: group.createdKind ?? Kind.need.rawValue,
            createdMilliseconds: group.createdKind == nil ? nil : hubMilliseconds,
            places: [.recorder, .grid],
            fields: group.changes.enumerated().map { index, change in
                var version = version(
                    change.value, by: replica, counter: group.firstCounter + UInt64(index))
                if asSent { version.value = .asSent }
                return PageRecord.Field(field: change.field, versions: [version])
            }.sorted { $0.field < $1.field })
    }

    // MARK: Syncing

    func request(batchBytesMax: Int = Limits.batchBytesMax) throws -> SyncRequest {
        attempt += 1
        return try journal.makeRequest(
            batchBytesMax: batchBytesMax, pageBytesMax: Limits.pageBytesStart, clocks: now,
            attempt: attempt)
    }

    func lastPage(
        _ records: [PageRecord] = [], departed: [RecordID] = [], restart: Bool = false
    ) -> Page {
        Page(
            restart: restart, cursor: Position(term: Bench.hub, sequence: sequence),
            records: records, departed: departed,
            writers: [
                .init(replica: Bench.stranger, name: "别人"), .init(replica: Bench.hub, name: ""),
            ])
    }

    func middlePage(_ records: [PageRecord], resume: String, restart: Bool = false) -> Page {
        Page(
            restart: restart, resume: Array(resume.utf8), records: records,
            writers: [.init(replica: Bench.stranger, name: "别人")])
    }

    @discardableResult
    func absorb(
        _ request: SyncRequest, outcomes: Outcomes? = nil, page: Page? = nil,
        assignment: Assignment? = nil
    ) throws -> Absorbed {
        try absorb(
            SyncAnswer(
                attempt: request.attempt, hubMilliseconds: hubMilliseconds, outcomes: outcomes,
                page: page, assignment: assignment), for: request)
    }

    @discardableResult
    func absorb(_ answer: SyncAnswer, for request: SyncRequest) throws -> Absorbed {
        try journal.absorb(answer.encoded(for: request), for: request, clocks: now)
    }

    /// One whole round trip with nothing but news; the assignment comes when it is new.
    @discardableResult
    func pull(_ records: [PageRecord] = [], departed: [RecordID] = []) throws -> Absorbed {
        let request = try request()
        return try absorb(
            request, outcomes: settled(request), page: lastPage(records, departed: departed),
            assignment: request.scope == current.scope.id ? nil : current)
    }

    /// Everything in a request was applied.
    func settled(_ request: SyncRequest) -> Outcomes? {
        request.groups.last.map { Outcomes(settledCounter: $0.nextCounter) }
    }

    /// Sends all that waits and pulls it back.
    @discardableResult
    func sync(_ records: [PageRecord] = []) throws -> Absorbed {
        let request = try request()
        return try absorb(
            request, outcomes: settled(request),
            page: lastPage(
                request.groups.map { echo($0, replica: request.replica) } + records),
            assignment: request.scope == current.scope.id ? nil : current)
    }

    // MARK: Recording

    @discardableResult
    func add(_ text: String = "水管漏水", grid: String = Bench.grid) throws -> RecordID {
        try journal.addNeed(
            [FieldEdit(.text, .text(text)), FieldEdit(.grid, .text(grid))], clocks: now
        ).id
    }

    func shown(_ id: RecordID) throws -> NeedSnapshot { try journal.snapshot(of: id) }
}

/// The same numbers in every run (SplitMix64).
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}

/// Expects one error of the journal.
func expect<Result>(
    _ error: JournalError, sourceLocation: SourceLocation = #_sourceLocation,
    _ body: () throws -> Result
) {
    #expect(throws: error, sourceLocation: sourceLocation) { _ = try body() }
}
