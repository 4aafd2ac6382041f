import Foundation
import SyncCore

// Shared by the test targets of rows 0 to 2 through symbolic links.

/// Reads `protocol/vectors`, which `tools/generate-vectors` makes with another implementation.
enum Vectors {
    static func load<Content: Decodable>(
        _ name: String, as type: Content.Type = Content.self
    ) throws -> Content {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try decoder.decode(
            type, from: Data(Repository.bytes("protocol/vectors/\(name).json")))
    }
}

/// A number, as a string where JavaScript could not hold it.
struct Exact<Value: FixedWidthInteger & Decodable & Sendable>: Decodable, Sendable {
    let value: Value

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        if let number = try? container.decode(Value.self) {
            value = number
        } else if let number = Value(try container.decode(String.self)) {
            value = number
        } else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "no number")
        }
    }
}

/// Bytes as hexadecimal digits.
struct Hex: Decodable, Sendable {
    let bytes: [UInt8]

    init?(_ text: String) {
        let digits = text.compactMap(\.hexDigitValue)
        guard digits.count == text.utf8.count, digits.count % 2 == 0 else { return nil }
        bytes = stride(from: 0, to: digits.count, by: 2).map {
            UInt8(digits[$0] << 4 | digits[$0 + 1])
        }
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let hex = Hex(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "no bytes")
        }
        self = hex
    }
}

/// A replica or term: 12 hexadecimal digits.
struct ReplicaText: Decodable, Sendable {
    let id: ReplicaID

    init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        id = ReplicaID(truncating: UInt64(text, radix: 16) ?? 0)
    }
}

/// `[replica, counter]`.
struct DotText: Decodable, Sendable {
    let dot: Dot

    init(from decoder: any Decoder) throws {
        var container = try decoder.unkeyedContainer()
        let replica = try container.decode(ReplicaText.self).id
        dot = Dot(replica, try container.decode(Exact<UInt64>.self).value)
    }
}

extension DotText {
    var position: Position {
        Position(term: dot.replica, sequence: dot.counter)
    }
}

extension TermLine {
    init(_ entries: [DotText]) {
        self.init(entries.map { Entry(term: $0.dot.replica, first: $0.dot.counter) })
    }
}

/// A history of `needs.json`: one need, admitted change by change.
struct NeedHistory: Decodable {
    struct Step: Decodable {
        let field: UInt32
        let replica: ReplicaText
        let counter: UInt64
        let sequence: UInt64
        let base: UInt64
        let value: Hex?
        let stamp: Int64
        let late: [Late]
        let conflicts: [UInt32]
        let contested: [UInt32]
        let status: String

        var version: Version {
            Version(
                value: value?.bytes,
                stamp: Stamp(milliseconds: stamp, dot: Dot(replica.id, counter)),
                sequence: sequence, clock: ShortClock(base: base))
        }
    }

    /// A version of the field of late answers: `[sequence, value]`.
    struct Late: Decodable {
        let sequence: UInt64
        let value: Hex?

        init(from decoder: any Decoder) throws {
            var container = try decoder.unkeyedContainer()
            sequence = try container.decode(UInt64.self)
            value = try container.decodeIfPresent(Hex.self)
        }
    }

    let steps: [Step]

    static func all() throws -> [NeedHistory] {
        struct File: Decodable { let histories: [NeedHistory] }
        return try Vectors.load("needs", as: File.self).histories
    }
}

/// A record id in its canonical text.
struct RecordText: Decodable, Sendable {
    let id: RecordID

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let id = RecordID(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "no id")
        }
        self.id = id
    }
}
