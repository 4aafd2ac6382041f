/// What a field's bytes say, read in place: no text is copied, and nothing allocated. All of them
/// follow their form.
package struct FieldOutline: Sendable {
    /// Of a dispatch, an answer, a rating: never 0.
    package private(set) var order: UInt64 = 0
    /// The integer, the latitude, the verdict, the grade, the due day.
    package private(set) var number: Int64 = 0
    package private(set) var longitude: Int64 = 0
    /// Whether a dispatch has a due day.
    package private(set) var hasDue = false
    /// Where the text lies, that which is the value or that inside.
    package private(set) var text: Range<Int> = 0..<0

    /// - Returns: `nil` when the bytes are not of that form.
    /// - SeeAlso: `protocol/SPEC.md` §3.
    package init?(_ form: FieldValue.Form, _ bytes: UnsafeBufferPointer<UInt8>) {
        var reader = Reader(bytes)
        switch form {
        case .text, .withdrawal:
            guard bytes.isUTF8 else { return nil }
            text = 0..<bytes.count
            return
        case .record:
            guard bytes.count == 16 else { return nil }
            return
        case .integer:
            guard let integer = reader.signed() else { return nil }
            number = integer
        case .location:
            guard let latitude = reader.signed(), let longitude = reader.signed(),
                (-90_000_000...90_000_000).contains(latitude),
                (-180_000_000...180_000_000).contains(longitude)
            else { return nil }
            number = latitude
            self.longitude = longitude
        case .dispatch:
            guard let order = reader.number(), order != 0, let team = reader.text(),
                !team.isEmpty
            else { return nil }
            self.order = order
            text = team
            if !reader.isAtEnd {
                guard let day = reader.signed(), CivilDate(daysSince1970: day) != nil else {
                    return nil
                }
                number = day
                hasDue = true
            }
        case .answer:
            guard let order = reader.number(), order != 0, let verdict = reader.byte(),
                FieldValue.Verdict(rawValue: verdict) != nil,
                let text = reader.isAtEnd ? 0..<0 : reader.text()
            else { return nil }
            self.order = order
            number = Int64(verdict)
            self.text = text
        case .rating:
            guard let order = reader.number(), order != 0, let grade = reader.number(),
                (1...5).contains(grade), let text = reader.isAtEnd ? 0..<0 : reader.text()
            else { return nil }
            self.order = order
            number = Int64(grade)
            self.text = text
        }
        guard reader.isAtEnd else { return nil }
    }

    private struct Reader {
        private let bytes: UnsafeBufferPointer<UInt8>
        private var index = 0

        init(_ bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

        var isAtEnd: Bool { index == bytes.count }

        mutating func byte() -> UInt8? {
            guard index < bytes.count else { return nil }
            defer { index += 1 }
            return bytes[index]
        }

        mutating func number() -> UInt64? {
            var result: UInt64 = 0
            var shift: UInt64 = 0
            while shift < 70, let next = byte() {
                if shift == 63 && next > 1 { return nil }
                result |= UInt64(next & 0x7F) &<< shift
                if next < 0x80 { return result }
                shift += 7
            }
            return nil
        }

        mutating func signed() -> Int64? {
            number().map { Int64(bitPattern: $0 >> 1) ^ -Int64(bitPattern: $0 & 1) }
        }

        mutating func text() -> Range<Int>? {
            guard let count = number(), count <= UInt64(bytes.count - index) else { return nil }
            let range = index..<index + Int(count)
            guard UnsafeBufferPointer(rebasing: bytes[range]).isUTF8 else { return nil }
            index = range.upperBound
            return range
        }
    }
}

extension UnsafeBufferPointer<UInt8> {
    /// Whether the bytes are UTF-8: as `String(validating:as:)` says, without making a text.
    ///
    /// - SeeAlso: The Unicode Standard, table 3-7, "Well-Formed UTF-8 Byte Sequences".
    package var isUTF8: Bool {
        var index = 0
        while index < count {
            let lead = self[index]
            if lead < 0x80 {
                index += 1
                continue
            }
            let length: Int
            var second: ClosedRange<UInt8> = 0x80...0xBF
            switch lead {
            case 0xC2...0xDF: length = 2
            case 0xE0:
                length = 3
                second = 0xA0...0xBF
            case 0xED:
                length = 3
                second = 0x80...0x9F
            case 0xE1...0xEF: length = 3
            case 0xF0:
                length = 4
                second = 0x90...0xBF
            case 0xF4:
                length = 4
                second = 0x80...0x8F
            case 0xF1...0xF3: length = 4
            default: return false
            }
            guard count - index >= length, second.contains(self[index + 1]),
                length < 3 || self[index + 2] & 0xC0 == 0x80,
                length < 4 || self[index + 3] & 0xC0 == 0x80
            else { return false }
            index += length
        }
        return true
    }
}
