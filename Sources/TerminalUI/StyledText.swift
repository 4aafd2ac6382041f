/// How a piece of text looks; styles combine as sets do.
package struct Style: OptionSet, Sendable, Hashable {
    package let rawValue: UInt8

    package init(rawValue: UInt8) {
        self.rawValue = rawValue
    }

    package static let plain: Style = []
    package static let bold = Style(rawValue: 1 << 0)
    package static let dim = Style(rawValue: 1 << 1)
    package static let red = Style(rawValue: 1 << 2)
    package static let yellow = Style(rawValue: 1 << 3)
    package static let green = Style(rawValue: 1 << 4)
    package static let cyan = Style(rawValue: 1 << 5)

    /// The numbers of ECMA-48 "select graphic rendition".
    fileprivate var renditions: [String] {
        let numbers: [(Style, String)] = [
            (.bold, "1"), (.dim, "2"), (.red, "31"), (.green, "32"), (.yellow, "33"), (.cyan, "36"),
        ]
        return numbers.filter { contains($0.0) }.map(\.1)
    }
}

/// Whether styles become escape sequences on one stream.
package struct Palette: Sendable, Equatable {
    package let isColoured: Bool

    package init(isColoured: Bool) {
        self.isColoured = isColoured
    }

    /// Colours a terminal, unless `NO_COLOR` is set and not empty (no-color.org) or `TERM` is
    /// `dumb`.
    package init(isTerminal: Bool, environment: [String: String]) {
        let isRefused = !(environment["NO_COLOR"] ?? "").isEmpty
        isColoured = isTerminal && !isRefused && environment["TERM"] != "dumb"
    }

    /// Wraps a text that is already safe to print.
    func apply(_ style: Style, to text: String) -> String {
        guard isColoured, style != .plain, !text.isEmpty else { return text }
        return "\u{1B}[" + style.renditions.joined(separator: ";") + "m" + text + "\u{1B}[0m"
    }
}

/// Text for a terminal: pieces that each have a style, and none of which can drive the terminal.
///
/// Written as a literal: `"Need \(id, .bold): \(summary)"`. What is interpolated counts as typed
/// by people: it is made one line, and its control characters are replaced (see
/// ``sanitised(_:keepingLines:)``). Literal parts and phrases keep their line breaks. Escape
/// sequences arise in ``rendered(with:)`` and nowhere else.
package struct StyledText: Sendable, Equatable {
    struct Piece: Sendable, Equatable {
        var text: String
        var style: Style
    }

    private(set) var pieces: [Piece] = []

    package init() {}

    /// Takes text from a person or the network, as one line.
    package init(_ text: String, _ style: Style = .plain) {
        add(sanitised(text), style)
    }

    /// Takes text whose line breaks the program itself made, a help page for instance.
    package init(lines text: String, _ style: Style = .plain) {
        add(sanitised(text, keepingLines: true), style)
    }

    package static func + (left: StyledText, right: StyledText) -> StyledText {
        var result = left
        result.append(right)
        return result
    }

    package mutating func append(_ other: StyledText) {
        pieces += other.pieces
    }

    package var isEmpty: Bool { pieces.isEmpty }

    /// The text without any style.
    package var plain: String { pieces.map(\.text).joined() }

    /// Returns the text with escape sequences if the palette is coloured, without them if not.
    package func rendered(with palette: Palette) -> String {
        pieces.reduce(into: "") { $0 += palette.apply($1.style, to: $1.text) }
    }

    /// Drops spaces at the end, whatever their style.
    func trimmingTrailingSpaces() -> StyledText {
        var result = self
        while var last = result.pieces.popLast() {
            while last.text.last == " " { last.text.removeLast() }
            guard last.text.isEmpty else {
                result.pieces.append(last)
                break
            }
        }
        return result
    }

    private mutating func add(_ text: String, _ style: Style) {
        if !text.isEmpty { pieces.append(Piece(text: text, style: style)) }
    }
}

extension StyledText: ExpressibleByStringInterpolation {
    package struct StringInterpolation: StringInterpolationProtocol {
        fileprivate var result = StyledText()

        package init(literalCapacity: Int, interpolationCount: Int) {}

        package mutating func appendLiteral(_ literal: String) {
            result.append(StyledText(lines: literal))
        }

        package mutating func appendInterpolation(_ text: String, _ style: Style = .plain) {
            result.append(StyledText(text, style))
        }

        package mutating func appendInterpolation(_ number: Int, _ style: Style = .plain) {
            result.append(StyledText(String(number), style))
        }

        package mutating func appendInterpolation(
            _ phrase: Phrase, _ language: Language, _ style: Style = .plain
        ) {
            result.append(StyledText(lines: phrase(language), style))
        }

        package mutating func appendInterpolation(_ text: StyledText) {
            result.append(text)
        }
    }

    package init(stringLiteral value: String) {
        self.init(lines: value)
    }

    package init(stringInterpolation: StringInterpolation) {
        self = stringInterpolation.result
    }
}
