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

    private typealias Read = (inout ByteReader) throws -> Void

    private func failure(_ bytes: [UInt8], _ read: Read) -> ByteCodingError? {
        var reader = ByteReader(bytes)
        do {
            try read(&reader)
            return nil
        } catch {
            return error as? ByteCodingError
        }
    }

    @Test func hostileBytesGiveTheirError() {
        let number: Read = { _ = try $0.number() }
        let count: Read = { _ = try $0.count() }
        let block: Read = { _ = try $0.block() }
        let negative: Read = { _ = try $0.raw(-1) }
        let text: Read = { _ = try $0.text() }
        let end: Read = { try $0.end() }
        let nineFull = [UInt8](repeating: 0xff, count: 9)
        #expect(failure([UInt8](repeating: 0x80, count: 10) + [0], number) == .varintTooLong)
        // The tenth byte has room for one bit.
        #expect(failure(nineFull + [2], number) == .varintTooLong)
        #expect(failure(nineFull + [1], number) == nil)
        #expect(failure(nineFull + [1], count) == .truncated)
        #expect(failure([0xff, 0xff, 0x03, 1], block) == .truncated)
        #expect(failure([1], negative) == .truncated)
        #expect(failure([2, 0xc3, 0x28], text) == .invalidUTF8)
        #expect(failure([0], end) == .trailingBytes)
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
