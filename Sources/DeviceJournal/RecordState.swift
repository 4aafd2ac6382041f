import SyncCore

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
    /// By field, newest first, never empty.
    var fields: [UInt32: [Version]] = [:]

    func winner(_ field: UInt32) -> Version? { fields[field]?.first }

    var bytes: [UInt8] {
        var writer = ByteWriter()
        writer.put(byte: 1)
        writer.put(contested.count)
        for field in contested { writer.put(UInt64(field)) }
        writer.put(fields.count)
        for (field, versions) in fields.sorted(by: { $0.key < $1.key }) {
            writer.put(UInt64(field))
            writer.put(versions.count)
            for version in versions {
                writer.put(value: version.value)
                writer.put(version.stamp.dot.replica.rawValue)
                writer.put(version.stamp.dot.counter)
                writer.put(version.sequence)
                writer.put(signed: version.stamp.milliseconds)
            }
        }
        return writer.bytes
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
