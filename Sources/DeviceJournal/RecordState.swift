import SyncCore
import WireFormat

// The bytes of a record's state:
//
//     byte       1, the form
//     varint     how many fields are contested, then each
//     varint     how many fields, then for each, ascending:
//       varint     field
//       varint     how many versions, then for each, newest first:
//         varint     0 cleared, else 1 + length of the value, then the value
//         varint     replica
//         varint     counter
//         varint     sequence
//         zigzag     stamp, milliseconds

/// What the hub says of one record: each field's live versions.
struct RecordState: Equatable {
    struct Version: Equatable {
        var value: [UInt8]?
        var stamp: Stamp
        var sequence: UInt64
    }

    /// See ``SyncCore/Tombstone``; computed by the hub, which alone knows what writers had seen.
    var contested: [UInt32] = []
    /// Newest first, never empty.
    var fields = FieldMap<[Version]>()

    func winner(_ field: UInt32) -> Version? { fields[field]?.first }

    /// In the order of a page.
    var versions: [PageRecord.FieldVersion] {
        fields.flatMap { field, versions in
            versions.map {
                PageRecord.FieldVersion(
                    field: field, value: $0.value.map { .bytes($0) } ?? .cleared, stamp: $0.stamp,
                    sequence: $0.sequence)
            }
        }
    }

    /// The live versions once some fields have those that a page lists.
    func versions(changedBy listed: [PageRecord.FieldVersion]) -> [PageRecord.FieldVersion] {
        let changed = Set(listed.map(\.field))
        let kept = versions.filter { !changed.contains($0.field) }
        var result: [PageRecord.FieldVersion] = []
        result.reserveCapacity(kept.count + listed.count)
        var rest = kept[...]
        for version in listed {
            while let next = rest.first, next.field < version.field {
                result.append(rest.removeFirst())
            }
            result.append(version)
        }
        return result + rest
    }

    var bytes: [UInt8] { Self.bytes(contested: contested, versions) }

    static func bytes(contested: [UInt32], _ versions: [PageRecord.FieldVersion]) -> [UInt8] {
        let room = versions.indices.reduce(headBytesMax + contested.count * numberBytesMax) {
            $0 + versionBytesMax + (versions[$1].value.content?.count ?? 0)
        }
        return [UInt8](unsafeUninitializedCapacity: room) { buffer, count in
            var writer = BufferWriter(buffer)
            writer.put(1)
            writer.put(UInt64(contested.count))
            for field in contested { writer.put(UInt64(field)) }
            var fieldCount: UInt64 = 0
            for index in versions.indices
            where index == 0 || versions[index].field != versions[index - 1].field {
                fieldCount += 1
            }
            writer.put(fieldCount)
            var index = 0
            while index < versions.count {
                let field = versions[index].field
                var end = index + 1
                while end < versions.count, versions[end].field == field { end += 1 }
                writer.put(UInt64(field))
                writer.put(UInt64(end - index))
                while index < end {
                    writer.put(value: versions[index].value)
                    let stamp = versions[index].stamp
                    writer.put(stamp.dot.replica.rawValue)
                    writer.put(stamp.dot.counter)
                    writer.put(versions[index].sequence)
                    writer.put(signed: stamp.milliseconds)
                    index += 1
                }
            }
            count = writer.count
        }
    }

    private static let numberBytesMax = 10
    /// The form and two counts.
    private static let headBytesMax = 3 * numberBytesMax
    /// A field, a count, and a version's five numbers.
    private static let versionBytesMax = 7 * numberBytesMax

    /// Writes as ``SyncCore/ByteWriter`` does, into room that was made for all there can be: a pull
    /// stores every record with it.
    private struct BufferWriter {
        private let buffer: UnsafeMutableBufferPointer<UInt8>
        private(set) var count = 0

        init(_ buffer: UnsafeMutableBufferPointer<UInt8>) { self.buffer = buffer }

        mutating func put(_ number: UInt64) {
            var rest = number
            while rest >= 0x80 {
                buffer[count] = UInt8(truncatingIfNeeded: rest) | 0x80
                count += 1
                rest >>= 7
            }
            buffer[count] = UInt8(rest)
            count += 1
        }

        mutating func put(signed number: Int64) {
            put(UInt64(bitPattern: number << 1 ^ number >> 63))
        }

        mutating func put(value: PageRecord.Value) {
            guard let content = value.content else { return put(0) }
            put(UInt64(content.count + 1))
            content.withUnsafeBytes { content in
                UnsafeMutableRawBufferPointer(
                    rebasing: UnsafeMutableRawBufferPointer(buffer)[count..<count + content.count]
                ).copyMemory(from: content)
            }
            count += content.count
        }
    }

    /// Room is made beforehand for so many at most, whatever a damaged row claims.
    private static let roomMax = 64

    init() {}

    init(bytes: [UInt8]) throws(ByteCodingError) {
        var reader = ByteReader(bytes)
        guard try reader.byte() == 1 else { throw .truncated }
        for _ in 0..<(try reader.count()) {
            contested.append(UInt32(truncatingIfNeeded: try reader.number()))
        }
        let fieldCount = try reader.count()
        fields.reserveCapacity(min(fieldCount, Self.roomMax))
        for _ in 0..<fieldCount {
            let field = UInt32(truncatingIfNeeded: try reader.number())
            var versions: [Version] = []
            let versionCount = try reader.count()
            guard versionCount > 0 else { throw .truncated }
            versions.reserveCapacity(min(versionCount, Self.roomMax))
            for _ in 0..<versionCount {
                let value = try reader.value()
                let dot = Dot(
                    ReplicaID(truncating: try reader.number()), try reader.number())
                let sequence = try reader.number()
                let stamp = Stamp(milliseconds: try reader.signed(), dot: dot)
                versions.append(Version(value: value, stamp: stamp, sequence: sequence))
            }
            fields[field] = versions
        }
        try reader.end()
    }
}

extension PageRecord.Value {
    /// `nil` when cleared. What a page leaves out has been put in before.
    var content: [UInt8]? {
        switch self {
        case .bytes(let bytes): bytes
        case .cleared, .asSent: nil
        }
    }
}

extension ByteWriter {
    /// A size, 0 for a cleared field and otherwise 1 more than the length, then the bytes.
    mutating func put(value: [UInt8]?) {
        guard let value else { return put(0) }
        put(value.count + 1)
        put(raw: value)
    }
}

extension ByteReader {
    mutating func value() throws(ByteCodingError) -> [UInt8]? {
        let size = try number()
        if size == 0 { return nil }
        guard size <= UInt64(Limits.inflatedBytesMax) else { throw .truncated }
        return try raw(Int(size - 1))
    }
}
