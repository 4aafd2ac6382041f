import NeedModel
import SyncCore
import Testing
import WireFormat

@testable import HubLedger

/// What somebody must decide between the fields of a need, and where the need stands, is as it was
/// when it comes back after a restore: with the histories of `protocol/vectors/needs.json`, all of
/// them lost.
@Suite struct NeedsBroughtBackTests {
    private let hub: TestHub
    private let histories: [NeedHistory]
    private let lostTerm = TermID(truncating: 0x1057)

    init() throws {
        hub = try TestHub.withCrew(seed: 64)
        try hub.ledger.backup(to: hub.scratch.path("copy"))
        histories = try NeedHistory.all()
    }

    /// The ledger after the restore; what comes back to it is not ahead of its clock.
    private func copy() throws -> TestHub {
        let copy = try hub.opening("copy", seed: 5)
        let newest = histories.flatMap(\.steps).map(\.stamp).max()
        copy.time.now = max(copy.time.now, newest ?? 0)
        return copy
    }

    private func need(_ number: Int) -> RecordID {
        RecordID(milliseconds: 0, replica: ReplicaID(truncating: 0x6004), number: UInt64(number))
    }

    /// The need as whoever has pulled up to a step holds it.
    private func page(_ number: Int, upTo count: Int) throws -> PageRecord {
        var registers: [UInt32: Register] = [:]
        var late = Register()
        let steps = histories[number].steps[..<count]
        for step in steps {
            registers[step.field, default: Register()].insert(step.version)
            let field = try #require(NeedField(rawValue: step.field))
            LateAnswers.update(&late, after: field, version: step.version) {
                registers[$0.rawValue] ?? Register()
            }
        }
        if !late.versions.isEmpty { registers[LateAnswers.field] = late }
        return PageRecord(
            id: need(number), kind: Kind.need.rawValue, createdMilliseconds: 0,
            contested: steps.last?.contested ?? [], places: [],
            fields: registers.sorted { $0.key < $1.key }.map { field, register in
                PageRecord.Field(
                    field: field,
                    versions: register.versions.map {
                        PageRecord.Version(
                            value: $0.value.map { .bytes($0) } ?? .cleared, stamp: $0.stamp,
                            sequence: $0.sequence)
                    })
            })
    }

    private func bring(upTo count: Int, by device: TestDevice, to copy: TestHub) throws {
        device.cursor = Position(term: lostTerm, sequence: UInt64(count))
        var request = device.request(groups: [])
        let confirmed = try #require(try copy.sync(device, request).recovered)
        request.recovery = SyncRequest.Recovery(
            confirmed: confirmed, reached: [device.cursor],
            records: try histories.indices.map { try page($0, upTo: count) })
        _ = try copy.sync(device, request)
        #expect(try copy.ledger.check() == [])
    }

    @Test("what each version had seen follows from what the device knows of the others")
    func clocks() throws {
        struct Brought: Decodable {
            let replica: ReplicaText
            let counter: UInt64
            let sequence: UInt64
            let value: Hex?
            let base: UInt64
            let seen: [DotText]
            let former: [DotText]
        }
        struct Field: Decodable {
            let field: UInt32
            let versions: [Brought]
        }
        struct Case: Decodable {
            let about: String
            let line: [DotText]
            let head: UInt64
            let reached: [DotText]
            let contested: [UInt32]
            let fields: [Field]
        }
        struct File: Decodable { let needs: [Case] }
        for one in try Vectors.load("restores", as: File.self).needs {
            let lost = LostPart(
                reached: one.reached.map(\.position), line: TermLine(one.line), head: one.head)
            let page = PageRecord(
                id: need(1), kind: Kind.need.rawValue, createdMilliseconds: 0,
                contested: one.contested, places: [],
                fields: one.fields.map { field in
                    PageRecord.Field(
                        field: field.field,
                        versions: field.versions.map {
                            PageRecord.Version(
                                value: $0.value.map { .bytes($0.bytes) } ?? .cleared,
                                stamp: Stamp(
                                    milliseconds: 0, dot: Dot($0.replica.id, $0.counter)),
                                sequence: $0.sequence)
                        })
                })
            let unseen = UnseenVersions(in: page)
            for (field, expected) in zip(page.fields, one.fields) {
                for index in field.versions.indices {
                    let clock = lost.clock(
                        oldest: field.versions.map(\.sequence).min() ?? 0,
                        unseen: unseen.oldest(for: field.versions[index], of: field.field))
                    let version = expected.versions[index]
                    let place: Comment = "\(one.about), field \(field.field)"
                    #expect(clock.base == version.base, place)
                    #expect(clock.ancestors == version.seen.map(\.dot), place)
                    #expect(
                        lost.formerPositions(of: version.sequence)
                            == version.former.map(\.position), place)
                }
            }
        }
    }

    @Test("of one device, nothing is more or less open than it was", arguments: 1...14)
    func one(count: Int) throws {
        let copy = try copy()
        let office = try copy.office("b")
        try bring(upTo: count, by: office, to: copy)
        for number in histories.indices {
            let step = histories[number].steps[count - 1]
            let record = try #require(try copy.record(need(number)))
            let place: Comment = "history \(number), step \(count)"
            #expect(record.contestedFields == step.contested, place)
            #expect(record.conflictingFields.map(\.rawValue) == step.conflicts, place)
            #expect(record.progress.status.rawValue == step.status, place)
        }
    }

    @Test(
        "of two devices, nothing is less open than where the newer one had pulled, in any order",
        arguments: [(3, 8), (5, 14), (8, 11), (11, 12), (10, 14)], [true, false])
    func two(counts: (older: Int, newer: Int), isNewerFirst: Bool) throws {
        let copy = try copy()
        let devices = [try copy.office("b"), try copy.office("b")]
        let order = isNewerFirst ? [counts.newer, counts.older] : [counts.older, counts.newer]
        for (device, count) in zip(devices, order) {
            try bring(upTo: count, by: device, to: copy)
        }
        for number in histories.indices {
            let step = histories[number].steps[counts.newer - 1]
            let record = try #require(try copy.record(need(number)))
            let place: Comment = "history \(number), steps \(order)"
            let open = Set(record.conflictingFields.map(\.rawValue))
            #expect(open.isSuperset(of: step.conflicts), place)
            #expect(Set(record.contestedFields).isSuperset(of: step.contested), place)
            #expect(record.progress.status.rawValue == step.status, place)
        }
    }
}
