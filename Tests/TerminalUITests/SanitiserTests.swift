import Testing

@testable import TerminalUI

@Suite struct SanitiserTests {
    @Test func everyControlCharacterIsReplaced() {
        for control in Array(UInt32(0)..<0x20) + Array(0x7F..<0xA0) {
            if [0x09, 0x0A, 0x0D].contains(control) { continue }  // Tab and line breaks.
            #expect(sanitised("a\(Unicode.Scalar(control)!)b") == "a\u{FFFD}b")
        }
    }

    @Test(arguments: ["\u{202A}", "\u{202E}", "\u{2066}", "\u{2069}", "\u{2028}", "\u{2029}"])
    func reorderingAndSeparatorsAreReplaced(scalar: String) {
        #expect(sanitised("a\(scalar)b") == "a\u{FFFD}b")
    }

    @Test(arguments: ["\n", "\r\n", "\r", "\t"])
    func breaksAndTabsBecomeOneSpace(separator: String) {
        #expect(sanitised("a\(separator)b") == "a b")
    }

    @Test(arguments: ["\n", "\r\n", "\r"])
    func linesAreKeptOnRequest(separator: String) {
        #expect(sanitised("a\(separator)b", keepingLines: true) == "a\nb")
    }

    @Test(arguments: ["小区里缺路灯", "👨‍👩‍👧", "❤️", "ᠮᠣᠩ\u{180E}ᠭᠣᠯ", "שלום\u{200F}!", "e\u{301}"])
    func whatScriptsNeedStays(text: String) {
        #expect(Array(sanitised(text).unicodeScalars) == Array(text.unicodeScalars))
    }
}
