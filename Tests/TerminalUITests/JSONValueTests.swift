import Testing

@testable import TerminalUI

@Suite struct JSONValueTests {
    @Test(
        arguments: [
            (JSONValue.null, "null"), (true, "true"), (false, "false"), (0, "0"),
            (.integer(.min), "-9223372036854775808"), (1.5, "1.5"), (.double(1e20), "1e+20"),
            (.double(.nan), "null"), (.double(-.infinity), "null"), ("", "\"\""), ([], "[]"),
            ([:], "{}"), ([1, nil, "a"], "[1,null,\"a\"]"),
        ] as [(JSONValue, String)])
    func valueHasItsCompactForm(value: JSONValue, expected: String) {
        #expect(value.compact == expected)
    }

    @Test(
        arguments: [
            ("\"", "\\\""), ("\\", "\\\\"), ("/", "/"), ("\n", "\\n"), ("\r\n", "\\r\\n"),
            ("\t", "\\t"), ("\u{08}", "\\b"), ("\u{0C}", "\\f"), ("\0", "\\u0000"),
            ("\u{1B}", "\\u001b"), ("\u{7F}", "\\u007f"), ("\u{9B}", "\\u009b"),
            ("\u{2028}", "\\u2028"), ("\u{202E}", "\\u202e"), ("路灯", "路灯"), ("💡", "💡"),
            ("e\u{301}", "e\u{301}"),
        ])
    func stringIsEscaped(string: String, expected: String) {
        #expect(JSONValue.string(string).compact == "\"\(expected)\"")
    }

    @Test func keyIsEscaped() {
        #expect(JSONValue.object([("a\"b", 1)]).compact == "{\"a\\\"b\":1}")
    }

    @Test func membersKeepTheirOrder() {
        let value: JSONValue = ["z": 1, "a": 2, "m": 3, "b": 4]
        #expect(value.compact == "{\"z\":1,\"a\":2,\"m\":3,\"b\":4}")
    }

    @Test func prettyFormIndentsByTwo() {
        let value: JSONValue = ["id": "甲", "tags": [1, ["x": nil]], "none": [], "empty": [:]]
        let expected = """
            {
              "id": "甲",
              "tags": [
                1,
                {
                  "x": null
                }
              ],
              "none": [],
              "empty": {}
            }
            """
        #expect(value.pretty == expected)
    }

    @Test func printedValueNeedsNoSanitising() {
        let everything = (UInt32(0)..<0x3000).compactMap(Unicode.Scalar.init)
        let text = JSONValue.string(String(String.UnicodeScalarView(everything))).compact
        #expect(sanitised(text) == text)
    }
}
