package import SyncCore

// The live versions of one record as one blob:
//
//     form, 1 or 2
//     count of origins, then for each: replica row, counter, sequence, sequence - base,
//         stamp (signed), count of ancestors, then for each: replica row, counter
//     count of fields, then for each: field, count of versions, then for each (newest first):
//         origin index, counter - origin's counter, stamp - origin's stamp (signed), value, and,
//         in form 2, count of former positions, then for each: term's row, sequence
//
// Form 2 is written only where there are former positions, so after a restore.
// All numbers are varints; a value is 0 when cleared, otherwise 1 + length and the bytes. Versions
// of one command share an origin, since their counters and sequences run in step; that is most of
// what keeps a record small. Replicas stand as the rows of the ledger's own table.

/// The live versions of a record's fields.
package struct RecordState: Hashable, Sendable {
    /// Sorted by field; no register is empty.
    package private(set) var fields: [(field: UInt32, register: Register)] = []

    package init() {}

    package subscript(field: UInt32) -> Register {
        get { fields.first { $0.field == field }?.register ?? Register() }
        set {
            let index = fields.firstIndex { $0.field >= field } ?? fields.count
            if index < fields.count, fields[index].field == field {
                fields[index].register = newValue
            } else {
                fields.insert((field, newValue), at: index)
            }
        }
    }

    package static func == (left: RecordState, right: RecordState) -> Bool {
        left.fields.elementsEqual(right.fields) {
            $0.field == $1.field && $0.register == $1.register
        }
    }

    package func hash(into hasher: inout Hasher) {
        for entry in fields {
            hasher.combine(entry.field)
            hasher.combine(entry.register)
        }
    }

    /// What a version costs beside its value, roughly, in bytes.
    static let versionBytes = 32

    /// The size of all live versions, roughly, in bytes.
    var size: Int {
        fields.reduce(0) { sum, entry in
            entry.register.versions.reduce(sum) { $0 + ($1.value?.count ?? 0) + Self.versionBytes }
        }
    }

    private static let form: UInt8 = 1
    private static let formWithPositions: UInt8 = 2
    /// Room is made beforehand for so many at most, whatever a damaged row claims.
    private static let roomMax = 64

    private struct OriginKey: Hashable {
        var replica: ReplicaID
        /// Counter less sequence: the same for all changes of one command.
        var difference: UInt64
        var clock: ShortClock
    }

    func encoded(row: (ReplicaID) throws -> Int64) rethrows -> [UInt8] {
        var origins: [(key: OriginKey, dot: Dot, sequence: UInt64, stamp: Int64)] = []
        var indexes: [OriginKey: Int] = [:]
        for version in fields.lazy.flatMap(\.register.versions) {
            let key = Self.key(of: version)
            if let index = indexes[key] {
                if version.sequence < origins[index].sequence {
                    origins[index].sequence = version.sequence
                    origins[index].dot = version.dot
                    origins[index].stamp = version.stamp.milliseconds
                }
            } else {
                indexes[key] = origins.count
                origins.append(
                    (key, version.dot, version.sequence, version.stamp.milliseconds))
            }
        }
        var writer = ByteWriter()
        let hasPositions = fields.contains {
            $0.register.versions.contains { !$0.formerPositions.isEmpty }
        }
        writer.put(byte: hasPositions ? Self.formWithPositions : Self.form)
        writer.put(origins.count)
        for origin in origins {
            writer.put(UInt64(bitPattern: try row(origin.key.replica)))
            writer.put(origin.dot.counter)
            writer.put(origin.sequence)
            writer.put(origin.sequence &- origin.key.clock.base)
            writer.put(signed: origin.stamp)
            writer.put(origin.key.clock.ancestors.count)
            for ancestor in origin.key.clock.ancestors {
                writer.put(UInt64(bitPattern: try row(ancestor.replica)))
                writer.put(ancestor.counter)
            }
        }
        writer.put(fields.count)
        for entry in fields {
            writer.put(UInt64(entry.field))
            writer.put(entry.register.versions.count)
            for version in entry.register.versions {
                let index = indexes[Self.key(of: version)]!
                writer.put(index)
                writer.put(version.dot.counter - origins[index].dot.counter)
                // Wrapping: a clock may have claimed any time at all.
                writer.put(signed: version.stamp.milliseconds &- origins[index].stamp)
                writer.put(version.value.map { 1 + $0.count } ?? 0)
                writer.put(raw: version.value ?? [])
                if hasPositions {
                    writer.put(version.formerPositions.count)
                    for position in version.formerPositions {
                        writer.put(UInt64(bitPattern: try row(position.term)))
                        writer.put(position.sequence)
                    }
                }
            }
        }
        return writer.bytes
    }

    init(decoding bytes: [UInt8], replica: (Int64) throws -> ReplicaID) throws {
        var reader = ByteReader(bytes)
        let form = try reader.byte()
        guard form == Self.form || form == Self.formWithPositions else {
            throw LedgerError.damaged("a record of an unknown format")
        }
        var origins: [(dot: Dot, sequence: UInt64, stamp: Int64, clock: ShortClock)] = []
        let originCount = try reader.count()
        origins.reserveCapacity(min(originCount, Self.roomMax))
        for _ in 0..<originCount {
            let writer = try replica(Int64(bitPattern: try reader.number()))
            let counter = try reader.number()
            let sequence = try reader.number()
            let base = sequence &- (try reader.number())
            let stamp = try reader.signed()
            var ancestors: [Dot] = []
            for _ in 0..<(try reader.count()) {
                let ancestor = try replica(Int64(bitPattern: try reader.number()))
                ancestors.append(Dot(ancestor, try reader.number()))
            }
            origins.append(
                (
                    Dot(writer, counter), sequence, stamp,
                    ShortClock(
                        base: base, ancestors: ancestors.isEmpty ? [] : ancestors.sorted())
                ))
        }
        let fieldCount = try reader.count()
        fields.reserveCapacity(min(fieldCount, Self.roomMax))
        for _ in 0..<fieldCount {
            let field = UInt32(truncatingIfNeeded: try reader.number())
            var versions: [Version] = []
            let versionCount = try reader.count()
            versions.reserveCapacity(min(versionCount, Self.roomMax))
            for _ in 0..<versionCount {
                let index = try reader.number()
                guard index < UInt64(origins.count) else {
                    throw LedgerError.damaged("a version without an origin")
                }
                let origin = origins[Int(index)]
                let offset = try reader.number()
                let stamp = origin.stamp &+ (try reader.signed())
                let size = try reader.number()
                let value: [UInt8]? =
                    size == 0 ? nil : try reader.raw(Int(clamping: size) - 1)
                var positions: [Position] = []
                if form == Self.formWithPositions {
                    for _ in 0..<(try reader.count()) {
                        let term = try replica(Int64(bitPattern: try reader.number()))
                        positions.append(Position(term: term, sequence: try reader.number()))
                    }
                }
                versions.append(
                    Version(
                        value: value,
                        stamp: Stamp(
                            milliseconds: stamp,
                            dot: Dot(origin.dot.replica, origin.dot.counter &+ offset)),
                        sequence: origin.sequence &+ offset, clock: origin.clock,
                        formerPositions: positions))
            }
            fields.append((field, Register(live: versions)))
        }
        try reader.end()
    }

    private static func key(of version: Version) -> OriginKey {
        OriginKey(
            replica: version.dot.replica, difference: version.dot.counter &- version.sequence,
            clock: version.clock)
    }
}
