import SyncCore
import Testing

@Suite struct ByteCodingTests {
    @Test func whatIsWrittenIsRead() {
        forEachSeed(5_000) { generator in
            let number = generator.next() >> UInt64(generator.below(64))
            let signed = generator.wildNumber()
            let block = generator.bytes(countMax: 40)
            let text = String(["路", "灯", "a", "\u{0}", "👵🏽"].randomElement(using: &generator)!)
            var writer = ByteWriter()
            writer.put(number)
            writer.put(signed: signed)
            writer.put(block: block)
            writer.put(text)
            writer.put(byte: 7)
            var reader = ByteReader(writer.bytes)
            try check(try reader.number() == number, "\(number)")
            try check(try reader.signed() == signed, "\(signed)")
            try check(try reader.block() == block, "\(block)")
            try check(try reader.text() == text, text)
            try check(try reader.byte() == 7)
            try reader.end()
        }
    }

    @Test func everyCutIsNoticed() throws {
        var writer = ByteWriter()
        writer.put(UInt64.max)
        writer.put(signed: .min)
        writer.put("路灯")
        for count in 0..<writer.bytes.count {
            #expect(throws: ByteCodingError.truncated) {
                var reader = ByteReader(Array(writer.bytes.prefix(count)))
                _ = try reader.number()
                _ = try reader.signed()
                _ = try reader.text()
            }
        }
    }

    @Test func hostileBytesGiveTheirError() {
        func failure<Value>(
            _ bytes: [UInt8], _ read: (inout ByteReader) throws(ByteCodingError) -> Value
        ) -> ByteCodingError? {
            var reader = ByteReader(bytes)
            do {
                _ = try read(&reader)
                return nil
            } catch {
                return error
            }
        }
        let tooLong = [UInt8](repeating: 0x80, count: 10) + [0]
        #expect(failure(tooLong) { r throws(ByteCodingError) in try r.number() } == .varintTooLong)
        // The tenth byte has room for one bit.
        let tooLarge = [UInt8](repeating: 0xff, count: 9) + [2]
        #expect(failure(tooLarge) { r throws(ByteCodingError) in try r.number() } == .varintTooLong)
        #expect(
            failure([0xff, 0xff, 0x03, 1]) { r throws(ByteCodingError) in try r.block() }
                == .truncated)
        let huge = [UInt8](repeating: 0xff, count: 9) + [1]
        #expect(failure(huge) { r throws(ByteCodingError) in try r.count() } == .truncated)
        #expect(failure([1]) { r throws(ByteCodingError) in try r.raw(-1) } == .truncated)
        #expect(
            failure([2, 0xc3, 0x28]) { r throws(ByteCodingError) in try r.text() } == .invalidUTF8)
        #expect(failure([0]) { r throws(ByteCodingError) in try r.end() } == .trailingBytes)
    }

    @Test func randomBytesNeverCrash() {
        forEachSeed(5_000) { generator in
            var reader = ByteReader(generator.bytes(countMax: 30))
            for _ in 0..<10 {
                switch generator.below(4) {
                case 0: _ = try? reader.number()
                case 1: _ = try? reader.signed()
                case 2: _ = try? reader.block()
                default: _ = try? reader.text()
                }
            }
        }
    }
}
