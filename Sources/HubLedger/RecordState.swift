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

/// The live versions of a record's fields: one list without anything to count references of, and
/// the values of all in one block of memory. Where versions of one field meet, they are made into
/// a ``SyncCore/Register`` for as long as that takes.
package struct RecordState: Hashable, Sendable {
    /// A version but for what several share.
    struct LiveVersion: Sendable {
        var field: UInt32
        /// Of ``contexts``.
        var context: UInt32
        var stamp: Stamp
        var sequence: UInt64
        /// In ``bytes``.
        var offset: UInt32
        /// ``SyncCore/ValueSpan/cleared`` without a value.
        var length: Int32
    }

    /// What the versions of one command share.
    struct Context: Hashable, Sendable {
        var clock: ShortClock
        var formerPositions: [Position] = []
    }

    /// Fields ascending, newest stamp first.
    private(set) var versions: [LiveVersion] = []
    /// The values, in any order, also some that are no longer live.
    private(set) var bytes: [UInt8] = []
    private(set) var contexts: [Context] = []

    package init() {}

    /// The places of a field's versions; where they would be if there are none.
    private func places(of field: UInt32) -> Range<Int> {
        var end = versions.count
        // Fields come ascending, as a rule.
        while end > 0, versions[end - 1].field > field { end -= 1 }
        var start = end
        while start > 0, versions[start - 1].field == field { start -= 1 }
        return start..<end
    }

    func holds(_ field: UInt32) -> Bool { !places(of: field).isEmpty }

    /// The bytes of a field's winner; `nil` when it is cleared or was never written.
    func value(of field: UInt32) -> [UInt8]? {
        let places = places(of: field)
        return places.isEmpty ? nil : value(at: places.lowerBound)
    }

    /// A copy; `nil` when the field is cleared.
    func value(at place: Int) -> [UInt8]? {
        let version = versions[place]
        if version.length < 0 { return nil }
        return bytes.copy(Int(version.offset)..<Int(version.offset) + Int(version.length))
    }

    private func isValue(at place: Int, _ other: [UInt8]?) -> Bool {
        let version = versions[place]
        guard let other else { return version.length < 0 }
        guard Int(version.length) == other.count else { return false }
        return bytes[Int(version.offset)..<Int(version.offset) + other.count].elementsEqual(other)
    }

    private func version(at place: Int) -> Version {
        let version = versions[place]
        let context = contexts[Int(version.context)]
        return Version(
            value: value(at: place), stamp: version.stamp, sequence: version.sequence,
            clock: context.clock, formerPositions: context.formerPositions)
    }

    package subscript(field: UInt32) -> Register {
        get { Register(live: places(of: field).map { version(at: $0) }) }
        set { replace(field, with: newValue) }
    }

    package var fields: [(field: UInt32, register: Register)] {
        var fields: [(field: UInt32, register: Register)] = []
        var start = 0
        while start < versions.count {
            let field = versions[start].field
            var end = start
            while end < versions.count, versions[end].field == field { end += 1 }
            fields.append((field, Register(live: (start..<end).map { version(at: $0) })))
            start = end
        }
        return fields
    }

    /// Changes one register, empty when the field was never written; no other is touched.
    mutating func update(_ field: UInt32, _ body: (inout Register) throws -> Void) rethrows {
        var register = self[field]
        try body(&register)
        replace(field, with: register)
    }

    private mutating func replace(_ field: UInt32, with register: Register) {
        let places = places(of: field)
        var replacement: [LiveVersion] = []
        replacement.reserveCapacity(register.versions.count)
        // Most stay as they were, in the same order.
        var next = places.lowerBound
        for version in register.versions {
            func isKnown(at place: Int) -> Bool {
                versions[place].stamp.dot == version.dot && isValue(at: place, version.value)
            }
            let known =
                next < places.upperBound && isKnown(at: next) ? next : places.first(where: isKnown)
            if let known { next = known + 1 }
            let span =
                known.map { (versions[$0].offset, versions[$0].length) }
                ?? store(version.value)
            let context = Context(
                clock: version.clock, formerPositions: version.formerPositions)
            let knownContext = known.map { versions[$0].context }
            replacement.append(
                LiveVersion(
                    field: field,
                    context: knownContext.flatMap { contexts[Int($0)] == context ? $0 : nil }
                        ?? index(of: context),
                    stamp: version.stamp, sequence: version.sequence, offset: span.0,
                    length: span.1))
        }
        versions.replaceSubrange(places, with: replacement)
        if contexts.count > Self.contextsKeptMin + 4 * versions.count { forgetUnusedContexts() }
    }

    /// Versions that learn what others had seen leave their former contexts behind.
    private mutating func forgetUnusedContexts() {
        var used: [UInt32: UInt32] = [:]
        var kept: [Context] = []
        for place in versions.indices {
            let former = versions[place].context
            let context = used[former] ?? UInt32(kept.count)
            if Int(context) == kept.count {
                kept.append(contexts[Int(former)])
                used[former] = context
            }
            versions[place].context = context
        }
        contexts = kept
    }

    private static let contextsKeptMin = 64

    private mutating func store(_ value: [UInt8]?) -> (offset: UInt32, length: Int32) {
        guard let value else { return (0, ValueSpan.cleared) }
        let offset = UInt32(bytes.count)
        bytes += value
        return (offset, Int32(value.count))
    }

    private mutating func index(of context: Context) -> UInt32 {
        if let known = contexts.firstIndex(of: context) { return UInt32(known) }
        contexts.append(context)
        return UInt32(contexts.count - 1)
    }

    /// Makes room for the changes of one command, which all share a context.
    ///
    /// - Parameter known: A list of that one context, which a new record need not make.
    /// - Returns: The context's index.
    mutating func prepare(for changes: ChangeList, _ known: [Context]) -> UInt32 {
        guard versions.isEmpty else { return index(of: known[0]) }
        versions.reserveCapacity(changes.count)
        var count = 0
        for span in changes.spans { count += Int(max(0, span.length)) }
        bytes.reserveCapacity(count)
        contexts = known
        return 0
    }

    /// Adds the first version of a field.
    mutating func insertFirst(
        _ span: ValueSpan, of changes: ChangeList, stamp: Stamp, sequence: UInt64, context: UInt32
    ) {
        let places = places(of: span.field)
        precondition(places.isEmpty, "a field that was never written")
        let offset = UInt32(bytes.count)
        if span.length > 0 {
            changes.bytes.withUnsafeBufferPointer { values in
                bytes.append(
                    contentsOf: UnsafeBufferPointer(
                        rebasing: values[
                            Int(span.offset)..<Int(span.offset) + Int(span.length)]))
            }
        }
        let version = LiveVersion(
            field: span.field, context: context, stamp: stamp, sequence: sequence, offset: offset,
            length: span.length)
        if places.lowerBound == versions.count {
            versions.append(version)
        } else {
            versions.insert(version, at: places.lowerBound)
        }
    }

    package static func == (left: RecordState, right: RecordState) -> Bool {
        left.versions.count == right.versions.count
            && left.versions.indices.allSatisfy {
                left.versions[$0].field == right.versions[$0].field
                    && left.version(at: $0) == right.version(at: $0)
            }
    }

    package func hash(into hasher: inout Hasher) {
        for version in versions {
            hasher.combine(version.field)
            hasher.combine(version.stamp)
        }
    }

    /// What a version costs beside its value, roughly, in bytes.
    static let versionBytes = 32

    /// The size of all live versions, roughly, in bytes.
    var size: Int {
        var size = 0
        for version in versions { size += Int(max(0, version.length)) + Self.versionBytes }
        return size
    }

    /// Whether a field has several versions.
    var hasSeveralOfOne: Bool {
        for place in versions.indices.dropFirst()
        where versions[place].field == versions[place - 1].field {
            return true
        }
        return false
    }

    /// The sum of the shares of all versions.
    func digest(of record: RecordID) -> UInt64 {
        var digest = RecordDigest(of: record)
        bytes.withUnsafeBufferPointer { bytes in
            for version in versions {
                digest.add(
                    field: version.field, dot: version.stamp.dot,
                    value: version.length < 0
                        ? nil
                        : UnsafeBufferPointer(
                            start: bytes.baseAddress.map { $0 + Int(version.offset) },
                            count: Int(version.length)))
            }
        }
        return digest.value
    }

    /// What a record's row says beside its state, so that the state need not.
    struct Row {
        var firstSequence: UInt64
        var createdMilliseconds: Int64
        var grid: String?
    }

    private static let formAlone: UInt8 = 1
    private static let formWithPositions: UInt8 = 2
    private static let formBesideRow: UInt8 = 3
    /// Room is made beforehand for so many at most, whatever a damaged row claims.
    private static let roomMax = 64

    /// What the versions of one command share, as it is stored.
    private struct Origin {
        /// With the lowest counter, as far as it is still live.
        var dot: Dot
        var sequence: UInt64
        var stamp: Int64
        var context: UInt32
    }

    /// Whether a version is of an origin's command.
    private func bears(_ origin: Origin, _ version: LiveVersion) -> Bool {
        version.stamp.dot.counter &- version.sequence == origin.dot.counter &- origin.sequence
            && version.stamp.dot.replica == origin.dot.replica
            && (version.context == origin.context
                || contexts[Int(version.context)].clock == contexts[Int(origin.context)].clock)
    }

    /// By sequence, so that what created the record comes first.
    private func origins() -> [Origin] {
        var origins: [Origin] = []
        for version in versions {
            // Few commands have a share in one record, so a search is faster than a table.
            guard let index = origins.firstIndex(where: { bears($0, version) }) else {
                origins.append(
                    Origin(
                        dot: version.stamp.dot, sequence: version.sequence,
                        stamp: version.stamp.milliseconds, context: version.context))
                continue
            }
            if version.sequence < origins[index].sequence {
                origins[index].sequence = version.sequence
                origins[index].dot = version.stamp.dot
                origins[index].stamp = version.stamp.milliseconds
            }
        }
        if origins.count > 1 { origins.sort { $0.sequence < $1.sequence } }
        return origins
    }

    /// - Parameters:
    ///   - beside: As it is stored in the same row.
    ///   - row: A replica's row.
    func encoded(beside: Row, row: (ReplicaID) throws -> Int64) rethrows -> [UInt8] {
        let origins = origins()
        let hasPositions =
            contexts.contains { !$0.formerPositions.isEmpty }
            && versions.contains { !contexts[Int($0.context)].formerPositions.isEmpty }
        // What is stored absolutely is stored as a difference to nothing.
        let first = hasPositions ? 0 : beside.firstSequence
        let created = hasPositions ? 0 : beside.createdMilliseconds
        let grid = hasPositions ? nil : beside.grid
        // At most: ten bytes a number.
        var room = size + 32 * (versions.count + 1) + 70 * origins.count
        for origin in origins { room += 20 * contexts[Int(origin.context)].clock.ancestors.count }
        if hasPositions {
            for version in versions {
                room += 10 + 20 * contexts[Int(version.context)].formerPositions.count
            }
        }
        return try [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
            var writer = Writer(buffer)
            try write(
                to: &writer, origins, first: first, created: created, grid: grid,
                hasPositions: hasPositions, row: row)
            count = writer.count
        }
    }

    /// Writes where there is room for all that comes.
    private struct Writer {
        private let bytes: UnsafeMutableBufferPointer<UInt8>
        private(set) var count = 0

        init(_ bytes: UnsafeMutableBufferPointer<UInt8>) { self.bytes = bytes }

        mutating func put(byte: UInt8) {
            bytes[count] = byte
            count += 1
        }

        mutating func put(_ number: UInt64) {
            var rest = number
            while rest >= 0x80 {
                put(byte: UInt8(truncatingIfNeeded: rest) | 0x80)
                rest >>= 7
            }
            put(byte: UInt8(rest))
        }

        mutating func put(_ number: Int) { put(UInt64(number)) }

        mutating func put(signed number: Int64) {
            put(UInt64(bitPattern: number << 1 ^ number >> 63))
        }

        mutating func put(raw content: UnsafeBufferPointer<UInt8>) {
            precondition(content.count <= bytes.count - count, "room for a value")
            if let target = bytes.baseAddress, let source = content.baseAddress {
                (target + count).update(from: source, count: content.count)
            }
            count += content.count
        }
    }

    private func write(
        to writer: inout Writer, _ origins: [Origin], first: UInt64, created: Int64,
        grid: String?, hasPositions: Bool, row: (ReplicaID) throws -> Int64
    ) rethrows {
        writer.put(byte: hasPositions ? Self.formWithPositions : Self.formBesideRow)
        writer.put(origins.count)
        for origin in origins {
            let clock = contexts[Int(origin.context)].clock
            writer.put(UInt64(bitPattern: try row(origin.dot.replica)))
            writer.put(origin.dot.counter)
            if hasPositions {
                writer.put(origin.sequence)
            } else {
                writer.put(signed: Int64(bitPattern: origin.sequence &- first))
            }
            writer.put(origin.sequence &- clock.base)
            writer.put(signed: origin.stamp &- created)
            writer.put(clock.ancestors.count)
            for ancestor in clock.ancestors {
                writer.put(UInt64(bitPattern: try row(ancestor.replica)))
                writer.put(ancestor.counter)
            }
        }
        var fieldCount = 0
        for place in versions.indices
        where place == 0 || versions[place].field != versions[place - 1].field {
            fieldCount += 1
        }
        writer.put(fieldCount)
        try bytes.withUnsafeBufferPointer { bytes in
            var start = 0
            var position: UInt64 = 0
            var lastField: UInt64 = 0
            while start < versions.count {
                let version = versions[start]
                let field = UInt64(version.field)
                var end = start + 1
                while end < versions.count, versions[end].field == version.field { end += 1 }
                defer {
                    start = end
                    position += 1
                }
                if hasPositions {
                    writer.put(field)
                } else {
                    let isAsCreated =
                        end == start + 1 && version.sequence == first &+ position
                        && version.stamp.milliseconds == origins[0].stamp
                        && bears(origins[0], version)
                    writer.put((field &- lastField) << 1 | (isAsCreated ? 1 : 0))
                    lastField = field
                    if isAsCreated {
                        Self.put(version, bytes, grid, hasPositions, to: &writer)
                        continue
                    }
                }
                writer.put(end - start)
                for place in start..<end {
                    let version = versions[place]
                    let index = origins.firstIndex { bears($0, version) }!
                    writer.put(index)
                    writer.put(version.stamp.dot.counter &- origins[index].dot.counter)
                    // Wrapping: a clock may have claimed any time at all.
                    writer.put(signed: version.stamp.milliseconds &- origins[index].stamp)
                    Self.put(version, bytes, grid, hasPositions, to: &writer)
                    if hasPositions {
                        let positions = contexts[Int(version.context)].formerPositions
                        writer.put(positions.count)
                        for position in positions {
                            writer.put(UInt64(bitPattern: try row(position.term)))
                            writer.put(position.sequence)
                        }
                    }
                }
            }
        }
    }

    private static func put(
        _ version: LiveVersion, _ bytes: UnsafeBufferPointer<UInt8>, _ grid: String?,
        _ hasPositions: Bool, to writer: inout Writer
    ) {
        if version.length < 0 { return writer.put(0) }
        let value = UnsafeBufferPointer(
            start: bytes.baseAddress.map { $0 + Int(version.offset) }, count: Int(version.length))
        if var grid, grid.utf8.count == value.count, grid.isUTF8(value) { return writer.put(1) }
        writer.put(value.count + (hasPositions ? 1 : 2))
        writer.put(raw: value)
    }

    /// - Parameters:
    ///   - stored: As it was encoded.
    ///   - beside: As it is stored in the same row.
    ///   - replica: The replica of a row.
    init(decoding stored: [UInt8], beside: Row, replica: (Int64) throws -> ReplicaID) throws {
        var reader = ByteReader(stored)
        let form = try reader.byte()
        guard (Self.formAlone...Self.formBesideRow).contains(form) else {
            throw LedgerError.damaged("a record of an unknown format")
        }
        let isBesideRow = form == Self.formBesideRow
        let first = isBesideRow ? beside.firstSequence : 0
        let created = isBesideRow ? beside.createdMilliseconds : 0
        // Values are read where they lie; the grid's code, which does not lie there, comes after.
        bytes = stored
        var gridOffset: UInt32?
        var origins: [Origin] = []
        let originCount = try reader.count()
        origins.reserveCapacity(min(originCount, Self.roomMax))
        contexts.reserveCapacity(min(originCount, Self.roomMax))
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
                    context: UInt32(contexts.count)))
            contexts.append(
                Context(
                    clock: ShortClock(
                        base: base, ancestors: ancestors.isEmpty ? [] : ancestors.sorted())))
        }
        func span() throws -> (offset: UInt32, length: Int32) {
            let size = try reader.number()
            if size == 0 { return (0, ValueSpan.cleared) }
            if isBesideRow && size == 1 {
                guard let grid = beside.grid else {
                    throw LedgerError.damaged("a value without its grid")
                }
                let offset = gridOffset ?? UInt32(bytes.count)
                if gridOffset == nil { bytes += Array(grid.utf8) }
                gridOffset = offset
                return (offset, Int32(grid.utf8.count))
            }
            let offset = UInt32(reader.index)
            let length = Int(clamping: size) - (isBesideRow ? 2 : 1)
            try reader.skip(length)
            return (offset, Int32(length))
        }
        func append(
            _ field: UInt32, of index: Int, offset: UInt64, stamp: Int64, context: UInt32? = nil,
            _ span: (offset: UInt32, length: Int32)
        ) {
            let origin = origins[index]
            versions.append(
                LiveVersion(
                    field: field, context: context ?? origin.context,
                    stamp: Stamp(
                        milliseconds: origin.stamp &+ stamp,
                        dot: Dot(origin.dot.replica, origin.dot.counter &+ offset)),
                    sequence: origin.sequence &+ offset, offset: span.offset,
                    length: span.length))
        }
        let fieldCount = try reader.count()
        versions.reserveCapacity(min(fieldCount, Self.roomMax))
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
                    append(field, of: 0, offset: offset, stamp: 0, try span())
                    continue
                }
            } else {
                field = UInt32(truncatingIfNeeded: head)
            }
            let start = versions.count
            for _ in 0..<(try reader.count()) {
                let index = try reader.number()
                guard index < UInt64(origins.count) else {
                    throw LedgerError.damaged("a version without an origin")
                }
                let offset = try reader.number()
                let stamp = try reader.signed()
                let content = try span()
                var context: UInt32?
                if form == Self.formWithPositions {
                    var positions: [Position] = []
                    for _ in 0..<(try reader.count()) {
                        let term = try replica(Int64(bitPattern: try reader.number()))
                        positions.append(Position(term: term, sequence: try reader.number()))
                    }
                    if !positions.isEmpty {
                        context = self.index(
                            of: Context(
                                clock: contexts[Int(origins[Int(index)].context)].clock,
                                formerPositions: positions))
                    }
                }
                append(
                    field, of: Int(index), offset: offset, stamp: stamp, context: context, content)
            }
            // What the disk has altered may come in any order.
            if versions.count > start + 1 {
                versions[start...].sort { $0.stamp > $1.stamp }
            }
        }
        try reader.end()
    }
}

extension String {
    /// Whether it is of exactly these bytes.
    fileprivate mutating func isUTF8(_ bytes: UnsafeBufferPointer<UInt8>) -> Bool {
        withUTF8 { own in
            guard own.count == bytes.count else { return false }
            for index in own.indices where own[index] != bytes[index] { return false }
            return true
        }
    }
}
