import Testing

@testable import NeedModel

/// Bytes judged in place are judged as the standard library and the value itself judge them.
@Suite struct FieldOutlineTests {
    /// Bytes that begin, go on and end where UTF-8 has its borders.
    private static let edges: [UInt8] = [
        0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1,
        0xEC, 0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF,
    ]

    private func agrees(_ bytes: [UInt8]) -> Bool {
        bytes.withUnsafeBufferPointer(\.isUTF8) == (String(validating: bytes, as: UTF8.self) != nil)
    }

    @Test("every text of four border bytes is judged as the standard library judges it")
    func bordersOfUTF8() {
        for first in Self.edges {
            for second in Self.edges {
                for third in Self.edges {
                    for fourth in Self.edges {
                        let bytes = [first, second, third, fourth]
                        if !agrees(bytes) { Issue.record("\(bytes)") }
                    }
                    if !agrees([first, second, third]) {
                        Issue.record("\([first, second, third])")
                    }
                }
            }
        }
    }

    @Test("a cut text is no text, wherever it is cut within a character")
    func cutText() {
        let bytes = Array("路灯é😀a".utf8)
        for count in 0...bytes.count { #expect(agrees(Array(bytes.prefix(count)))) }
    }

    @Test("whatever has an outline is a value, and its bytes come back from it")
    func outlinesAreValues() {
        let forms: [FieldValue.Form] = [.integer, .location, .dispatch, .answer, .rating]
        var found = 0
        for form in forms {
            for first in UInt8(0)...6 {
                for second in UInt8(0)...6 {
                    for third in UInt8(0)...3 {
                        for bytes in [[first, second], [first, second, third, 0x41]] {
                            let outline = bytes.withUnsafeBufferPointer { FieldOutline(form, $0) }
                            let value = FieldValue(form, bytes: bytes)
                            #expect((outline == nil) == (value == nil))
                            guard let value else { continue }
                            found += 1
                            #expect(FieldValue(form, bytes: value.bytes) == value)
                        }
                    }
                }
            }
        }
        #expect(found > 50)
    }
}
