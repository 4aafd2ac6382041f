/// Where one column of a message ends and another begins.
///
/// Deflate codes a block by one table of frequencies. Phone numbers, coordinates and sentences have
/// nothing in common, so a compressor that begins a block with each column saves about an eighth.
/// Borders are advice: no reader needs them, and a message without any is only larger.
package struct ColumnBorders: Sendable {
    /// The message's fields that are messages in turn.
    private var parts: [UInt64: ColumnBorders] = [:]
    /// For `Changes`, whose values are in the order of their fields: how many sizes are markers.
    private var markers: UInt64?

    /// A message of which nothing is known.
    package static let none = ColumnBorders()
    /// As ``BatchCoding`` makes it.
    package static let batch = ColumnBorders(parts: [8: none, 9: ColumnBorders(markers: 1)])
    package static let request = ColumnBorders(parts: [
        9: batch, 12: ColumnBorders(parts: [3: page]),
    ])
    package static let answer = ColumnBorders(parts: [4: page])
    private static let page = ColumnBorders(
        parts: [4: none, 13: ColumnBorders(markers: 2), 21: none])

    private init(parts: [UInt64: ColumnBorders] = [:], markers: UInt64? = nil) {
        self.parts = parts
        self.markers = markers
    }

    /// A block's own table costs some dozens of bytes.
    private static let blockBytesMin = 200

    /// - Returns: Offsets in the message, ascending, at least ``blockBytesMin`` apart and from both
    ///   ends; none for a message that is not what it should be.
    func offsets(in message: [UInt8]) -> [Int] {
        var found: [Int] = []
        walk(message, 0..<message.count, &found)
        var result: [Int] = []
        for offset in found.sorted()
        where offset - (result.last ?? 0) >= Self.blockBytesMin
            && message.count - offset >= Self.blockBytesMin
        {
            result.append(offset)
        }
        return result
    }

    private func walk(_ message: [UInt8], _ range: Range<Int>, _ found: inout [Int]) {
        var reader = MessageReader(message, range)
        var columns: [UInt64: Range<Int>] = [:]
        while let tag = reader.varint() {
            switch tag & 7 {
            case 0: if reader.varint() == nil { return }
            case 1: reader.skip(8)
            case 5: reader.skip(4)
            case 2:
                guard let content = reader.block() else { return }
                found.append(content.lowerBound)
                found.append(content.upperBound)
                columns[tag >> 3] = content
                parts[tag >> 3]?.walk(message, content, &found)
            default: return
            }
        }
        if let markers, let fields = columns[1], let sizes = columns[2], let values = columns[3] {
            Self.walkValues(message, fields, sizes, values, markers: markers, &found)
        }
    }

    private static func walkValues(
        _ message: [UInt8], _ fields: Range<Int>, _ sizes: Range<Int>, _ values: Range<Int>,
        markers: UInt64, _ found: inout [Int]
    ) {
        var counts: [UInt64: Int] = [:]
        var reader = MessageReader(message, fields)
        while let field = reader.varint() { counts[field, default: 0] += 1 }
        reader = MessageReader(message, sizes)
        var offset = values.lowerBound
        for (_, count) in counts.sorted(by: { $0.key < $1.key }) {
            for _ in 0..<count {
                guard let size = reader.varint(), size <= UInt64(values.count) + markers else {
                    return
                }
                offset += size < markers ? 0 : Int(size - markers)
            }
            guard offset <= values.upperBound else { return }
            found.append(offset)
        }
    }
}
