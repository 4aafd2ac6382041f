/// Rows under headings, aligned by display width, so that Chinese and Latin text line up.
///
/// Two spaces part the columns and no line ends in a space. Fitted to a terminal, flexible columns
/// give way, the widest first; the others are never cut below their limit, because half an
/// identifier is worse than a wrapped line. Without a width nothing is cut: what goes into a pipe
/// is data.
package struct Table: Sendable {
    package struct Column: Sendable {
        package let title: String
        package let alignment: Alignment
        package let columnsMax: Int?
        package let isFlexible: Bool

        /// - Parameters:
        ///   - title: The heading, in the reader's language.
        ///   - columnsMax: The greatest width on a terminal, at least 1; `nil` for no limit.
        ///   - isFlexible: Whether this column is shortened when the terminal is too narrow.
        package init(
            _ title: String, alignment: Alignment = .left, columnsMax: Int? = nil,
            isFlexible: Bool = false
        ) {
            precondition(columnsMax ?? 1 >= 1, "a column needs room")
            self.title = sanitised(title)
            self.alignment = alignment
            self.columnsMax = columnsMax
            self.isFlexible = isFlexible
        }
    }

    /// A text of one line and its style. A string literal makes a plain one.
    package struct Cell: Sendable, ExpressibleByStringInterpolation {
        let text: String
        let style: Style

        package init(_ text: String, _ style: Style = .plain) {
            self.text = sanitised(text)
            self.style = style
        }

        package init(stringLiteral value: String) {
            self.init(value)
        }
    }

    /// A flexible column keeps this much, enough to recognise what it shows.
    private static let flexibleColumnsMin = 8
    private static let gap = 2

    package let columns: [Column]
    package private(set) var rows: [[Cell]] = []

    package init(_ columns: [Column]) {
        self.columns = columns
    }

    /// Adds a row; it must have one cell for each column.
    package mutating func append(_ row: [Cell]) {
        precondition(row.count == columns.count, "a row needs one cell for each column")
        rows.append(row)
    }

    /// Lays the table out.
    ///
    /// - Parameter width: The terminal's columns, or `nil` to show every cell whole.
    /// - Returns: The headings, then one line for each row, none with a line feed. Wider than
    ///   `width` only where the flexible columns have nothing left to give.
    package func lines(width: Int?) -> [StyledText] {
        let widths = columnWidths(fitting: width)
        let headings = columns.map { Cell($0.title, .bold) }
        return ([headings] + rows).map { line(of: $0, widths: widths) }
    }

    private func columnWidths(fitting width: Int?) -> [Int] {
        var widths = columns.indices.map { index in
            rows.reduce(displayWidth(of: columns[index].title)) {
                max($0, displayWidth(of: $1[index].text))
            }
        }
        guard let width else { return widths }
        for (index, column) in columns.enumerated() {
            widths[index] = min(widths[index], column.columnsMax ?? widths[index])
        }
        var excess = widths.reduce(Self.gap * (columns.count - 1), +) - width
        // Column by column rather than in one division: this cannot overshoot, and ends because
        // each turn narrows a column.
        while excess > 0,
            let widest = columns.indices.filter({ columns[$0].isFlexible })
                .max(by: { widths[$0] < widths[$1] }),
            widths[widest] > Self.flexibleColumnsMin
        {
            widths[widest] -= 1
            excess -= 1
        }
        return widths
    }

    private func line(of cells: [Cell], widths: [Int]) -> StyledText {
        var line = StyledText()
        for (index, cell) in cells.enumerated() {
            if index > 0 { line.append(StyledText(String(repeating: " ", count: Self.gap))) }
            let text = cell.text.truncate(toWidth: widths[index])
            let room = max(0, widths[index] - displayWidth(of: text))
            let space = StyledText(String(repeating: " ", count: room))
            // The space stays outside the style, or a terminal might underline or invert it.
            let styled = StyledText(text, cell.style)
            line.append(columns[index].alignment == .left ? styled + space : space + styled)
        }
        return line.trimmingTrailingSpaces()
    }
}
