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
    /// By field, newest first, never empty.
    var fields: [UInt32: [Version]] = [:]

    func winner(_ field: UInt32) -> Version? { fields[field]?.first }

    /// In the order of a page.
    var versions: [PageRecord.FieldVersion] {
        fields.sorted { $0.key < $1.key }.flatMap { field, versions in
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
        var writer = ByteWriter()
        writer.reserve(
            versions.reduce(Self.headBytes) {
                $0 + Self.versionBytes + ($1.value.content?.count ?? 0)
            })
        writer.put(byte: 1)
        writer.put(contested.count)
        for field in contested { writer.put(UInt64(field)) }
        var rest = versions[...]
        writer.put(
            zip(versions, versions.dropFirst()).count { $0.field != $1.field }
                + (versions.isEmpty ? 0 : 1))
        while let field = rest.first?.field {
            let ofField = rest.prefix { $0.field == field }
            rest = rest.dropFirst(ofField.count)
            writer.put(UInt64(field))
            writer.put(ofField.count)
            for version in ofField {
                writer.put(value: version.value.content)
                writer.put(version.stamp.dot.replica.rawValue)
                writer.put(version.stamp.dot.counter)
                writer.put(version.sequence)
                writer.put(signed: version.stamp.milliseconds)
            }
        }
        return writer.bytes
    }

    /// What the form and the contested fields take, and a version beside its value, as a rule.
    private static let headBytes = 8
    private static let versionBytes = 26

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
