import Testing

@testable import TerminalUI

@Suite struct TableTests {
    /// "|" opens every text of the second column, "!" closes every text of the third, so that a
    /// test can find them without knowing how the table is laid out.
    private func mixedTable(isFlexible: Bool = true) -> Table {
        var table = Table([
            Table.Column("需求", isFlexible: isFlexible), Table.Column("|地点 place"),
            Table.Column("小时!", alignment: .right), Table.Column("last"),
        ])
        table.append(["小区里缺路灯，晚上看不清", "|3 组", "12!", "open"])
        table.append([Cell("broken lamp 💡", .red), "|东胜 Dongsheng", "5!", Cell("完成", .green)])
        table.append(["e\u{301}👨‍👩‍👧🇨🇳", "|", "一百!", ""])
        table.append(["", "|x", "!", "办结"])
        return table
    }
    private typealias Cell = Table.Cell

    /// The display columns before the first occurrence of a mark, for each line.
    private func columns(of mark: Character, in lines: [StyledText]) -> [Int] {
        lines.compactMap { line in
            line.plain.firstIndex(of: mark).map { displayWidth(of: String(line.plain[..<$0])) }
        }
    }

    @Test(arguments: [nil, 200, 60, 50, 44])
    func leftAlignedColumnStartsAtOnePlace(width: Int?) {
        let starts = columns(of: "|", in: mixedTable().lines(width: width))
        #expect(starts.count == 5 && Set(starts).count == 1)
    }

    @Test(arguments: [nil, 200, 60, 50, 44])
    func rightAlignedColumnEndsAtOnePlace(width: Int?) {
        let ends = columns(of: "!", in: mixedTable().lines(width: width))
        #expect(ends.count == 5 && Set(ends).count == 1)
    }

    @Test(arguments: [nil, 200, 44])
    func noLineEndsInASpace(width: Int?) {
        #expect(mixedTable().lines(width: width).allSatisfy { $0.plain.last != " " })
    }

    @Test(arguments: 44...70)
    func linesFitTheTerminal(width: Int) {
        #expect(
            mixedTable().lines(width: width).allSatisfy { displayWidth(of: $0.plain) <= width })
    }

    @Test func flexibleColumnGivesNoMoreThanIsNeeded() {
        var table = Table([Table.Column("a", isFlexible: true), Table.Column("b")])
        table.append(["0123456789ABCDEF", "xyz"])
        #expect(table.lines(width: 15)[1].plain == "012345678…  xyz")
    }

    @Test func widerFlexibleColumnGivesFirst() {
        var table = Table([
            Table.Column("a", isFlexible: true), Table.Column("b", isFlexible: true),
        ])
        table.append(["0123456789", "0123456789ABCDEF"])
        #expect(table.lines(width: 22)[1].plain == "0123456789  012345678…")
    }

    @Test func rigidColumnIsNeverCut() {
        var table = Table([Table.Column("id"), Table.Column("text", isFlexible: true)])
        table.append(["0123456789ABCDEF", "text of a need"])
        #expect(table.lines(width: 10)[1].plain == "0123456789ABCDEF  text of…")
    }

    @Test func limitCutsOnATerminal() {
        var table = Table([Table.Column("a", columnsMax: 4)])
        table.append(["缺路灯"])
        #expect(table.lines(width: 80)[1].plain == "缺…")
    }

    @Test func nothingIsCutWithoutATerminal() {
        var table = Table([Table.Column("a", columnsMax: 4, isFlexible: true)])
        table.append(["缺路灯"])
        #expect(table.lines(width: nil)[1].plain == "缺路灯")
    }

    @Test func twoSpacesPartTheColumns() {
        var table = Table([Table.Column("甲"), Table.Column("b")])
        table.append(["abc", "d"])
        #expect(table.lines(width: nil).map(\.plain) == ["甲   b", "abc  d"])
    }

    @Test func styleEndsWithItsText() {
        var table = Table([Table.Column("a"), Table.Column("b")])
        table.append([Cell("x", .red), Cell("y")])
        table.append(["xxx", "y"])
        let line = table.lines(width: nil)[1].rendered(with: Palette(isColoured: true))
        #expect(line == "\u{1B}[31mx\u{1B}[0m    y")
    }

    @Test func cellCannotStartALine() {
        var table = Table([Table.Column("a")])
        table.append([Cell("x\n\u{1B}[2Jy")])
        #expect(table.lines(width: nil)[1].plain == "x \u{FFFD}[2Jy")
    }

    @Test func tableWithoutRowsShowsItsHeadings() {
        let table = Table([Table.Column("a"), Table.Column("b")])
        #expect(table.lines(width: 80).map(\.plain) == ["a  b"])
    }
}
