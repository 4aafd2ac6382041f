import NeedModel
import SwiftProtobuf
import SyncCore

typealias WireSentRecords = Waystation_V1_SentRecords

/// What both sides of an exchange know when an answer is written or read: most of what an answer
/// says of a device's own changes follows from the request.
///
/// - SeeAlso: `protocol/SPEC.md` §6.
struct Foretelling {
    let request: SyncRequest
    let hubMilliseconds: Int64
    private var lastCounter: UInt64
    private var lastSequence: UInt64
    private var lastStamp: Int64?

    init(_ request: SyncRequest, hubMilliseconds: Int64, firstSequence: UInt64) {
        self.request = request
        self.hubMilliseconds = hubMilliseconds
        lastCounter = request.groups.first?.firstCounter ?? 0
        lastSequence = firstSequence
    }

    /// Sequence and stamp of a group's first change, if all before it was admitted and its time
    /// could be checked. In wrapping arithmetic: a wrong guess costs bytes, nothing else.
    func foretold(_ group: ChangeGroup) -> (sequence: UInt64, stamp: Int64) {
        let (written, sent) = (group.written, request.clocks)
        var estimate: Int64
        if written.boot == sent.boot, sent.boot != 0 {
            estimate =
                hubMilliseconds
                &- max(0, sent.elapsedMilliseconds &- written.elapsedMilliseconds)
        } else {
            estimate = written.wallMilliseconds &+ (hubMilliseconds &- sent.wallMilliseconds)
        }
        if let lastStamp { estimate = max(estimate, lastStamp &+ 1) }
        return (
            lastSequence &+ (group.firstCounter &- lastCounter), min(estimate, hubMilliseconds)
        )
    }

    mutating func note(_ group: ChangeGroup, sequence: UInt64, stamp: Int64) {
        lastCounter = group.firstCounter
        lastSequence = sequence
        lastStamp = stamp
    }
}

extension WireSentRecords {
    /// Takes out of a page's records those that follow from the request's groups, in their order.
    ///
    /// - Returns: The other records, and what is left to say of those, `nil` when there are none.
    static func split(
        _ records: [PageRecord], _ foretelling: Foretelling
    ) -> (listed: [PageRecord], sent: WireSentRecords?) {
        var foretelling = foretelling
        let groups = foretelling.request.groups
        var listed: [PageRecord] = []
        var listedSince: UInt32 = 0
        var next = 0
        var columns = Columns()
        for record in records {
            var first = UInt64.max
            for place in record.versions.indices {
                first = min(first, record.versions[place].stamp.dot.counter)
            }
            // Counters ascend, and mostly the next group's record comes next.
            var index = next
            if index < groups.count, groups[index].firstCounter != first {
                index = groups[index...].partitioningIndex { $0.firstCounter >= first }
            }
            guard index < groups.count, groups[index].firstCounter == first,
                let (sequence, stamp) = Self.follows(
                    record, from: groups[index], foretelling.request)
            else {
                listed.append(record)
                listedSince += 1
                continue
            }
            let group = groups[index]
            let foretold = foretelling.foretold(group)
            columns.skipped.append(UInt32(index - next))
            columns.listed.append(listedSince)
            columns.kinds.append(record.kind)
            columns.flags.append(record.flags)
            columns.sequences.append(Int64(bitPattern: sequence &- foretold.sequence))
            columns.stamps.append(stamp &- foretold.stamp)
            columns.created.append(record.createdMilliseconds.map { $0 &- stamp } ?? 0)
            foretelling.note(group, sequence: sequence, stamp: stamp)
            next = index + 1
            listedSince = 0
        }
        return (listed, columns.kinds.isEmpty ? nil : columns.wire)
    }

    /// Whether a record lists exactly one group's changes, all as sent, with consecutive sequences
    /// and one stamp.
    private static func follows(
        _ record: PageRecord, from group: ChangeGroup, _ request: SyncRequest
    ) -> (sequence: UInt64, stamp: Int64)? {
        guard record.id == group.record, record.contested.isEmpty,
            record.versions.count == group.changes.count
        else { return nil }
        let spans = group.changes.spans
        // Fields ascend, as a rule.
        let order = spans.areFieldsAscending ? nil : Self.order(of: group)
        var result: (sequence: UInt64, stamp: Int64)?
        for place in record.versions.indices {
            let index = order?[place] ?? place
            let stamp = record.versions[place].stamp
            guard record.versions[place].field == spans[spans.startIndex + index].field,
                case .asSent = record.versions[place].value,
                stamp.dot == Dot(request.replica, group.firstCounter &+ UInt64(index))
            else { return nil }
            let start = (
                record.versions[place].sequence &- UInt64(index), stamp.milliseconds
            )
            guard let known = result else {
                result = start
                continue
            }
            guard known == start else { return nil }
        }
        return result
    }

    /// Puts the records back between those that are listed.
    func merged(
        into listed: [PageRecord], _ foretelling: Foretelling
    ) throws(FrameError) -> [PageRecord] {
        var foretelling = foretelling
        let groups = foretelling.request.groups
        guard self.count <= groups.count else { throw .malformed("more as sent than was sent") }
        let count = Int(self.count)
        let skipped = try lengthened(self.skipped, count: count)
        let between = try lengthened(self.listed, count: count)
        let kinds = try lengthened(self.kinds, count: count)
        let flags = try lengthened(self.flags, count: count)
        let sequences = try lengthened(self.sequences, count: count)
        let stamps = try lengthened(self.stamps, count: count)
        let created = try lengthened(self.created, count: count)
        var result: [PageRecord] = []
        result.reserveCapacity(listed.count + count)
        var next = 0
        var taken = 0
        for position in 0..<count {
            let index = next + Int(skipped[position])
            let until = taken + Int(between[position])
            guard index < groups.count, until <= listed.count,
                flags[position] & PageRecord.isContestedFlag == 0
            else { throw .malformed("a record as sent that was not sent") }
            result.append(contentsOf: listed[taken..<until])
            taken = until
            next = index + 1
            let group = groups[index]
            let foretold = foretelling.foretold(group)
            let sequence = foretold.sequence &+ UInt64(bitPattern: sequences[position])
            let stamp = foretold.stamp &+ stamps[position]
            foretelling.note(group, sequence: sequence, stamp: stamp)
            result.append(
                PageRecord(
                    id: group.record, kind: kinds[position],
                    createdMilliseconds: flags[position] & PageRecord.isWholeFlag == 0
                        ? nil : stamp &+ created[position],
                    places: PageRecord.places(flags[position]),
                    versions: Self.order(of: group).map { index in
                        let offset = UInt64(index)
                        return PageRecord.FieldVersion(
                            field: group.changes.span(at: index).field, value: .asSent,
                            stamp: Stamp(
                                milliseconds: stamp,
                                dot: Dot(
                                    foretelling.request.replica, group.firstCounter &+ offset)),
                            sequence: sequence &+ offset)
                    }))
        }
        result.append(contentsOf: listed[taken...])
        return result
    }

    private static func order(of group: ChangeGroup) -> [Int] {
        let spans = group.changes.spans
        return spans.areFieldsAscending
            ? Array(group.changes.indices)
            : group.changes.indices.sorted {
                spans[spans.startIndex + $0].field < spans[spans.startIndex + $1].field
            }
    }

    /// Gathered outside the message, which checks with every access whether it must be copied.
    private struct Columns {
        var skipped: [UInt32] = []
        var listed: [UInt32] = []
        var kinds: [UInt32] = []
        var flags: [UInt32] = []
        var sequences: [Int64] = []
        var stamps: [Int64] = []
        var created: [Int64] = []

        var wire: WireSentRecords {
            .with {
                $0.count = UInt32(kinds.count)
                $0.skipped = shortened(skipped)
                $0.listed = shortened(listed)
                $0.kinds = shortened(kinds)
                $0.flags = shortened(flags)
                $0.sequences = shortened(sequences)
                $0.stamps = shortened(stamps)
                $0.created = shortened(created)
            }
        }
    }
}

extension PageRecord {
    static let isWholeFlag: UInt32 = 1
    static let isContestedFlag: UInt32 = 2

    /// `record_flags` of a page.
    var flags: UInt32 {
        (createdMilliseconds == nil ? 0 : Self.isWholeFlag)
            | (contested.isEmpty ? 0 : Self.isContestedFlag) | UInt32(places.rawValue) << 2
    }

    static func places(_ flags: UInt32) -> HeldPlaces {
        HeldPlaces(rawValue: UInt8(truncatingIfNeeded: flags >> 2))
    }
}
