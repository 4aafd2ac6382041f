package import SyncCore

// The live versions of one record as one blob:
//
//     form, 3
//     count of origins, then for each: replica row, counter, sequence - first sequence (signed),
//         sequence - base, stamp - creation (signed), count of ancestors, then for each: replica
//         row, counter
//     count of fields, then for each: (field - field before) * 2 + 1 if as created, then
//         if as created: value
//         otherwise: count of versions, then for each (newest first): origin index,
//             counter - origin's counter, stamp - origin's stamp (signed), value
//
// First sequence, creation and grid are columns of the row. A field is as created when its only
// version is of the first origin, has its stamp, and the sequence first sequence + the field's
// index: so lies what a need's recorder wrote, as long as nobody changes it.
//
// Forms 1 and 2, of which 1 is only read and 2 is written where there are former positions, so
// after a restore:
//
//     form, 1 or 2
//     count of origins, then for each: replica row, counter, sequence, sequence - base,
//         stamp (signed), count of ancestors, then for each: replica row, counter
//     count of fields, then for each: field, count of versions, then for each (newest first):
//         origin index, counter - origin's counter, stamp - origin's stamp (signed), value, and,
//         in form 2, count of former positions, then for each: term's row, sequence
//
// All numbers are varints; a value is 0 when cleared, otherwise 1 + length and the bytes; in form
// 3, 1 stands for the grid's code and lengths begin at 2. Versions of one command share an origin,
// since their counters and sequences run in step; that is most of what keeps a record small.
// Replicas stand as the rows of the ledger's own table.

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

    /// Changes one register in place, empty when the field was never written; no other is copied.
    mutating func update(_ field: UInt32, _ body: (inout Register) throws -> Void) rethrows {
        let index = fields.firstIndex { $0.field >= field } ?? fields.count
        if index == fields.count || fields[index].field != field {
            fields.insert((field, Register()), at: index)
        }
        defer { if fields[index].register.versions.isEmpty { fields.remove(at: index) } }
        try body(&fields[index].register)
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

    /// What a record's row says beside its state, so that the state need not.
    struct Row {
        var firstSequence: UInt64
        var createdMilliseconds: Int64
        var grid: String?

        fileprivate var gridBytes: [UInt8]? { grid.map { Array($0.utf8) } }
    }

    private static let formAlone: UInt8 = 1
    private static let formWithPositions: UInt8 = 2
    private static let formBesideRow: UInt8 = 3
    /// Room is made beforehand for so many at most, whatever a damaged row claims.
    private static let roomMax = 64

    /// What the versions of one command share.
    private struct Origin {
        /// With the lowest counter, as far as it is still live.
        var dot: Dot
        var sequence: UInt64
        var stamp: Int64
        var clock: ShortClock

        /// Whether a version is of this command.
        func bears(_ dot: Dot, sequence: UInt64, clock: ShortClock) -> Bool {
            dot.counter &- sequence == self.dot.counter &- self.sequence
                && dot.replica.rawValue == self.dot.replica.rawValue && clock == self.clock
        }
    }

    /// By sequence, so that what created the record comes first.
    private func origins() -> [Origin] {
        var origins: [Origin] = []
        // By index: an element taken out is copied, with all that it refers to counted.
        for field in fields.indices {
            for place in fields[field].register.versions.indices {
                // Few commands have a share in one record, so a search is faster than a table.
                guard let index = index(among: origins, field, place) else {
                    let version = fields[field].register.versions[place]
                    origins.append(
                        Origin(
                            dot: version.dot, sequence: version.sequence,
                            stamp: version.stamp.milliseconds, clock: version.clock))
                    continue
                }
                let sequence = fields[field].register.versions[place].sequence
                if sequence < origins[index].sequence {
                    let stamp = fields[field].register.versions[place].stamp
                    origins[index].sequence = sequence
                    origins[index].dot = stamp.dot
                    origins[index].stamp = stamp.milliseconds
                }
            }
        }
        if origins.count > 1 { origins.sort { $0.sequence < $1.sequence } }
        return origins
    }

    /// Of the version at a place of a field.
    private func index(among origins: [Origin], _ field: Int, _ place: Int) -> Int? {
        let versions = fields[field].register.versions
        let (dot, sequence, clock) = (
            versions[place].stamp.dot, versions[place].sequence, versions[place].clock
        )
        return origins.firstIndex { $0.bears(dot, sequence: sequence, clock: clock) }
    }

    /// - Parameters:
    ///   - beside: As it is stored in the same row.
    ///   - row: A replica's row.
    func encoded(beside: Row, row: (ReplicaID) throws -> Int64) rethrows -> [UInt8] {
        let origins = origins()
        let hasPositions = fields.contains {
            $0.register.versions.contains { !$0.formerPositions.isEmpty }
        }
        // What is stored absolutely is stored as a difference to nothing.
        let first = hasPositions ? 0 : beside.firstSequence
        let created = hasPositions ? 0 : beside.createdMilliseconds
        let grid = hasPositions ? nil : beside.gridBytes
        var writer = ByteWriter()
        writer.reserve(size)
        writer.put(byte: hasPositions ? Self.formWithPositions : Self.formBesideRow)
        writer.put(origins.count)
        for origin in origins {
            writer.put(UInt64(bitPattern: try row(origin.dot.replica)))
            writer.put(origin.dot.counter)
            if hasPositions {
                writer.put(origin.sequence)
            } else {
                writer.put(signed: Int64(bitPattern: origin.sequence &- first))
            }
            writer.put(origin.sequence &- origin.clock.base)
            writer.put(signed: origin.stamp &- created)
            writer.put(origin.clock.ancestors.count)
            for ancestor in origin.clock.ancestors {
                writer.put(UInt64(bitPattern: try row(ancestor.replica)))
                writer.put(ancestor.counter)
            }
        }
        writer.put(fields.count)
        func put(_ value: [UInt8]?) {
            guard let value else { return writer.put(0) }
            if !hasPositions, value == grid { return writer.put(1) }
            writer.put(value.count + (hasPositions ? 1 : 2))
            writer.put(raw: value)
        }
        var lastField: UInt64 = 0
        for position in fields.indices {
            let versions = fields[position].register.versions
            let field = UInt64(fields[position].field)
            if hasPositions {
                writer.put(field)
            } else {
                let isAsCreated =
                    versions.count == 1
                    && versions[0].sequence == first &+ UInt64(position)
                    && versions[0].stamp.milliseconds == origins[0].stamp
                    && origins[0].bears(
                        versions[0].stamp.dot, sequence: versions[0].sequence,
                        clock: versions[0].clock)
                writer.put((field - lastField) << 1 | (isAsCreated ? 1 : 0))
                lastField = field
                if isAsCreated {
                    put(versions[0].value)
                    continue
                }
            }
            writer.put(versions.count)
            for place in versions.indices {
                let version = versions[place]
                let index = index(among: origins, position, place)!
                writer.put(index)
                writer.put(version.dot.counter &- origins[index].dot.counter)
                // Wrapping: a clock may have claimed any time at all.
                writer.put(signed: version.stamp.milliseconds &- origins[index].stamp)
                put(version.value)
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

    /// - Parameters:
    ///   - beside: As it is stored in the same row.
    ///   - replica: The replica of a row.
    init(decoding bytes: [UInt8], beside: Row, replica: (Int64) throws -> ReplicaID) throws {
        var reader = ByteReader(bytes)
        let form = try reader.byte()
        guard (Self.formAlone...Self.formBesideRow).contains(form) else {
            throw LedgerError.damaged("a record of an unknown format")
        }
        let isBesideRow = form == Self.formBesideRow
        let first = isBesideRow ? beside.firstSequence : 0
        let created = isBesideRow ? beside.createdMilliseconds : 0
        let grid = isBesideRow ? beside.gridBytes : nil
        var origins: [Origin] = []
        let originCount = try reader.count()
        origins.reserveCapacity(min(originCount, Self.roomMax))
        for _ in 0..<originCount {
            let writer = try replica(Int64(bitPattern: try reader.number()))
            let counter = try reader.number()
            let sequence =
                isBesideRow
                ? first &+ UInt64(bitPattern: try reader.signed()) : try reader.number()
            let base = sequence &- (try reader.number())
            let stamp = created &+ (try reader.signed())
            var ancestors: [Dot] = []
            for _ in 0..<(try reader.count()) {
                let ancestor = try replica(Int64(bitPattern: try reader.number()))
                ancestors.append(Dot(ancestor, try reader.number()))
            }
            origins.append(
                Origin(
                    dot: Dot(writer, counter), sequence: sequence, stamp: stamp,
                    clock: ShortClock(
                        base: base, ancestors: ancestors.isEmpty ? [] : ancestors.sorted())))
        }
        func value() throws -> [UInt8]? {
            let size = try reader.number()
            if size == 0 { return nil }
            guard isBesideRow else { return try reader.raw(Int(clamping: size) - 1) }
            if size > 1 { return try reader.raw(Int(clamping: size) - 2) }
            guard let grid else { throw LedgerError.damaged("a value without its grid") }
            return grid
        }
        func version(
            of index: Int, offset: UInt64, stamp: Int64, value: [UInt8]?,
            positions: [Position] = []
        ) -> Version {
            let origin = origins[index]
            return Version(
                value: value,
                stamp: Stamp(
                    milliseconds: origin.stamp &+ stamp,
                    dot: Dot(origin.dot.replica, origin.dot.counter &+ offset)),
                sequence: origin.sequence &+ offset, clock: origin.clock,
                formerPositions: positions)
        }
        let fieldCount = try reader.count()
        fields.reserveCapacity(min(fieldCount, Self.roomMax))
        var field: UInt32 = 0
        for position in 0..<fieldCount {
            let head = try reader.number()
            if isBesideRow {
                field &+= UInt32(truncatingIfNeeded: head >> 1)
                if head & 1 == 1 {
                    guard !origins.isEmpty else {
                        throw LedgerError.damaged("a version without an origin")
                    }
                    let offset = first &+ UInt64(position) &- origins[0].sequence
                    fields.append(
                        (
                            field,
                            Register(live: [
                                version(of: 0, offset: offset, stamp: 0, value: try value())
                            ])
                        ))
                    continue
                }
            } else {
                field = UInt32(truncatingIfNeeded: head)
            }
            var versions: [Version] = []
            let versionCount = try reader.count()
            versions.reserveCapacity(min(versionCount, Self.roomMax))
            for _ in 0..<versionCount {
                let index = try reader.number()
                guard index < UInt64(origins.count) else {
                    throw LedgerError.damaged("a version without an origin")
                }
                let offset = try reader.number()
                let stamp = try reader.signed()
                let content = try value()
                var positions: [Position] = []
                if form == Self.formWithPositions {
                    for _ in 0..<(try reader.count()) {
                        let term = try replica(Int64(bitPattern: try reader.number()))
                        positions.append(Position(term: term, sequence: try reader.number()))
                    }
                }
                versions.append(
                    version(
                        of: Int(index), offset: offset, stamp: stamp, value: content,
                        positions: positions))
            }
            fields.append((field, Register(live: versions)))
        }
        try reader.end()
    }
}
